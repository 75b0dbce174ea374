"""A gate that asks the candidate stops when it knows, and leaves a run behind that any other command can go on with."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.metrics import judges
from samtok_eval.metrics.caption_programs import CaptionToolsError
from samtok_eval.models.fixed import Oracle
from samtok_eval.prediction_log import read_own_predictions
from samtok_eval.reports.gate import early
from samtok_eval.reports.gate.asked import REPEATED, ask_and_gate
from samtok_eval.reports.gate.early import EarlyRules, Noise, judged, noise_of
from samtok_eval.reports.gate.text import gate_table, junit
from samtok_eval.reports.gate.tolerances import Tolerances
from samtok_eval.reports.runs import read_scored
from samtok_eval.run.evaluate import run
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.in_parts import in_parts, options_like
from samtok_eval.run.manifest import read_manifest
from samtok_eval.run.settings import RunOptions
from samtok_eval.statistics import PairedStep, _bootstrap_differences, _pairs, _pictures_of_pairs, paired_steps
from tests.support.command import command

LIMIT = 90
WIDE = Tolerances(tolerance={"default": 40})


@pytest.fixture(scope="module")
def asked(demo_root, tmp_path_factory):
    """A function that runs a back end without a language model, each time in a folder of its own."""

    def ask(model="oracle", **settings):
        options = {"task": "gres", "model": model, "limit": LIMIT, "batch_size": 6, "data_root": str(demo_root)}
        return run(RunOptions(**{**options, "out": tmp_path_factory.mktemp("runs"), **settings}))

    return ask


@pytest.fixture(scope="module")
def baseline(asked):
    return asked().path


@pytest.fixture(scope="module")
def random_run(asked):
    """All answers of the random model."""
    return asked("random").path


def lines(folder):
    """What was answered, without how long it took."""
    found = read_own_predictions(RunFolder(folder).parts()).values()
    return [prediction.model_dump(exclude={"seconds"}) for prediction in found]


def gated(baseline, out, model="oracle", tolerances=WIDE, rules=None, **more):
    (result,) = ask_and_gate(baseline, {"model": model, "out": out}, tolerances, rules=rules, **more)
    return result


def test_a_candidate_that_is_clearly_worse_is_asked_little_and_the_rest_by_run(baseline, random_run, tmp_path):
    found = gated(baseline, tmp_path, "random", Tolerances())
    assert found.verdict == "regression" and found.early.stopped_by == "verdict"
    assert found.early.pictures < found.early.of_pictures
    assert 0 < found.early.samples < found.early.of_samples == LIMIT
    told = gate_table([found])
    assert f"Stopped at look {found.early.looks} of 15, when the verdict was known" in told
    assert f"{LIMIT - found.early.samples} of {LIMIT} answers saved" in told

    (path,) = (file.parent for file in tmp_path.rglob("manifest.json"))
    manifest = read_manifest(path / "manifest.json")
    assert (manifest.state, manifest.asked.samples) == ("predicting", found.early.samples)
    assert manifest.run_key == read_manifest(random_run / "manifest.json").run_key
    before = lines(path)
    assert len(before) == found.early.samples
    with pytest.raises(IncompleteRunError, match="is predicting"):
        read_scored(path)

    whole = run(options_like(manifest, model="random", out=tmp_path))
    assert whole.path == path and lines(path)[: len(before)] == before
    assert sorted(map(str, lines(path))) == sorted(map(str, lines(random_run)))
    for name in ("metrics.json", "records.jsonl"):
        assert (path / name).read_bytes() == (random_run / name).read_bytes()
    assert read_manifest(path / "manifest.json").asked is None
    assert not read_scored(path).unchecked


def test_a_candidate_that_answers_alike_passes_early_and_its_masks_are_not_decoded(baseline, tmp_path):
    found = gated(baseline, tmp_path)
    assert found.verdict == "pass" and found.early.stopped_by == "verdict"
    assert found.early.pictures < found.early.of_pictures
    assert {(v.difference, v.low, v.high) for v in found.verdicts} == {(0, 0, 0)}
    assert (found.changed.text, found.changed.codes, found.changed.masks) == (0, 0, 0)
    # One of fifty is decoded all the same, to see that it comes out alike.
    assert found.early.masks * 0.9 < found.early.masks_reused < found.early.masks


def test_an_undecided_gate_asks_everything_and_leaves_a_complete_run(baseline, tmp_path):
    found = gated(baseline, tmp_path, tolerances=Tolerances())
    assert found.verdict == "undecided" and found.early.stopped_by == "end" and not found.early.complete_with
    assert found.early.samples == LIMIT
    (path,) = (file.parent for file in tmp_path.rglob("manifest.json"))
    assert (path / "metrics.json").read_bytes() == (baseline / "metrics.json").read_bytes()
    # Asked again, it stays complete, and nothing is asked twice.
    again = gated(baseline, tmp_path, tolerances=Tolerances())
    assert again.to_json()["verdicts"] == found.to_json()["verdicts"]
    assert read_manifest(path / "manifest.json").counters["predicted"] == 0
    assert read_scored(path).run.manifest.state == "complete"


@pytest.mark.parametrize(("task", "protocol"), [("gres", "strict"), ("gcg", "strict"), ("gcg", "official")])
def test_the_last_look_sees_what_two_finished_runs_show(asked, demo_root, tmp_path, monkeypatch, task, protocol):
    """Also where all captions are scored together, and where a ranking over all masks is no sum."""

    def missing():
        raise CaptionToolsError("no Java and no text model, which take long to start")

    for helper in ("CaptionScorer", "TextSimilarity"):
        monkeypatch.setattr(judges, helper, missing)
    finished = {model: asked(model, task=task, limit=12).path for model in ("oracle", "random")}
    rules = EarlyRules(looks=2)
    # Nothing is ever shown at this level.
    narrow = Tolerances(tolerance={"default": 0}, alpha=1e-12)
    given = {"model": "random", "out": tmp_path}
    (found,) = ask_and_gate(finished["oracle"], given, narrow, protocol, rules)
    before, after = (read_scored(path).metrics(protocol) for path in finished.values())
    assert {verdict.look for verdict in found.verdicts} == {2} and found.early.samples == 12
    for verdict in found.verdicts:
        values = before[verdict.metric].value, after[verdict.metric].value
        assert (verdict.baseline, verdict.candidate) == pytest.approx(values), verdict.metric
    if task == "gcg":
        assert {"ap50", "miou_gcg"} <= {verdict.metric for verdict in found.verdicts}


def test_a_metric_that_this_machine_cannot_measure_is_no_verdict(asked, tmp_path, monkeypatch):
    def missing():
        raise CaptionToolsError("there is no text model")

    def without_captions():
        raise CaptionToolsError("no Java")

    monkeypatch.setattr(judges, "CaptionScorer", without_captions)
    there = asked(task="gcg", limit=12).path
    assert "recall_gcg_minilm" in read_scored(there).metrics("strict")
    monkeypatch.setattr(judges, "TextSimilarity", missing)
    with pytest.raises(IncompleteRunError, match=r"no text model.* has no recall_gcg_minilm, which the baseline has"):
        gated(there, tmp_path)


def test_a_metric_of_which_nothing_was_asked_yet_waits(asked, tmp_path):
    there = asked(task="grounding_suite", limit=24, batch_size=2).path
    found = gated(there, tmp_path, tolerances=Tolerances(tolerance={"default": 99}), rules=EarlyRules(looks=12))
    kinds = [verdict.pictures for verdict in found.verdicts if verdict.metric.startswith("giou_")]
    assert min(kinds) < 4 and found.verdict == "undecided"
    shown = {verdict.metric for verdict in found.verdicts} | set(found.unseen)
    assert shown == set(read_scored(there).metrics("strict"))


def test_a_budget_of_pictures_ends_it_and_more_of_it_goes_on(baseline, tmp_path, monkeypatch):
    asked = []
    answer = Oracle.generate

    def counted(self, requests, max_new_tokens):
        asked.extend(request.id for request in requests)
        return answer(self, requests, max_new_tokens)

    monkeypatch.setattr(Oracle, "generate", counted)
    first = gated(baseline, tmp_path, tolerances=Tolerances(), rules=EarlyRules(looks=3, pictures=6))
    assert first.early.stopped_by == "budget" and first.early.of_looks <= 3
    assert 0 < first.early.pictures <= 6 and first.verdict == "undecided"
    assert "Stopped by --budget after look" in gate_table([first])
    kept = list(asked)
    assert first.early.complete_with.startswith("python run_eval.py --task gres:val --model oracle")
    second = gated(baseline, tmp_path, tolerances=Tolerances(), rules=EarlyRules(looks=3))
    assert second.early.samples == LIMIT
    assert len(asked) == len(set(asked)) == LIMIT and asked[: len(kept)] == kept


def test_everybody_is_asked_in_the_same_order_which_is_not_that_of_the_files(baseline, tmp_path):
    orders = []
    for model in ("oracle", "random"):
        options = options_like(read_manifest(baseline / "manifest.json"), model=model, out=tmp_path)
        with in_parts(options) as candidate:
            orders.append([[sample.id for sample in batch] for batch in candidate.batches])
            in_file_order = [sample.id for sample in candidate.samples]
    assert orders[0] == orders[1]
    flat = [name for batch in orders[0] for name in batch]
    assert sorted(flat) == sorted(in_file_order) and flat != in_file_order


def test_no_time_before_the_first_look_is_no_verdict(baseline, tmp_path):
    with pytest.raises(IncompleteRunError, match="before the first look"):
        gated(baseline, tmp_path, rules=EarlyRules(minutes=1e-9))


def test_what_a_machine_failed_is_no_verdict_and_is_asked_again(baseline, tmp_path, monkeypatch):
    answer = Oracle.generate

    def failing(self, requests, max_new_tokens):
        if any(request.id == broken for request in requests):
            raise RuntimeError("no device")
        return answer(self, requests, max_new_tokens)

    broken = json.loads((baseline / "records.jsonl").read_text().splitlines()[0])["id"]
    with monkeypatch.context() as patch:
        patch.setattr(Oracle, "generate", failing)
        with pytest.raises(IncompleteRunError, match="1 samples failed; the same command asks them again"):
            ask_and_gate(baseline, {"model": "oracle", "out": tmp_path, "max_errors": 5}, Tolerances())
    assert gated(baseline, tmp_path, tolerances=Tolerances()).early.samples == LIMIT


def test_other_questions_and_a_baseline_without_answers_are_refused(baseline, make_run, tmp_path):
    with pytest.raises(UsageError, match="of data"):
        ask_and_gate(baseline, {"model": "oracle", "out": tmp_path, "limit": LIMIT - 1}, WIDE)
    for part in RunFolder(make_run("gone", lambda sample: sample.target.masks)).parts():
        part.write_text("")
    with pytest.raises(UsageError, match="does not hold its own answers"):
        gated(tmp_path / "runs" / "gone", tmp_path)


def test_metrics_of_a_judge_are_left_to_finished_runs(baseline, tmp_path, monkeypatch):
    assert judged(["cider", "empty"]) == [] and judged(["empty", "dlc_pos|llama"]) == ["dlc_pos|llama"]
    with pytest.raises(UsageError, match=r"dlc_pos\|llama: a gate that asks has no judge"):
        judged(["dlc_pos|llama"])
    monkeypatch.setattr(early, "card", lambda name: SimpleNamespace(judged=name == "n_acc"))
    found = gated(baseline, tmp_path, rules=EarlyRules(looks=1, pictures=4))
    assert found.left_out == ["n_acc"] and "n_acc" not in {v.metric for v in found.verdicts} | set(found.unseen)
    assert "Left out, since a gate that asks has no judge: N-acc." in gate_table([found])


def test_a_gate_under_other_rules_says_that_these_answers_were_looked_at_before(baseline, tmp_path):
    few = EarlyRules(looks=2, pictures=6)
    first = gated(baseline, tmp_path, rules=few)
    (log,) = tmp_path.rglob("gates.jsonl")
    (told,) = log.read_text().splitlines()
    # The same looks under the same bounds are no second chance, wherever they end.
    again = gated(baseline, tmp_path, rules=replace(few, until="every-metric"))
    assert log.read_text().splitlines() == [told] and again.warnings == first.warnings == []
    more = gated(baseline, tmp_path, rules=EarlyRules(looks=3))
    (warning,) = more.warnings
    assert "a gate has looked at these answers before, under other rules (looks, budget)" in warning
    assert "all 2 together may err with up to 0.1" in warning
    third = gated(baseline, tmp_path, tolerances=Tolerances(alpha=0.02), rules=few)
    assert "2 gates have looked" in third.warnings[0] and "up to 0.12" in third.warnings[0]
    assert len(log.read_text().splitlines()) == 3
    log.write_text('{"looks": 2}\n')
    with pytest.raises(DataError, match=r"gates\.jsonl, line 1"):
        gated(baseline, tmp_path, rules=few)


def test_a_budget_that_holds_no_batch_is_refused(baseline, tmp_path):
    with pytest.raises(UsageError, match="--budget 1: the first batch has 2 pictures"):
        ask_and_gate(
            baseline, {"model": "oracle", "out": tmp_path, "batch_size": 12}, WIDE, rules=EarlyRules(pictures=1)
        )


def test_masks_of_another_precision_are_decoded_and_the_gate_says_so(baseline, tmp_path):
    few = EarlyRules(looks=1, pictures=4)
    (found,) = ask_and_gate(baseline, {"model": "oracle", "out": tmp_path, "dtype": "bf16"}, WIDE, rules=few)
    assert found.early.masks_reused == 0
    assert any("every mask was decoded" in warning and "precision" in warning for warning in found.warnings)


def test_the_baselines_model_may_be_asked_again_and_its_noise_widens_everything(baseline, tmp_path, monkeypatch):
    few = EarlyRules(looks=2, pictures=6)
    usual = gated(baseline, tmp_path / "usual", "random", rules=few)
    found = gated(baseline, tmp_path / "out", "random", rules=few, repeated=0.3)
    # The oracle always answers alike.
    assert [v.low for v in found.verdicts] == [v.low for v in usual.verdicts] and found.repeated == 0.3
    assert "asked again on 30 % of the batches" in gate_table([found])
    (manifest,) = (tmp_path / "out" / REPEATED).rglob("manifest.json")
    asked = read_manifest(manifest).asked
    assert asked.batches == -(-asked.of_batches * 3 // 10)
    with pytest.raises(UsageError, match="expected a share"):
        gated(baseline, tmp_path / "out", repeated=1.5)

    answer = Oracle.generate

    def changing(self, requests, max_new_tokens):
        answers = answer(self, requests, max_new_tokens)
        silent = [request.id.endswith(("1", "4")) for request in requests]
        return [replace(a, text="nothing") if s else a for a, s in zip(answers, silent, strict=True)]

    monkeypatch.setattr(Oracle, "generate", changing)
    noisy = gated(baseline, tmp_path / "noisy", "random", rules=few, repeated=0.3)
    before, after = ({v.metric: v for v in result.verdicts}["giou"] for result in (usual, noisy))
    assert after.candidate == before.candidate and after.error > before.error
    assert after.low < before.low and after.high > before.high and after.p > before.p


def test_noise_is_that_of_pictures_and_that_of_whole_runs():
    alike = noise_of(PairedStep(0.5, 0.5, 0.0, 40))
    assert alike == Noise(0.0, 0.0) and alike.error(10) == 0
    # 40 pictures with a spread of 0.2 have a standard error of 0.0316, which explains a step of 0.02.
    pictures = noise_of(PairedStep(0.5, 0.52, 0.2 / 40**0.5, 40))
    assert pictures.error(400) == pytest.approx(0.01) and pictures.shift == 0
    # A step of 0.1 is more: that much differs between runs, over however many pictures.
    runs = noise_of(PairedStep(0.5, 0.6, 0.01, 40))
    assert runs.error(10**9) == pytest.approx((0.1**2 - 0.01**2) ** 0.5, rel=1e-4)


def test_the_linear_error_of_ratios_is_that_of_the_paired_bootstrap_on_real_answers(asked, baseline):
    """The bundled checkpoint against the true codes; the bootstrap's own error over 4,000 draws is about 1 %."""
    runs = [read_scored(path) for path in (asked("demo").path, baseline)]
    for protocol in ("strict", "samtok"):
        before, after = (side.metrics(protocol) for side in runs)
        steps = paired_steps(before, after, seed=0)
        pairs = _pairs(before, after)
        drawn = _bootstrap_differences(pairs, _pictures_of_pairs(pairs), seed=0, draws=4000)
        assert {"ciou", "giou", "n_acc", "t_acc"} <= set(steps)
        for metric, step in steps.items():
            assert step.difference == pytest.approx(after[metric].value - before[metric].value)
            # 15 pictures: the bootstrap lacks the factor n / (n - 1), and terms of second order count.
            expected = np.nanstd(drawn[metric]) * (step.pictures / (step.pictures - 1)) ** 0.5
            assert step.error == pytest.approx(expected, rel=0.1, abs=1e-12), metric


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give --candidate RUN, or --model CHECKPOINT"),
        (["--candidate", "x", "--model", "oracle"], "give --candidate RUN, or --model CHECKPOINT"),
        (["--candidate", "x", "--batch-size", "3"], "--batch-size: only with --model"),
        (["--candidate", "x", "--budget", "3"], "--budget: only with --model"),
        (["--model", "oracle", "--budget", "soon"], "--budget soon: expected a number of pictures"),
        (["--model", "oracle", "--budget", "infmin"], "--budget infmin: expected"),
        (["--model", "oracle", "--budget", "0"], "--budget 0: expected"),
        (["--model", "oracle", "--repeat-baseline", "0"], "expected a share above 0"),
    ],
)
def test_what_makes_no_gate_is_said(baseline, tmp_path, words, message):
    done = command("gate", "--baseline", baseline, "--out", tmp_path, *words)
    assert done.returncode == 1 and message in done.stderr


def test_the_command_asks_judges_and_writes_what_it_found(baseline, tmp_path):
    done = command(
        "gate", "--baseline", baseline, "--model", "random", "--out", tmp_path / "out", "--looks", "5",
        "--json", tmp_path / "gate.json", "--junit", tmp_path / "gate.xml",
    )  # fmt: skip
    assert done.returncode == 4 and "worse than the baseline: gres:val" in done.stderr
    (told,) = json.loads((tmp_path / "gate.json").read_text())
    assert told["early"]["of_looks"] == 5 and told["early"]["pictures"] < told["early"]["of_pictures"]
    assert {row["look"] for row in told["verdicts"]} <= {1, 2, 3, 4, 5}
    assert "failures" in (tmp_path / "gate.xml").read_text()


def test_metrics_of_which_nothing_was_seen_stay_undecided(baseline, tmp_path):
    found = gated(baseline, tmp_path, "random", Tolerances(), EarlyRules(looks=15))
    missing = found.__class__(**{**vars(found), "verdicts": [], "unseen": ["n_acc"]})
    assert missing.verdict == "undecided" and "Undecided without a row" in gate_table([missing])
    assert "N-acc" in gate_table([missing]) and junit([missing])
