"""Runs are compared only when they answered the same questions, and every number follows from the records."""

from __future__ import annotations

import json

import pytest

from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.prediction import Record
from samtok_eval.reports.compare.comparison import compare
from samtok_eval.reports.compare.text import comparison_table
from samtok_eval.reports.runs import read_scored
from samtok_eval.run.signature import differences, short_signature, signature_dict
from samtok_eval.run.slices import sliced, slices_of
from tests.conftest import edit_manifest, right, shifted


def edit(folder, name, change):
    path = folder / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_comparison_holds_values_differences_slices_and_samples(make_run):
    first, second = make_run("first", right), make_run("second", shifted(8))
    found = compare([read_scored(first), read_scored(second)])
    cells = {(cell.protocol, cell.metric, cell.run): cell for cell in found.cells}
    ciou = cells["strict", "ciou", 1]
    assert cells["strict", "ciou", 0].difference is None and cells["strict", "ciou", 0].value == 1
    assert ciou.difference.value == pytest.approx(ciou.value - 1) and ciou.value < 0.9
    assert ciou.difference.low <= ciou.difference.value <= ciou.difference.high < 0
    assert ciou.p_corrected >= ciou.difference.p and ciou.p_corrected < 0.01
    assert (ciou.difference.wins, ciou.difference.losses) == (0, ciou.n)
    assert cells["strict", "n_acc", 1].difference.value == 0
    assert found.sample_metric == "giou"
    assert {cell.name for cell in found.slices} >= {"size", "targets", "words"}
    assert (
        found.slices[0].difference.value * found.slices[0].n <= found.slices[-1].difference.value * found.slices[-1].n
    )
    steps = [abs(change.candidate - change.baseline) for change in found.changes]
    assert len(steps) == 10 and steps == sorted(steps, reverse=True) and steps[-1] > 0
    text = comparison_table(found)
    for word in ("cIoU", "second", "targets one", "Samples that changed most", found.changes[0].id, "95 % interval"):
        assert word in text
    assert json.loads(json.dumps(found.to_json()))["cells"][0]["metric"] == "ciou"
    main = comparison_table(found, only_main=True)
    assert "numbers by the rules of official, samtok, samtok_rl: --protocol all" in main
    assert main.count("cIoU") == text.count("cIoU") / 4 and "--protocol" not in text


def test_a_run_compared_with_itself_differs_nowhere(make_run):
    run = read_scored(make_run("run", shifted(3)))
    found = compare([run, run], protocols=["strict"])
    assert {cell.difference.value for cell in found.cells if cell.run} == {0}
    assert {cell.p_corrected for cell in found.cells if cell.run} == {1}
    assert not found.changes and not found.warnings


def test_the_table_says_why_n_differs(make_run, demo_samples):
    something = next(sample.target.masks for sample in demo_samples("gres", 80) if sample.target.masks)
    whole = read_scored(make_run("whole", right))
    part = read_scored(make_run("part", lambda sample: sample.target.masks or something))
    found = compare([whole, part])
    alarms = sum(sample.target.masks == () for sample in demo_samples("gres", 80))
    (protocol, line) = found.n_differences[0]
    counted = f"{alarms} without a target count for part alone; for whole the status is ok ({alarms})"
    assert line == f"cIoU: n differs. {counted}."
    assert f"Protocol {protocol}: {line}" in comparison_table(found)
    assert {"protocol": protocol, "why": line} in json.loads(json.dumps(found.to_json()))["n_differences"]
    alone = comparison_table(compare([whole, part], protocols=[protocol]))
    assert line in alone and f"Protocol {protocol}:" not in alone
    assert "n differs" not in comparison_table(compare([whole, whole]))


def test_any_number_of_runs_stand_in_one_table(make_run):
    runs = [read_scored(make_run(f"by-{pixels}", shifted(pixels))) for pixels in (1, 2, 4)]
    values = [cell.value for cell in compare(runs).cells if (cell.protocol, cell.metric) == ("strict", "giou")]
    assert values == sorted(values, reverse=True) and len(set(values)) == 3


def test_what_differs_beside_the_model_is_named(make_run):
    first, second = make_run("first", right), make_run("second", right, seed=5)
    found = compare([read_scored(first), read_scored(second)])
    assert found.warnings == ["second differs from first in seed: 5 instead of 0"]
    assert "WARNING: second differs" in comparison_table(found)


def test_answers_that_are_missing_are_told(make_run):
    some = make_run("some", lambda sample: None if sample.id.endswith("1") else sample.target.masks)
    warnings = compare([read_scored(make_run("all", right)), read_scored(some)]).warnings
    assert len(warnings) == 1 and "no answer to" in warnings[0]


