"""`token_match`: the agreement of mask words with those of the right answer, from records alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samtok_eval import masks
from samtok_eval.errors import DataError, UsageError
from samtok_eval.mask_tokens import START, render
from samtok_eval.metrics.token_match import check_references, token_match, token_match_metric, with_token_match
from samtok_eval.prediction import Prediction, Record
from samtok_eval.registry import load_tasks
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.folder import load_run
from samtok_eval.run.samples import read_samples
from samtok_eval.run.score import score
from samtok_eval.run.settings import RunOptions
from tests.conftest import right, shifted

A, B = (1, 44), (2, 45)
PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=5)


@pytest.mark.parametrize(
    ("said", "true", "value"),
    [
        ([A, B], [A, B], 1.0),
        ([B, A], [A, B], 1.0),
        ([A], [A, B], 0.5),
        ([A, (2, 9)], [A, B], 0.7),
        ([(1, 9)], [A], 0.4),
        ([A, (1, 9)], [A], 0.5),
        ([A, A], [A], 0.5),
        ([A, A], [A, A], 1.0),
        ([(1, 9), (1, 8)], [A, A], 0.4),
        ([], [], 1.0),
        ([A], [], 0.0),
        ([], [A], 0.0),
    ],
)
def test_each_mask_of_either_text_is_used_once(said, true, value):
    assert token_match(f"It is {render(said)}.", render(true)) == pytest.approx(value)


@pytest.mark.parametrize("malformed", [START, f"{START}<|mt_0001|>", "<|mt_0001|><|mt_0300|>"])
def test_a_malformed_span_is_a_wrong_mask_and_no_empty_answer(malformed):
    assert token_match(malformed, "No target.") == 0
    assert token_match(f"{render([A])} {malformed}", render([A])) == 0.5


@given(PAIRS, PAIRS)
def test_bounded_symmetric_and_blind_to_order(said, true):
    value = token_match(render(said), render(true))
    assert 0 <= value <= 1
    assert value == pytest.approx(token_match(render(true), render(said)))
    assert value == pytest.approx(token_match(render(said[::-1]), render(true)))
    assert (value == 1) == (sorted(said) == sorted(true))


def test_missing_answers_count_0_and_masks_without_text_do_not_count():
    records = [Record(id=name, image_id=name, protocol="strict", status="ok") for name in "abcd"]
    answers = {
        "a": Prediction(id="a", text=render([A])),
        "b": Prediction(id="b", text="", status="error", error="no picture"),
        "d": Prediction(id="d", masks=[]),
    }
    references = {name: render([A]) for name in "abc"} | {"d": "No target."}
    found = with_token_match(records, answers, references)
    assert [record.values.get("token_match") for record in found] == [1, 0, 0, None]
    metric = token_match_metric(found)["token_match"]
    assert (metric.value, metric.n) == (pytest.approx(1 / 3), 3)
    assert token_match_metric(records) == {}


def test_references_that_lack_samples_or_name_no_masks_are_refused():
    with pytest.raises(DataError, match="lack 1 of 1 samples, a first"):
        check_references(["a"], {})
    with pytest.raises(DataError, match="name no masks"):
        check_references(["a"], {"a": "B"})


def truth(task, root, limit):
    """Right answers as the oracle writes them, with codes made up mask by mask."""
    found = load_tasks()[task]
    samples = read_samples(found, found.metadata.default_split, str(root), limit)
    return found, samples, {
        sample.id: found.answer(sample, [(i % 7, i) for i in range(len(found.written(sample)))]) for sample in samples
    }  # fmt: skip


@pytest.mark.parametrize("name", ["gres", "refcoco", "gcg", "grounding_suite", "interactive", "scene_graph"])
def test_every_task_that_writes_masks_reports_it_once_references_are_known(name, demo_root):
    task, samples, texts = truth(name, demo_root, 6)
    empty = masks.union([], samples[0].image.height, samples[0].image.width).to_coco()
    predictions = [
        Prediction(id=sample.id, text=texts[sample.id],
                   decoded={pair.key: empty for p in task.protocols for pair in p.codes(texts[sample.id])})
        for sample in samples
    ]  # fmt: skip
    protocol = task.protocols[0]
    records = [task.score(sample, answer, protocol) for sample, answer in zip(samples, predictions, strict=True)]
    found = with_token_match(records, {answer.id: answer for answer in predictions}, texts)
    with_codes, without = task.measured(found, protocol.name), task.measured(records, protocol.name)
    assert with_codes["token_match"].value == 1
    assert set(with_codes) == {*without, "token_match"}


def test_scoring_adds_it_under_the_first_protocol_alone(demo_root):
    task, samples, texts = truth("gres", demo_root, 6)
    answers = [Prediction(id=sample.id, masks=[], text="No target.") for sample in samples]
    scored = score(task, samples, answers, references=texts)
    first, *others = (protocol.name for protocol in task.protocols)
    assert scored.metrics[first]["token_match"]["value"] == sum(s.target.no_target for s in samples) / 6
    assert all("token_match" not in scored.metrics[other] for other in others)
    without = score(task, samples, answers).metrics[first]
    assert {name: value for name, value in scored.metrics[first].items() if name != "token_match"} == without


@pytest.fixture
def oracle(make_run):
    """A run that looks like the oracle's."""
    folder = make_run("oracle", right)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["model"]["identity"] = {"model": "oracle"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_run_scored_with_an_oracle_run_reports_it_and_reads_back(make_run, oracle):
    from samtok_eval.reports.compare.comparison import compare
    from samtok_eval.reports.runs import read_scored

    folders = [make_run(f"by-{n}", shifted(n), reference_codes=oracle) for n in (0, 2)]
    values = [load_run(folder).metrics["strict"]["token_match"] for folder in folders]
    assert values[0]["value"] == 1
    assert values[0]["n"] == 80
    # Moved masks have other codes, of which many share the first one here; no target stays no target.
    assert 0.15 < values[1]["value"] < 0.6
    found = compare([read_scored(folder) for folder in folders])
    assert "token_match" in str(found)


def test_only_the_oracle_of_the_same_task_gives_reference_codes(make_run, oracle, demo_root, tmp_path):
    other = make_run("other", shifted(1))
    options = {"data_root": str(demo_root), "out": tmp_path / "scored", "limit": 80}
    predictions = other / "predictions" / "part-0.jsonl"
    with pytest.raises(UsageError, match="expected a run of --model oracle, got other"):
        score_file(RunOptions(task="gres", reference_codes=other, **options), predictions)
    with pytest.raises(UsageError, match="its split is val, not testA"):
        score_file(RunOptions(task="gres", split="testA", reference_codes=oracle, **options), predictions_of(tmp_path))
    with pytest.raises(DataError, match=r"--reference-codes .* does not exist"):
        score_file(RunOptions(task="gres", reference_codes=tmp_path / "none", **options), predictions)


def predictions_of(folder):
    """A foreign predictions file, whose content does not matter."""
    path = folder / "foreign.jsonl"
    path.write_text('{"id": "1", "text": ""}\n')
    return path


def test_the_command_line_takes_reference_codes_and_needs_no_torch(oracle, demo_root, tmp_path):
    command = (
        "import sys; from samtok_eval.cli.main import main; sys.argv = ['samtok-eval', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    predictions = oracle / "predictions" / "part-0.jsonl"
    arguments = ["score", "--task", "gres", "--data-root", str(demo_root), "--limit", "80"]
    arguments += ["--out", str(tmp_path / "scored"), "--predictions", str(predictions)]
    arguments += ["--reference-codes", str(oracle)]
    done = subprocess.run([sys.executable, "-c", command, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "token match" in done.stdout
