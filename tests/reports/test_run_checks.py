"""What a run folder says of itself must follow from its records and its manifest; what it names is never run."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from samtok_eval import evaluate
from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.reports.compare.comparison import compare
from samtok_eval.reports.compare.text import comparison_table
from samtok_eval.reports.gate.gate import gate
from samtok_eval.reports.gate.tolerances import Tolerances
from samtok_eval.reports.page.content import gather
from samtok_eval.reports.page.page import page
from samtok_eval.reports.runs import read_scored
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.manifest import manifest_of
from samtok_eval.run.score import PERCENTILE, entries, interval_method
from samtok_eval.run.settings import RunOptions
from samtok_eval.run.signature import signature_dict
from tests.conftest import edit_manifest, right, shifted
from tests.support.command import command

MARKED = """
from pathlib import Path
Path({marker!r}).write_text("run")
from samtok_eval.metrics.referring import giou
from samtok_eval.metrics.scoring import score_region
from samtok_eval.sample import ImageRef, Sample, Target, Turn
from samtok_eval.protocol import Protocol
from samtok_eval.task import Task, TaskMetadata

class Own(Task):
    metadata = TaskMetadata(
        name="own", title="Own", version=1, paper="-", data="-", licence="-", splits=("all",), default_split="all",
        sizes={{"all": "2"}}, files=(), main_metric="own_share", metrics=("own_share",))
    prompt = None
    protocols = (Protocol("strict", policy="default", missing_second="skip", errors_fail=True),)
    def read(self, data_root, split):
        image = [ImageRef(str(i), data_root / "none.png", 8, 8) for i in range(2)]
        return [Sample(str(i), image[i], (Turn("user", ("x",)),), Target()) for i in range(2)]
    def score(self, sample, prediction, protocol):
        return score_region(sample, prediction, protocol)
    def metrics(self, records, protocol):
        return {{"own_share": giou(records)}}

