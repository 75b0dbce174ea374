"""A machine that fails loses nothing: an error is kept as one, and the same command asks again what it was about."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path

import jinja2
import numpy as np
import pytest
import torch
from rich.console import Console

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.errors import DataError, TooManyErrorsError
from samtok_eval.models.fixed import Oracle
from samtok_eval.prediction_log import read_own_predictions, read_predictions
from samtok_eval.progress import Progress
from samtok_eval.registry import load_tasks
from samtok_eval.run.evaluate import run, score_file
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.predict import predict
from samtok_eval.run.samples import read_samples
from samtok_eval.run.settings import RunOptions, RunSettings
from tests.support.command import command

ERRORS = [
    RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    ValueError("Image features and image tokens do not match"),
    KeyError("pixel_values"),
    IndexError("index out of range in self"),
    TypeError("forward() got an unexpected keyword argument"),
    AttributeError("'NoneType' object has no attribute 'shape'"),
    ZeroDivisionError("integer division or modulo by zero"),
    AssertionError(),
    OSError(28, "No space left on device"),
    jinja2.TemplateError("the template wants a system message"),
]


class Failing(Oracle):
    """The oracle on a machine that fails: on some questions, or whenever it is asked several at once."""

    def __init__(self, task, samples, tokenizer, error, fails=lambda requests: True):
        super().__init__(task, samples, tokenizer)
        self.error, self.fails, self.asked = error, fails, []

    def generate(self, requests, max_new_tokens):
        self.asked.append([request.id for request in requests])
        if self.fails(requests):
            raise self.error
        return super().generate(requests, max_new_tokens)


@pytest.fixture
def task():
    return load_tasks()["gres"]


@pytest.fixture
def samples(task, demo_root):
    return read_samples(task, "val", str(demo_root), 10)


@pytest.fixture
def answer(task, samples, demo_tokenizer, tmp_path):
    """A function that asks all samples and gives back what happened."""

    def ask(backend, **settings):
        with Progress("test", Console(quiet=True)) as progress:
            return predict(
                task, samples, backend, demo_tokenizer, RunFolder(tmp_path), RunSettings(**settings), progress
            )

    return ask


def lines(folder: Path) -> list[tuple[str, str | None]]:
    return [(line.id, line.error) for line in read_predictions(RunFolder(folder).parts())]


def has(sample_id):
    return lambda requests: any(request.id == sample_id for request in requests)


@pytest.mark.parametrize("error", ERRORS[1:3], ids=lambda error: type(error).__name__)
def test_a_batch_that_does_not_fit_in_memory_is_halved_until_it_does_and_the_size_is_remembered(
    task, samples, demo_tokenizer, answer, tmp_path, caplog, error
):
    small = Failing(task, samples, demo_tokenizer, error, lambda requests: len(requests) > 2)
    counts = answer(small, batch_size=5)
    assert (counts.errored, counts.halved) == (0, 2)
    assert [len(asked) for asked in small.asked] == [5, 3, 2, 1, 2, *[2, 2, 1]]
    assert [name for asked in small.asked if len(asked) <= 2 for name in asked] == [name for name, _ in lines(tmp_path)]
    assert caplog.text.count("does not fit in memory") == 1
    assert caplog.text.count("from here on at most 2 questions are asked at once") == 1


def test_a_size_that_fitted_once_is_halved_again_where_it_does_not(task, samples, demo_tokenizer, answer):
    room = iter([4, 4, 4] + [1] * 100)
    shrinking = Failing(task, samples, demo_tokenizer, MemoryError(), lambda requests: len(requests) > next(room))
    counts = answer(shrinking, batch_size=5)
    assert [len(asked) for asked in shrinking.asked] == [5, 3, 2, *[3, 2, 1, 1, 1], *[1, 1]]
    assert (counts.errored, counts.halved) == (0, 3)


def test_one_huge_picture_does_not_make_all_later_batches_tiny(task, samples, demo_tokenizer, answer):
    huge = Failing(task, samples, demo_tokenizer, MemoryError(), has(samples[0].id))
    assert answer(huge, batch_size=8, max_errors=1).errored == 1
    assert [len(asked) for asked in huge.asked] == [8, 4, 2, 1, 1, 2, 4, 2]


def test_a_batch_that_fails_otherwise_is_asked_one_by_one(task, samples, demo_tokenizer, answer, tmp_path):
    odd = Failing(task, samples, demo_tokenizer, ERRORS[0], lambda requests: len(requests) > 1)
    counts = answer(odd, batch_size=5)
    assert (counts.errored, counts.halved) == (0, 0)
    ids = [name for name, _ in lines(tmp_path)]
    assert odd.asked == [ids[:5], *([name] for name in ids[:5]), ids[5:], *([name] for name in ids[5:])]


def test_the_memory_of_a_failed_batch_is_free_when_its_samples_are_asked_alone(task, samples, demo_tokenizer, answer):
    class Hoarding(Oracle):
        def generate(self, requests, max_new_tokens):
            if len(requests) > 1:
                hoard = np.zeros(1000)
                self.held = weakref.ref(hoard)
                raise torch.OutOfMemoryError("CUDA out of memory")
            assert self.held() is None
            return super().generate(requests, max_new_tokens)

    assert answer(Hoarding(task, samples, demo_tokenizer)).errored == 0


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_error_of_one_sample_is_kept_and_the_others_of_its_batch_are_answered(
    task, samples, demo_tokenizer, answer, tmp_path, error
):
    bad = samples[3].id
    counts = answer(Failing(task, samples, demo_tokenizer, error, has(bad)), batch_size=4, max_errors=1)
    assert (counts.predicted, counts.errored) == (10, 1)
    found = dict(lines(tmp_path))
    assert found.pop(bad).startswith(f"{type(error).__name__}: ")
    assert set(found.values()) == {None}


def test_the_same_run_asks_the_failed_samples_again_and_no_other(task, samples, demo_tokenizer, answer, tmp_path):
    bad = samples[3].id
    answer(Failing(task, samples, demo_tokenizer, ERRORS[0], has(bad)), batch_size=4, max_errors=1)
    well = Failing(task, samples, demo_tokenizer, ERRORS[0], lambda requests: False)
    assert answer(well).errored == 0
    assert well.asked == [[bad]]
    assert [error is None for name, error in lines(tmp_path) if name == bad] == [False, True]
    assert all(prediction.error is None for prediction in read_own_predictions(RunFolder(tmp_path).parts()).values())
    assert answer(well).predicted == 0


def test_a_sample_that_goes_on_failing_counts_once(task, samples, demo_tokenizer, answer, tmp_path):
    for _ in range(3):
        assert answer(Failing(task, samples, demo_tokenizer, ERRORS[0], has(samples[3].id)), max_errors=1).errored == 1
    assert len(lines(tmp_path)) == 12
    assert len(read_own_predictions(RunFolder(tmp_path).parts())) == 10


def test_too_many_errors_end_the_run_with_the_first_of_them(task, samples, demo_tokenizer, answer):
    with pytest.raises(TooManyErrorsError, match=r"1 samples failed, --max-errors allows 0; .*: KeyError: 'pixel_val"):
        answer(Failing(task, samples, demo_tokenizer, ERRORS[4], has(samples[0].id)))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_model_that_cannot_answer_at_all_ends_the_run_after_its_first_batch(
    task, samples, demo_tokenizer, answer, error
):
    broken = Failing(task, samples, demo_tokenizer, error)
    with pytest.raises(
        TooManyErrorsError, match=f"all 4 samples of the first batch failed.*{type(error).__name__}"
    ) as e:
        answer(broken, batch_size=4, max_errors=1000)
    halves = 2 if "Memory" in type(error).__name__ else 0
    assert len(broken.asked) == 1 + halves + 4
    assert "\n" not in str(e.value)
    assert ("lower --batch-size" in str(e.value)) == ("Memory" in type(error).__name__)


def test_one_bad_sample_in_batches_of_one_is_no_broken_model(task, samples, demo_tokenizer, answer):
    assert (
        answer(
            Failing(task, samples, demo_tokenizer, ERRORS[0], has(samples[0].id)), batch_size=1, max_errors=1
        ).errored
        == 1
    )


def test_a_mask_tokenizer_that_fails_on_a_region_fails_that_sample_alone(demo_root, tmp_path, monkeypatch):
    from samtok_eval.tokenizer.model import MaskTokenizer

    encode = MaskTokenizer.encode
    calls = []

    def fails_once_alone(self, image, masks, boxes=None):
        calls.append(len(masks))
        if len(calls) in (2, 4):
            raise RuntimeError("no kernel image is available")
        return encode(self, image, masks, boxes)

    monkeypatch.setattr(MaskTokenizer, "encode", fails_once_alone)
    options = {"task": "region_vqa", "data_root": str(demo_root), "out": tmp_path, "limit": 4, "model": "random"}
    done = run(RunOptions(**options, max_errors=1, batch_size=4))
    assert done.metrics["counters"]["errored"] == 1


def test_an_interruption_is_no_error_of_a_sample(task, samples, demo_tokenizer, answer, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        answer(Failing(task, samples, demo_tokenizer, KeyboardInterrupt()))
    assert lines(tmp_path) == []


def test_what_was_answered_later_is_scored(demo_root, tmp_path):
    first = run(RunOptions(task="gres", model="oracle", data_root=str(demo_root), out=tmp_path / "a", limit=6))
    part = RunFolder(first.path).part()
    rows = [json.loads(line) for line in part.read_text().splitlines()]
    failed = {**rows[0], "text": "", "decoded": {}, "status": "error", "error": "RuntimeError: x"}
    part.write_text("".join(json.dumps(row) + "\n" for row in [failed, *rows]))
    options = RunOptions(task="gres", data_root=str(demo_root), out=tmp_path / "b")
    assert score_file(options, first.path).metrics == first.metrics
    part.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    with pytest.raises(DataError, match="occurs twice"):
        score_file(options, first.path)


def test_a_foreign_file_answers_every_sample_once(demo_root, tmp_path, task, samples):
    path = tmp_path / "theirs.jsonl"
    row = {"id": samples[0].id, "text": "no target"}
    path.write_text("".join(json.dumps(r) + "\n" for r in ({**row, "error": "x", "status": "error"}, row)))
    with pytest.raises(DataError, match="occurs twice"):
        score_file(RunOptions(task="gres", data_root=str(demo_root), out=tmp_path / "out"), path)


# ---- the command ----


def test_a_checkpoint_without_a_chat_template_is_one_clear_message(demo_root, tmp_path):
    folder = shutil.copytree(DEMO_CHECKPOINT, tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    for name in ("tokenizer_config.json", "processor_config.json"):
        content = json.loads((folder / name).read_text())
        content.pop("chat_template", None)
        (folder / name).write_text(json.dumps(content))
    done = command(
        "run", "--task", "gres", "--model", folder, "--data-root", demo_root, "--limit", 8, "--batch-size", 4,
        "--max-errors", 100, "--out", tmp_path / "runs",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "error: all 4 samples of the first batch failed" in done.stderr
    assert "chat template" in done.stderr and "Traceback" not in done.stderr


def test_missing_pictures_are_refused_before_the_first_question(demo_root, tmp_path, samples):
    root = shutil.copytree(demo_root, tmp_path / "data")
    gone = list(dict.fromkeys(sample.image.path.relative_to(demo_root) for sample in samples))[:2]
    for path in gone:
        (root / path).unlink()
    words = ["run", "--task", "gres", "--model", "random", "--data-root", root, "--out", tmp_path / "runs"]
    done = command(*words, "--max-errors", 1000)
    assert done.returncode == 2
    assert f"2 of the pictures under --data-root {root} are missing, {gone[0]} first" in done.stderr
    assert not (tmp_path / "runs").exists()