def test_other_tasks_are_refused(make_run):
    with pytest.raises(UsageError, match=r"of task gres, .* of refcoco"):
        compare([read_scored(make_run("a", right)), read_scored(make_run("b", right, task="refcoco"))])


def test_fewer_samples_are_an_incomplete_run(make_run):
    with pytest.raises(IncompleteRunError, match="20 samples are in only one"):
        compare([read_scored(make_run("a", right)), read_scored(make_run("b", right, limit=60))])


def test_other_masks_under_the_same_ids_are_refused(make_run):
    first, second = make_run("a", right), make_run("b", right)
    edit_manifest(second, lambda manifest: manifest["dataset"].update(sha256="0" * 64))
    with pytest.raises(UsageError, match="saw different data"):
        compare([read_scored(first), read_scored(second)])


def test_metrics_that_were_changed_by_hand_are_refused(make_run):
    folder = make_run("run", shifted(3))
    edit(folder, "metrics.json", lambda metrics: metrics["strict"]["giou"].update(value=0.99))
    with pytest.raises(DataError, match=r"strict giou = 0.99, the records give"):
        read_scored(folder)


def test_metrics_that_no_record_gives_are_refused(make_run):
    folder = make_run("run", right)
    edit(
        folder,
        "metrics.json",
        lambda metrics: metrics["strict"].update(new={"value": 1.0, "low": None, "high": None, "n": 1}),
    )
    with pytest.raises(DataError, match=r"\['new'\], which the records do not give"):
        read_scored(folder)


def test_a_record_that_occurs_twice_is_refused(make_run):
    path = make_run("run", right) / "records.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match="occurs twice under strict"):
        read_scored(path.parent)


def test_a_record_that_is_lost_is_an_incomplete_run(make_run):
    path = make_run("run", right) / "records.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(IncompleteRunError, match="79 records of 80 samples"):
        read_scored(path.parent)


@pytest.mark.parametrize(
    "line", ["{", '{"id": 3}', '{"id": "a", "image_id": "b", "protocol": "c", "status": "d", "e": 1}']
)
def test_a_broken_record_names_its_line(make_run, line):
    path = make_run("run", right) / "records.jsonl"
    path.write_text(line + "\n" + path.read_text())
    with pytest.raises(DataError, match=r"records.jsonl:1: "):
        read_scored(path.parent)


def test_a_newer_schema_is_refused(make_run):
    folder = make_run("run", right)
    edit(folder, "manifest.json", lambda manifest: manifest.update(schema_version=2))
    with pytest.raises(DataError, match="schema version 2, this program reads 1"):
        read_scored(folder)


def test_an_unfinished_run_is_refused(make_run):
    folder = make_run("run", right)
    edit(folder, "manifest.json", lambda manifest: manifest.update(state="predicting"))
    with pytest.raises(IncompleteRunError, match="is predicting, not complete"):
        read_scored(folder)


def test_signatures_name_everything_and_their_short_form_stands_for_it(make_run):
    long = read_scored(make_run("run", right)).run.manifest.signature["strict"]
    parts = signature_dict(long)
    assert parts["task"] == "gres:val" and parts["n"] == "80" and parts["protocol"] == "strict"
    assert {"data", "images", "history", "judge", "device", "dtype", "torch", "transformers", "seed"} <= set(parts)
    short = short_signature(long)
    assert short.startswith("gres:val|strict|") and len(short) < 60
    assert short_signature(long.replace("seed:0", "seed:1")) != short
    assert differences(long, long.replace("seed:0", "seed:1")) == {"seed": ("0", "1")}
    assert differences(long, long.replace("|model:", "|model:other-")) == {}


def record(**fields):
    return Record("1", "a", "strict", "ok", **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"status": "ok"}),
        ({"gt_area": 32 * 32 - 1}, {"status": "ok", "size": "small"}),
        ({"gt_area": 32 * 32}, {"status": "ok", "size": "medium"}),
        ({"gt_area": 96 * 96}, {"status": "ok", "size": "large"}),
        ({"phrase": "red one"}, {"status": "ok", "words": "1-2"}),
        ({"phrase": "the red one"}, {"status": "ok", "words": "3-5"}),
        ({"phrase": "the red one on the left"}, {"status": "ok", "words": "6+"}),
        ({"slices": {"targets": "none"}}, {"status": "ok", "targets": "none"}),
    ],
)
def test_slices_of_a_record(fields, expected):
    assert slices_of(record(**fields)) == expected


def test_a_slice_with_one_value_is_left_out():
    assert sliced([record(), record(gt_area=5), record(gt_area=20_000)]).keys() == {"size"}