TASKS = (Own(),)
"""


@pytest.fixture(scope="module")
def predicted(demo_root, tmp_path_factory):
    """A run that was predicted and scored here."""
    out = tmp_path_factory.mktemp("predicted")
    options = {"data_root": str(demo_root), "limit": 60, "protocols": ("strict", "official", "samtok")}
    return evaluate("gres", model="random", out=out, **options).path


@pytest.fixture
def own(predicted, tmp_path):
    """A copy of it."""
    return shutil.copytree(predicted, tmp_path / "own")


def edit(folder, name, change):
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


def drawn(folder):
    """Make the intervals of a folder those of older versions, which drew all of them."""
    run = read_scored(folder)
    method = interval_method(run.run.manifest.settings.seed, PERCENTILE)

    def change(metrics):
        metrics["intervals"]["method"] = PERCENTILE
        for protocol in run.protocols:
            metrics[protocol] = {
                name: entry.model_dump() for name, entry in entries(run.metrics(protocol), method).items()
            }

    edit(folder, "metrics.json", change)


def old(folder):
    """Make a folder look as versions wrote it that kept neither keys of scores nor the method of intervals."""
    drawn(folder)
    edit(folder, "manifest.json", lambda manifest: [manifest.pop(name) for name in ("scoring", "template")])
    edit(folder, "metrics.json", lambda metrics: [metrics.pop(name) for name in ("intervals", "absent")])


# Numbers


def giou(metrics):
    return metrics["strict"]["giou"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: giou(m).update(value=0.99), "says strict giou = 0.99, the records give 0."),
        (lambda m: giou(m).update(low=giou(m)["low"] + 1e-6), "says strict giou low = "),
        (lambda m: giou(m).update(high=None), "says strict giou high = None, the records give 0."),
        (lambda m: giou(m).update(high=float("nan")), "says strict giou high = nan"),
        (lambda m: giou(m).update(n=giou(m)["n"] + 1), "says strict giou n = 61, the records give 60"),
        (lambda m: giou(m).update(n=True), "strict.giou.n: Input should be a valid integer, got True"),
        (lambda m: giou(m).update(note="x"), r"says strict giou has ['note'], which the records do not give"),
        (lambda m: m["strict"].pop("ciou"), "says strict lacks ['ciou']"),
        (lambda m: m["strict"].update(new=giou(m)), "says strict has ['new'], which the records do not give"),
        (lambda m: m.update(strict=[]), "strict: Input should be a valid dictionary"),
        (lambda m: m["counters"].update(invalid=3), "says counters invalid = 3, the records give 0"),
        (lambda m: m["slices"]["strict"].pop("size"), "says slices strict lacks ['size']"),
        (lambda m: m["slices"]["strict"]["targets"]["one"]["giou"].update(value=1.5), "slices strict targets one giou"),
        (lambda m: m.pop("slices"), "says slices = None"),
        (lambda m: m.pop("official"), "has the protocols ['samtok', 'strict'], records.jsonl ['official',"),
        (lambda m: m["intervals"].update(method=PERCENTILE), "says strict "),
        (lambda m: m["intervals"].update(confidence=0.5), "says strict "),
        (lambda m: m["intervals"].update(seed=-1), "intervals.seed: Input should be greater than or equal to 0"),
        (lambda m: m["intervals"].update(draws=0), "intervals.draws: Input should be greater"),
        (lambda m: m["intervals"].update(confidence=float("nan")), "intervals.confidence: "),
        (lambda m: m.update(intervals="bootstrap"), "intervals: Input should be"),
        (lambda m: m.update(absent=["meteor"]), "absent: Input should be a valid dictionary"),
        (lambda m: m["absent"].update(giou="no time"), "says that giou is absent and holds it"),
    ],
)
def test_a_number_that_does_not_follow_from_the_records_is_refused(own, change, message):
    edit(own, "metrics.json", change)
    with pytest.raises(DataError, match=re.escape(message)):
        read_scored(own)


def test_records_that_were_changed_no_longer_give_the_numbers(make_run):
    path = make_run("run", shifted(3)) / "records.jsonl"
    path.write_text(path.read_text().replace('"inter": ', '"inter": 1', 1))
    with pytest.raises(DataError, match="the records give"):
        read_scored(path.parent)


def test_records_without_what_the_task_counts_are_refused(make_run):
    path = make_run("run", right, task="refcoco") / "records.jsonl"
    path.write_text(path.read_text().replace('"box_iou"', '"box"'))
    with pytest.raises(DataError, match=r"lacks what refcoco counts \(KeyError\('box_iou'\)\); run `score` again"):
        read_scored(path.parent)


def test_samples_of_another_protocol_must_be_the_same(make_run):
    path = make_run("run", right) / "records.jsonl"
    lines = path.read_text().splitlines()
    lines[0], lines[1] = lines[1], lines[0]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="other samples under official than under strict"):
        read_scored(path.parent)


def test_a_protocol_that_the_task_does_not_have_is_refused(make_run):
    folder = make_run("run", right, protocols=("strict",))
    records = folder / "records.jsonl"
    records.write_text(records.read_text().replace('"protocol": "strict"', '"protocol": "lenient"'))
    edit(folder, "metrics.json", lambda m: m.update(lenient=m.pop("strict")))
    edit(folder, "manifest.json", lambda m: m["signature"].update(lenient=m["signature"].pop("strict")))
    with pytest.raises(DataError, match="gres has no protocol lenient"):
        read_scored(folder)


# How intervals were drawn


def test_intervals_are_checked_by_the_method_that_the_folder_names(make_run):
    folder = make_run("run", shifted(3), seed=7)
    assert json.loads((folder / "metrics.json").read_text())["intervals"] == {
        "seed": 7,
        "draws": 1000,
        "confidence": 0.95,
        "method": "percentile bootstrap over pictures, Student's t of the jackknife below 40",
    }
    assert read_scored(folder).unchecked == []


@pytest.mark.parametrize("named", [{"seed": 1}, {"draws": 500}])
def test_older_intervals_are_checked_by_what_they_were_drawn_with(own, named):
    of_few = json.loads((own / "metrics.json").read_text())
    drawn(own)
    assert giou(json.loads((own / "metrics.json").read_text())) != giou(of_few)
    assert read_scored(own).unchecked == []
    edit(own, "metrics.json", lambda metrics: metrics["intervals"].update(named))
    with pytest.raises(DataError, match="says strict "):
        read_scored(own)


@pytest.mark.parametrize(
    ("named", "note"),
    [
        ({"method": "bias-corrected"}, "intervals by 'bias-corrected', which this version does not know"),
        ({"draws": 10**9}, "intervals of 1000000000 draws, more than 100000"),
    ],
)
def test_intervals_of_an_unknown_method_are_shown_and_named_not_refused(make_run, named, note):
    folder = make_run("run", shifted(3))

    def change(metrics):
        metrics["intervals"].update(named)
        giou(metrics).update(low=0.1, high=0.9)

    edit(folder, "metrics.json", change)
    run = read_scored(folder)
    assert run.unchecked == [note]
    found = compare([run, run])
    cell = next(c for c in found.cells if (c.protocol, c.metric) == ("strict", "giou"))
    assert (cell.low, cell.high) == (0.1, 0.9)
    assert f"not checked: {note}" in comparison_table(found) and note.replace("'", "&#39;") in page(gather([run]))
    edit(folder, "metrics.json", lambda metrics: giou(metrics).update(value=0.99))
    with pytest.raises(DataError, match=r"strict giou = 0.99"):
        read_scored(folder)


@pytest.mark.parametrize("bounds", [{"low": "much"}, {"low": 0.9, "high": 0.1}, {"high": float("inf")}, {"low": None}])
def test_an_interval_of_an_unknown_method_is_still_two_numbers_in_order(own, bounds):
    def change(metrics):
        metrics["intervals"]["method"] = "bias-corrected"
        giou(metrics).update(bounds)

    edit(own, "metrics.json", change)
    with pytest.raises(DataError, match=r"strict giou (low|high) = |strict\.giou\.low: .*, got 'much'"):
        read_scored(own)


# What identifies a run


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["dataset"].update(sha256="0" * 64),
        lambda m: m["dataset"].update(images_sha256="0" * 64),
        lambda m: m["settings"].update(batch_size=1),
        lambda m: m["settings"].update(min_pixels=12),
        lambda m: m["settings"].update(judge="openai:http://x#y"),
        lambda m: m["model"].update(name="another"),
        lambda m: m["model"]["identity"].update(seed=3),
        lambda m: m["packages"].update(torch="9.9"),
        lambda m: m.update(tokenizer_sha256="0" * 64),
        lambda m: m.update(prompt="another"),
        lambda m: m.update(samtok_eval="9.9"),
        lambda m: m["scoring"].update(seed=3),
        lambda m: m["scoring"].update(samtok_eval="9.9"),
    ],
)
def test_a_manifest_that_was_changed_no_longer_fits_its_keys(own, change):
    assert read_scored(own).unchecked == []
    edit(own, "manifest.json", change)
    with pytest.raises(DataError, match=r"manifest\.json does not fit the key of its scores"):
        read_scored(own)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["dataset"].update(images_sha256="0" * 64),
        lambda m: m["settings"].update(batch_size=1),
        lambda m: m["model"]["identity"].update(seed=3),
        lambda m: m.update(template="Show me {phrase}."),
    ],
)
def test_whoever_makes_the_key_of_the_scores_anew_is_caught_by_the_run_key(own, change):
    edit_manifest(own, change)
    with pytest.raises(DataError, match="does not fit its run key"):
        read_scored(own)


def test_predictions_from_elsewhere_have_a_key_of_their_scores(make_run):
    folder = make_run("run", right)
    assert "run_key" not in json.loads((folder / "manifest.json").read_text())
    edit(folder, "manifest.json", lambda m: m["model"]["identity"].update(predictions_sha256="0" * 64))
    with pytest.raises(DataError, match="does not fit the key of its scores"):
        read_scored(folder)


def test_a_signature_follows_from_the_manifest(own):
    edit(own, "manifest.json", lambda m: m["signature"].update(strict=m["signature"]["strict"].replace("n:60", "n:99")))
    with pytest.raises(DataError, match="the signature of strict does not follow from"):
        read_scored(own)


def test_signatures_are_of_the_protocols_that_were_scored(own):
    edit(own, "manifest.json", lambda m: m["signature"].pop("samtok"))
    with pytest.raises(DataError, match=r"signs \['official', 'strict'\], metrics.json has \['official', 'samtok'"):
        read_scored(own)


def test_counters_of_the_manifest_are_those_of_the_records(own):
    edit(own, "manifest.json", lambda m: m["counters"].update(missing=4))
    with pytest.raises(DataError, match="other counters"):
        read_scored(own)


def test_a_signature_names_the_seed_of_the_intervals_where_it_is_another(predicted, demo_root, tmp_path):
    options = RunOptions(task="gres", data_root=str(demo_root), out=tmp_path / "again", seed=5)
    again = score_file(options, predicted)
    assert signature_dict(again.manifest.signature["strict"])["seed"] == "0, intervals 5"
    assert read_scored(again.path).unchecked == []
    assert compare([read_scored(predicted), read_scored(again.path)]).warnings == [
        "random differs from random in seed: 0, intervals 5 instead of 0"
    ]


def test_another_task_version_is_refused_with_what_to_do(own):
    edit_manifest(own, lambda m: m["scoring"].update(task_version=0))
    with pytest.raises(DataError, match=r"was scored by version 0 of the task gres, .* run `score` again, or"):
        read_scored(own)


def test_answers_of_another_task_version_are_scored_again_only_where_the_questions_are_the_same(
    own, demo_root, tmp_path
):
    """A change of the scoring alone does not ask for new answers; one of the questions does."""
    from samtok_eval.run.signature import run_key

    def of_old_version(manifest):
        manifest["task_version"] = manifest["scoring"]["task_version"] = 0
        manifest["run_key"] = run_key(manifest_of(manifest))

    edit_manifest(own, of_old_version)
    options = RunOptions(task="gres", data_root=str(demo_root), out=tmp_path / "again")
    again = read_scored(score_file(options, own).path)
    assert signature_dict(again.run.manifest.signature["strict"])["version"] == str(again.task.metadata.version)
    edit(own, "manifest.json", lambda m: m["dataset"].update(sha256="0" * 64))
    with pytest.raises(DataError, match=r"hash 00000000 \(version 0 of gres\).* or run again"):
        score_file(options, own)


# Folders of older versions


def test_an_older_folder_is_read_and_what_is_not_checked_is_said(own):
    old(own)
    run = read_scored(own)
    assert run.unchecked == ["what neither signature nor run key of this older folder holds"]
    assert "not checked: what neither" in compare([run, run]).warnings[0]
    (result,) = gate(own, own, Tolerances())
    assert any("not checked: what neither" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("manifest.json", lambda m: m["dataset"].update(sha256="0" * 64), "run key"),
        ("manifest.json", lambda m: m["settings"].update(min_pixels=3), "signature of strict"),
        ("metrics.json", lambda m: giou(m).update(low=0.01), "strict giou low"),
    ],
)
def test_of_an_older_folder_everything_else_is_checked(own, file, change, message):
    old(own)
    edit(own, file, change)
    with pytest.raises(DataError, match=message):
        read_scored(own)


# Broken folders


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "holds no JSON object"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("{}", "has schema version None, this program reads 1"),
        ('{"schema_version": 1}', "state: Field required"),
    ],
)
def test_a_broken_manifest_is_one_line(own, text, message):
    (own / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_scored(own)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(model="demo"), "model: Input should be"),
        (lambda m: m["dataset"].update(samples="60"), r"dataset\.samples: Input should be"),
        (lambda m: m.update(signature={"strict": 3}), r"signature\.strict: Input should be"),
        (lambda m: m["scoring"].update(seed=-1), r"scoring\.seed: Input should be greater"),
    ],
)
def test_a_field_of_another_kind_is_named(own, change, message):
    edit(own, "manifest.json", change)
    with pytest.raises(DataError, match=message):
        read_scored(own)


def test_a_run_that_was_not_scored_is_incomplete(own):
    edit(own, "manifest.json", lambda m: m.update(state="predicted"))
    (own / "metrics.json").unlink()
    with pytest.raises(IncompleteRunError, match="is predicted, not complete"):
        read_scored(own)


# Task files


@pytest.fixture
def foreign(tmp_path):
    """A run of a task file of somebody's own, and the file that running the task file writes."""
    marker, tasks, data = tmp_path / "marker", tmp_path / "their tasks", tmp_path / "data"
    for folder in (tasks, data):
        folder.mkdir()
    (tasks / "own.py").write_text(MARKED.format(marker=str(marker)))
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"id": "0", "masks": []}\n{"id": "1", "masks": []}\n')
    score_file(RunOptions(task="own", tasks_dirs=(tasks,), data_root=str(data), out=tmp_path / "run"), answers)
    marker.unlink()
    return tmp_path / "run", tasks, marker


