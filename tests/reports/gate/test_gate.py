"""The gate fires on a real loss, seldom on chance, and never passes what was not measured."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.files import write_json
from samtok_eval.metrics.ratio import mean_of
from samtok_eval.prediction import Prediction, Record
from samtok_eval.records import Records
from samtok_eval.registry import load_tasks
from samtok_eval.reports.gate.gate import gate
from samtok_eval.reports.gate.paired import changed_answers, gate_runs
from samtok_eval.reports.gate.power import pictures_to_pass, unseen_rate
from samtok_eval.reports.gate.text import failure_line, gate_table, junit, step_summary
from samtok_eval.reports.gate.tolerances import Tolerances, read_tolerances
from samtok_eval.reports.gate.verdict import Evidence, check_measured, judge
from samtok_eval.reports.result_file import result_of
from samtok_eval.reports.runs import ScoredRun, read_scored
from samtok_eval.statistics import ALPHA, compare_metrics
from tests.conftest import right, shifted
from tests.support import results

GRES = load_tasks()["gres"]
STRICT = Tolerances(tolerance={"default": 0})


def checkpoint(seed, samples, drop=0.0, each=3):
    """A run of a made-up checkpoint: pictures are as hard for all of them, answers vary with the seed."""
    hard = np.repeat(np.random.default_rng(99).normal(0.75, 0.15, samples // each + 1), each)[:samples]
    ious = np.clip(hard + np.random.default_rng(seed).normal(-drop, 0.15, samples), 0, 1)
    records = [
        Record(str(i), str(i // each), "strict", "ok", inter=round(1000 * iou), union=1000, gt_area=900, pred_area=900)
        for i, iou in enumerate(ious)
    ]
    signature = {"strict": "task:gres:val|protocol:strict|model:m"}
    changes = {"model": {"name": f"seed {seed}", "identity": {}}, "signature": signature,
               "dataset": {"root": "/data", "sha256": "0" * 64, "samples": samples}}  # fmt: skip
    metrics = {"strict": {}, "counters": {"missing": 0, "errored": 0}}
    return ScoredRun(results.run(Path("nowhere"), metrics=metrics, **changes), GRES, {"strict": Records.of(records)})


def verdict(first, second, seed=0):
    return gate_runs(first, second, STRICT, None, seed)


def test_chance_seldom_fails_a_checkpoint():
    repetitions = 200
    fired = sum(
        bool(verdict(checkpoint(2 * i, 240), checkpoint(2 * i + 1, 240), seed=i).regressed) for i in range(repetitions)
    )
    assert fired / repetitions <= ALPHA + 0.02


def test_three_points_on_two_thousand_samples_are_caught():
    repetitions = 40
    caught = sum(
        "giou" in [v.metric for v in verdict(checkpoint(2 * i, 2000), checkpoint(2 * i + 1, 2000, 0.03)).regressed]
        for i in range(repetitions)
    )
    assert caught / repetitions >= 0.95


def test_a_run_passes_against_itself(make_run):
    folder = make_run("run", shifted(4))
    (result,) = gate(folder, folder, STRICT)
    assert not result.regressed and {v.difference for v in result.verdicts} == {0}
    assert (result.changed.text, result.changed.codes, result.changed.masks) == (
        0,
        0,
        0,
    ) and result.changed.samples == 80
    # 80 samples show no loss of one point, even where nothing changed.
    assert not result.falls and result.verdict == "undecided" and result.passed
    (result,) = gate(folder, folder, Tolerances(tolerance={"default": 50}))
    assert "pass: gres:val" in gate_table([result]) and not result.undecided


def made_up(differences, metric="giou", points=1.0, task=GRES):
    """The verdict on pictures whose scores differ so much."""
    ids = [str(i) for i in range(len(differences))]
    before = np.full(len(ids), 0.5)
    pair = ({metric: mean_of(side, ids)} for side in (before, before + differences))
    lower = task.metadata.lower_is_better
    d = compare_metrics(*pair, seed=0, draws=20, permutations=999, lower_is_better=lower)[metric]
    evidence = Evidence(0.5, 0.5 + d.value, d.low, d.high, d.p_worse, d.margin, d.error, d.pictures)
    return judge(task, metric, evidence, Tolerances(tolerance={metric: points}), 1)


def around(mean, pictures, spread=0.1):
    noise = np.random.default_rng(0).normal(size=pictures)
    return mean + spread * (noise - noise.mean()) / noise.std()


@pytest.mark.parametrize(
    ("differences", "word", "reason"),
    [
        (around(0.0, 2000), "pass", "loss below 0."),
        (around(0.02, 2000), "pass", "better by over 1."),
        (around(-0.004, 6000), "pass", "; lost 0.40, p "),
        (around(-0.02, 2000), "regression", "lost 2.00, p 0.001"),
        (around(-0.02, 50), "undecided", " pictures would decide, here 50"),
        (around(0.0, 100), "undecided", " pictures would decide, here 100"),
        (around(-0.009, 2000), "undecided", ",000 pictures would decide, here 2,000"),
        (np.zeros(299), "undecided", "loss below 1.00; about 300 pictures would decide, here 299"),
        (np.zeros(300), "pass", "loss below 1.00"),
    ],
    ids=["equal", "better", "a small loss", "worse", "worse on few", "equal on few", "near the tolerance",
         "no difference on too few", "no difference on enough"],
)  # fmt: skip
def test_a_verdict_is_shown_or_undecided(differences, word, reason):
    found = made_up(differences)
    assert found.verdict == word and reason in found.reason
    assert (found.verdict == "pass") is (found.largest_loss < found.tolerance)


@pytest.mark.parametrize(
    ("differences", "needed"), [(around(-0.02, 50), 215), (around(0.0, 100), 857), (around(-0.009, 2000), 85700)]
)
def test_the_pictures_needed_follow_from_the_spread(differences, needed):
    """(2.93 x 0.1 / distance)², where the distance is the loss seen, or what it leaves of the tolerance."""
    assert made_up(differences).pictures_needed == pytest.approx(needed, rel=0.2)


def test_noise_of_rounding_does_not_hide_a_rare_total_loss():
    """One in a hundred is lost altogether, of which 100 pictures often show none."""
    assert made_up(around(0, 100, spread=1e-4)).verdict == "undecided"


def test_what_was_seen_to_be_lost_may_be_more_by_a_count_s_upper_bound():
    assert unseen_rate(300, 0.05) == pytest.approx(-math.log(0.05) / 300)
    # The upper bound of a count of 2 is 6.296 (Garwood 1936).
    assert unseen_rate(100, 0.05, lost=2) == pytest.approx((6.2958 - 2) / 100, abs=1e-6)
    assert unseen_rate(0, 0.05) == math.inf


def test_less_of_a_failure_is_better():
    task = load_tasks()["scene_graph"]
    assert "parse_failure" in task.metadata.lower_is_better
    assert made_up(around(-0.02, 2000), "parse_failure", task=task).verdict == "pass"
    assert made_up(around(0.02, 2000), "parse_failure", task=task).verdict == "regression"


def test_nothing_passes_a_tolerance_of_zero_by_being_equal():
    assert made_up(np.zeros(5000), points=0).reason.endswith("no number of pictures would decide")
    assert made_up(around(0.02, 2000), points=0).verdict == "pass"


def rare(rng, rate, pictures):
    return -(rng.random(pictures) < rate).astype(float)


@pytest.mark.parametrize(
    ("true", "word", "draw", "at_most"),
    [
        (0.0, "regression", lambda rng: rng.normal(0, 0.1, 400), 0.05),
        (0.0, "regression", lambda rng: rng.choice([-0.3, 0.1], 400, p=[0.25, 0.75]), 0.05),
        (-0.02, "pass", lambda rng: rng.normal(-0.02, 0.1, 400), 0.05),
        (-0.02, "pass", lambda rng: rare(rng, 0.02, 400), 0.05),
    ],
    ids=["equal", "equal but skewed", "a loss of the tolerance", "a rare total loss of the tolerance"],
)
def test_a_false_verdict_is_as_rare_as_alpha(true, word, draw, at_most):
    """500 seeded pairs; the bound leaves two standard errors of the simulation."""
    repetitions, points = 500, -100 * true
    drawn = (draw(np.random.default_rng(seed)) for seed in range(repetitions))
    false = sum(made_up(differences, points=points).verdict == word for differences in drawn)
    assert false / repetitions <= at_most + 2 * (0.05 * 0.95 / repetitions) ** 0.5


def test_the_pictures_that_would_decide_decide():
    """With as many pictures as were asked for, nine in ten candidates of this difference pass."""
    needed = pictures_to_pass(spread=0.1, distance=0.01, alpha=ALPHA, highest=1)
    # 1.645 and 1.282 standard errors.
    assert needed == math.ceil((0.1 * (1.64485 + 1.28155) / 0.01) ** 2)
    passed = sum(made_up(np.random.default_rng(seed).normal(0, 0.1, needed)).verdict == "pass" for seed in range(200))
    assert passed / 200 == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize(
    ("on_undecided", "passed", "skipped", "failures"),
    [("warn", True, 8, 0), ("pass", True, 0, 0), ("fail", False, 0, 8)],
)
def test_the_caller_says_what_undecided_means(on_undecided, passed, skipped, failures):
    run = checkpoint(0, 60)
    result = gate_runs(run, run, Tolerances(on_undecided=on_undecided), None, 0)
    assert len(result.undecided) == 8 and result.passed is passed
    suite = ElementTree.fromstring(junit([result]))[0]  # noqa: S314 - our own text
    assert (suite.get("skipped"), suite.get("failures")) == (str(skipped), str(failures))
    assert all("UNDECIDED, loss below" in case.findtext("system-out") for case in suite.findall("testcase"))
    told, by_option = gate_table([result]), "UNDECIDED, passed by --on-undecided pass: gres:val"
    assert ("UNDECIDED: gres:val" in told, by_option in told) == (on_undecided != "pass", on_undecided == "pass")
    # What was found is the same, whatever is made of it.
    assert result.to_json()["verdict"] == "undecided"
    assert ("1 undecided and passed by --on-undecided pass" in step_summary([result])) is (on_undecided == "pass")


def test_the_default_tolerance_is_named():
    run = checkpoint(0, 60)
    said = "No tolerance was given for {}: 1.0 point of the 0..100 scale holds."
    some = dict.fromkeys(("ciou", "giou", "t_acc", "pr@0.5", "pr@0.6", "pr@0.7"), 1)
    for given, which in (({}, "any metric"), (some, "Pr@0.8, Pr@0.9")):
        assert said.format(which) in gate_table([gate_runs(run, run, Tolerances(tolerance=given), None, 0)])
    assert "No tolerance" not in gate_table([gate_runs(run, run, STRICT, None, 0)])


def test_a_loss_is_named_with_its_samples(make_run):
    (result,) = gate(make_run("before", right), make_run("after", shifted(9)), STRICT)
    names = [v.metric for v in result.regressed]
    assert {"ciou", "giou", "pr@0.9"} <= set(names) and "n_acc" not in names and "t_acc" not in names
    giou = next(v for v in result.verdicts if v.metric == "giou")
    assert giou.difference < 0 and giou.low <= giou.difference <= giou.high and giou.p < 0.05
    assert result.falls and result.falls[0].candidate < result.falls[0].baseline
    table = gate_table([result])
    assert "REGRESSED: gres:val" in table and result.falls[0].id in table
    assert "gIoU -" in failure_line([result]) and "N-acc" not in failure_line([result])


def test_the_table_says_why_n_differs(make_run, demo_samples):
    something = next(sample.target.masks for sample in demo_samples("gres", 80) if sample.target.masks)
    before, after = make_run("before", right), make_run("after", lambda sample: sample.target.masks or something)
    (result,) = gate(before, after, STRICT)
    (line,) = result.n_differences
    assert line.startswith("cIoU: n differs. ") and "without a target count for after alone" in line
    assert line in gate_table([result]) and result.to_json()["n_differences"] == [line]
    assert gate(before, before, STRICT)[0].n_differences == []


def test_a_gain_is_no_regression(make_run):
    (result,) = gate(make_run("before", shifted(9)), make_run("after", right), STRICT)
    assert not result.regressed and not result.falls


def test_a_loss_within_the_tolerance_passes(make_run):
    before, after = make_run("before", right), make_run("after", shifted(9))
    lost = -gate(before, after, STRICT)[0].verdicts[0].difference * 100
    assert gate(before, after, Tolerances(tolerance={"default": 100}))[0].regressed == []
    for points, fails in ((lost + 0.1, False), (lost - 0.1, True)):
        result = gate(before, after, Tolerances(tolerance={"default": 100, "ciou": points}))[0]
        assert bool(result.regressed) is fails


def test_a_tasks_own_tolerance_goes_first():
    both = Tolerances(tolerance={"giou": 1, "default": 3}, tasks={"gres": {"giou": 2}})
    assert [both.of("gres", "giou"), both.of("gcg", "giou"), both.of("gres", "ciou")] == [0.02, 0.01, 0.03]
    # Without any, nobody's checkpoint could be shown to lose nothing: a loss of one point is what a pass rules out.
    assert Tolerances().of("gres", "giou") == 0.01 and Tolerances().given("gres", "giou") is None
    assert Tolerances(tolerance={"default": 0}).of("gres", "giou") == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alpha = 2", "alpha: Input should be less than 1"),
        ("alpha = ", "not a well-formed TOML file"),
        ("beta = 1", "beta: Extra inputs"),
        ("[tolerance]\ngiuo = 1", "no metric 'giuo'; did you mean giou"),
        ("[tolerance]\ngiou = -1", "tolerance.giou: Input should be greater than or equal to 0, got -1"),
        ("[tolerance]\ngiou = nan", "tolerance.giou: Input should be a finite number, got nan"),
        ("[tolerance]\ndefault = inf", "tolerance.default: Input should be a finite number, got inf"),
        ("[tolerance]\ngiou = -inf", "tolerance.giou: Input should be a finite number, got -inf"),
        ("[tolerance]\ngiou = true", "tolerance.giou: Input should be a valid number, got True"),
        ('[tolerance]\ngiou = "1"', "tolerance.giou: Input should be a valid number, got '1'"),
        ("[tasks.gres]\ngiou = nan", "tasks.gres.giou: Input should be a finite number, got nan"),
        ("alpha = nan", "alpha: Input should be a finite number, got nan"),
        ('on_undecided = "ignore"', "on_undecided: Input should be 'pass', 'fail' or 'warn'"),
        ("alpha = 0", "alpha: Input should be greater than 0, got 0"),
        ('alpha = "0.05"', "alpha: Input should be a valid number, got '0.05'"),
        ("[tasks.gers]\ngiou = 1", "unknown task 'gers'; did you mean gres"),
    ],
)
def test_a_wrong_tolerance_file_is_refused(tmp_path, text, message):
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_tolerances(path)


def test_tolerances_come_from_toml(tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text('alpha = 0.01\n[tolerance]\ngiou = 0.5\n"pr@0.5" = 1\n[tasks.gres]\nciou = 2\n')
    found = read_tolerances(path)
    assert (found.alpha, found.of("gres", "giou"), found.of("gres", "ciou")) == (0.01, 0.005, 0.02)
    assert read_tolerances(path, alpha=0.2).alpha == 0.2


def some(sample):
    return None if sample.id.endswith("1") else sample.target.masks


@pytest.mark.parametrize("sides", [("all", "some"), ("some", "all"), ("some", "some")])
def test_missing_answers_never_pass(make_run, sides):
    folders = {"all": make_run("all", right), "some": make_run("some", some)}
    with pytest.raises(IncompleteRunError, match="samples are missing"):
        gate(*(folders[side] for side in sides), STRICT)


def test_a_shorter_run_never_passes(make_run):
    with pytest.raises(IncompleteRunError, match="in only one of"):
        gate(make_run("all", right), make_run("short", right, limit=60), STRICT)


def test_other_tasks_never_pass(make_run):
    with pytest.raises(IncompleteRunError, match="has no run of gres:val"):
        gate(make_run("gres", right), make_run("refcoco", right, task="refcoco"), STRICT)


def test_a_metric_that_was_not_measured_never_passes(make_run):
    before, after = read_scored(make_run("before", right)), read_scored(make_run("after", right))
    with pytest.raises(IncompleteRunError, match="has no giou, which the baseline has"):
        check_measured(before.metrics("strict"), after.metrics("strict").keys() - {"giou"}, "after")


def test_what_neither_side_could_measure_is_named(make_run):
    folder = make_run("run", right)
    content = json.loads((folder / "metrics.json").read_text())
    write_json(folder / "metrics.json", content | {"absent": {"cider": "no Java"}})
    (result,) = gate(folder, folder, STRICT)
    assert result.warnings == ["run is without CIDEr: no Java"] * 2
    assert "WARNING: run is without CIDEr: no Java" in gate_table([result])


def test_folders_of_several_tasks_are_gated_task_by_task(make_run, tmp_path):
    for side, masks_of in (("before", right), ("after", shifted(9))):
        for task in ("gres", "refcoco"):
            make_run(f"{side}/{task}", masks_of, task=task)
    results = gate(tmp_path / "runs" / "before", tmp_path / "runs" / "after", STRICT)
    assert [(r.task, bool(r.regressed)) for r in results] == [("gres", True), ("refcoco", True)]


def test_two_runs_of_one_task_are_ambiguous(make_run, tmp_path):
    folders = [make_run(f"both/{name}", right) for name in ("a", "b")]
    with pytest.raises(UsageError, match="several runs of gres:val"):
        gate(folders[0].parent, folders[0], STRICT)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no run"):
        gate(tmp_path, tmp_path, STRICT)
    with pytest.raises(DataError, match="does not exist"):
        gate(tmp_path / "none", tmp_path, STRICT)


def stored(run, path):
    write_json(path, result_of(run.run, "org/model", "r1", None).model_dump(mode="json"))
    return path


def test_stored_results_are_compared_by_their_intervals(make_run, tmp_path):
    before, after = read_scored(make_run("before", shifted(1))), read_scored(make_run("after", shifted(14)))
    files = [stored(run, tmp_path / f"{i}.json") for i, run in enumerate((before, after))]
    (result,) = gate(*files, STRICT)
    assert not result.paired and "giou" in [v.metric for v in result.regressed]
    assert "by their intervals alone" in result.warnings[0] and result.changed is None
    assert not gate(files[0], files[0], STRICT)[0].regressed
    (mixed,) = gate(files[0], before.run.path, STRICT)
    assert mixed.names == ("org/model@r1", "before") and not mixed.regressed


def test_stored_intervals_of_another_confidence_are_read_as_such(make_run, tmp_path):
    """Of two equal widths, that of 50 % confidence comes from the larger error."""
    before, after = read_scored(make_run("before", shifted(1))), read_scored(make_run("after", shifted(2)))
    files = [stored(run, tmp_path / f"{i}.json") for i, run in enumerate((before, after))]
    (usual,) = gate(*files, STRICT)
    for file in files:
        content = json.loads(file.read_text())
        content["intervals"] |= {"confidence": 0.5, "method": file.stem}
        file.write_text(json.dumps(content))
    (wide,) = gate(*files, STRICT)
    giou, wide_giou = (next(v for v in r.verdicts if v.metric == "giou") for r in (usual, wide))
    assert wide_giou.high - wide_giou.low == pytest.approx((giou.high - giou.low) * 1.959964 / 0.674490, rel=1e-5)
    assert "the intervals were made in different ways: 0 and 1" in wide.warnings


def test_stored_results_of_other_data_are_refused(make_run, tmp_path):
    run = read_scored(make_run("run", right))
    first = stored(run, tmp_path / "a.json")
    content = json.loads(first.read_text())
    content["dataset"]["sha256"] = "1" * 64
    (tmp_path / "b.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="saw different data"):
        gate(first, tmp_path / "b.json", STRICT)


def mask(counts):
    return {"size": (2, 2), "counts": counts}


@pytest.mark.parametrize(
    ("text", "decoded", "expected"),
    [
        ("It is <|mt_start|><|mt_0001|><|mt_0258|><|mt_end|>.", "04", (0, 0, 0)),
        ("Here: <|mt_start|><|mt_0001|><|mt_0258|><|mt_end|>", "04", (1, 0, 0)),
        ("It is <|mt_start|><|mt_0001|><|mt_0258|><|mt_end|>.", "4", (0, 0, 1)),
    ],
)
def test_changes_are_counted_at_three_depths(text, decoded, expected):
    protocol = GRES.protocol("strict")
    old = Prediction(id="a", text="It is <|mt_start|><|mt_0001|><|mt_0258|><|mt_end|>.", decoded={"1,2": mask("04")})
    new = Prediction(id="a", text=text, decoded={"1,2": mask(decoded)})
    found = changed_answers({"a": old}, {"a": new}, protocol)
    assert (found.text, found.codes, found.masks) == expected


def test_other_codes_with_the_same_mask_change_text_and_codes():
    words = "<|mt_start|><|mt_{:04d}|><|mt_0258|><|mt_end|>"
    old, new = (Prediction(id="a", text=words.format(c), decoded={f"{c},2": mask("04")}) for c in (1, 3))
    found = changed_answers({"a": old}, {"a": new}, GRES.protocol("strict"))
    assert (found.text, found.codes, found.masks) == (1, 1, 0)


def test_junit_summary_and_json_say_the_same(make_run):
    results = gate(make_run("before", right), make_run("af\x01ter<&", shifted(9)), STRICT)
    suite = ElementTree.fromstring(junit(results))[0]  # noqa: S314 - our own text
    assert suite.get("failures") == str(len(results[0].regressed)) == str(len(suite.findall("*/failure")))
    assert suite.get("tests") == str(len(results[0].verdicts))
    summary = step_summary(results)
    assert summary.startswith("## ❌ Checkpoint gate: 1 of 1 tasks regressed") and "| cIoU" in summary
    told = json.loads(json.dumps(results[0].to_json()))
    assert told["passed"] is False and told["verdict"] == "regression" and told["verdicts"][0]["difference"] < 0
    row = next(row for row in told["verdicts"] if row["regressed"])
    assert row["verdict"] == "regression" and row["reason"].startswith("lost ")