def commands(run, tmp_path):
    return {
        "compare": ["compare", run, run],
        "gate": ["gate", "--baseline", run, "--candidate", run],
        "report": ["report", run, "--out", tmp_path / "report"],
        "submit": ["leaderboard", "submit", run, "--model", "a/b", "--revision", "r", "--folder", tmp_path / "board"],
    }


@pytest.mark.parametrize("name", ["compare", "gate", "report", "submit"])
def test_task_files_that_a_run_names_are_not_run(foreign, tmp_path, name):
    run, tasks, marker = foreign
    assert json.loads((run / "manifest.json").read_text())["settings"]["tasks_dirs"] == [str(tasks)]
    done = command(*commands(run, tmp_path)[name])
    assert done.returncode == 1
    assert "task 'own', which no known task file defines; pass the folder of its task file with --tasks-dir" in (
        done.stderr
    )
    # Of a long folder the end is told, and what to do.
    assert f"{tasks.parent.name[-8:]}/{tasks.name}'; look at it first" in done.stderr and done.stderr.count("\n") == 1
    assert not marker.exists()


@pytest.mark.parametrize("name", ["compare", "gate", "report", "submit"])
def test_task_files_that_the_user_names_are(foreign, tmp_path, name):
    run, tasks, marker = foreign
    done = command(*commands(run, tmp_path)[name], "--tasks-dir", tasks)
    assert done.returncode == 0, done.stderr
    assert marker.exists()


def test_a_known_task_needs_no_task_file_whatever_its_run_names(make_run, foreign):
    _, tasks, marker = foreign
    folder = make_run("run", right)
    edit_manifest(folder, lambda m: m["settings"].update(tasks_dirs=[str(tasks)]))
    assert read_scored(folder).name == "run"
    assert not marker.exists()


def test_a_task_of_ones_own_may_have_a_tolerance(foreign, tmp_path):
    run, tasks, _ = foreign
    file = tmp_path / "gate.toml"
    file.write_text("[tasks.own]\nown_share = 2\n")
    words = ["gate", "--baseline", run, "--candidate", run, "--tolerances", file]
    done = command(*words)
    assert done.returncode == 1 and "unknown task 'own'" in done.stderr
    done = command(*words, "--tasks-dir", tasks)
    assert done.returncode == 0, done.stderr
    assert "2.0" in done.stdout


def test_the_command_of_a_report_quotes_the_folder_of_task_files(foreign):
    run, tasks, _ = foreign
    from samtok_eval.reports.runs import reproduce

    edit_manifest(run, lambda m: m.update(prompt="own", passed=["tasks_dirs"]))
    assert f"--tasks-dir '{tasks}'" in reproduce(read_scored(run, [tasks]))


def test_an_unknown_task_without_a_named_folder_is_a_usage_error(make_run):
    folder = make_run("run", right)
    edit_manifest(folder, lambda m: m.update(task="nobodys"))
    with pytest.raises(UsageError, match=r"'nobodys', which no known task file defines; .* --tasks-dir$"):
        read_scored(folder)
