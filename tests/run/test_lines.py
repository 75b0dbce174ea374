"""Lines are written while the next batch is asked: in order, one batch at a time, and what was answered is kept."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from rich.console import Console

from samtok_eval.errors import TooManyErrorsError, UsageError
from samtok_eval.mask_tokens import Codes
from samtok_eval.masks import encode
from samtok_eval.models.fixed import Oracle
from samtok_eval.prediction import Prediction
from samtok_eval.prediction_log import PredictionLog, read_predictions
from samtok_eval.progress import Progress
from samtok_eval.registry import load_tasks
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.lines import Decoded, LineWriter
from samtok_eval.run.predict import MODEL_ERRORS, predict
from samtok_eval.run.samples import read_samples
from samtok_eval.run.settings import RunSettings
from samtok_eval.tokenizer.model import MaskTokenizer

CODES = Codes(3, 300)
MASK = np.arange(30).reshape(5, 6) % 7 == 0
NO_MASK = np.zeros(3, bool)
"""Of which no run lengths can be made."""


class Held(PredictionLog):
    """Writes nothing until it is let go."""

    def __init__(self, path):
        super().__init__(path)
        self.go = threading.Event()

    def append(self, prediction):
        assert self.go.wait(30)
        super().append(prediction)


class Full(PredictionLog):
    """On a disk that has room for two lines."""

    lines = 0

    def append(self, prediction):
        self.lines += 1
        if self.lines > 2:
            raise UsageError("No space left on device")
        super().append(prediction)


def answers(*names, mask=MASK):
    lines = [Prediction(id=name, text="", status="ok", seconds={"decode": 0.5}) for name in names]
    return [Decoded(line, {CODES: mask}) for line in lines]


def ids(path):
    return [line.id for line in read_predictions([path])]


def test_a_batch_is_written_while_the_next_is_asked_and_no_more_than_one_waits(tmp_path):
    path = tmp_path / "part-0.jsonl"
    with Held(path) as log, LineWriter(log, MODEL_ERRORS) as lines:
        lines.write(answers("b", "a"))
        third = threading.Thread(target=lambda: [lines.write(answers("c")), lines.write(answers("d"))])
        third.start()
        third.join(0.05)
        assert third.is_alive() and ids(path) == []
        log.go.set()
        third.join()
        assert ids(path)[:3] == ["b", "a", "c"]
        lines.wait()
        assert ids(path) == ["b", "a", "c", "d"]


def test_a_line_holds_its_masks_and_the_seconds_of_making_them(tmp_path):
    path = tmp_path / "part-0.jsonl"
    large = np.hypot(*np.mgrid[-512:512, -512:512]) < 300
    with PredictionLog(path) as log, LineWriter(log, MODEL_ERRORS) as lines:
        lines.write(answers("small") + answers("large", mask=large) + answers("known", mask=encode(MASK)))
    small, other, known = read_predictions([path])
    assert small.decoded_mask(CODES) == known.decoded_mask(CODES) == encode(MASK)
    assert other.decoded_mask(CODES) == encode(large)
    assert 0.5 <= small.seconds["decode"] < other.seconds["decode"] < 1


def test_a_mask_that_cannot_be_written_is_the_error_of_its_sample_and_told_once(tmp_path):
    path = tmp_path / "part-0.jsonl"
    with PredictionLog(path) as log, LineWriter(log, MODEL_ERRORS) as lines:
        assert lines.write(answers("a") + answers("bad", mask=NO_MASK) + answers("c")) == []
        (bad,) = lines.write(answers("d"))
        assert bad.id == "bad" and bad.status == "error" and "Error: " in bad.error
        assert lines.wait() == lines.wait() == []
    assert [line.error is None for line in read_predictions([path])] == [True, False, True, True]


def test_a_full_disk_ends_the_run_and_the_lines_before_it_stay(tmp_path):
    path = tmp_path / "part-0.jsonl"
    with Full(path) as log, LineWriter(log, MODEL_ERRORS) as lines:
        lines.write(answers("a", "b", "c"))
        with pytest.raises(UsageError, match="No space left"):
            lines.write(answers("d"))
        assert lines.wait() == []
    assert ids(path) == ["a", "b"]


# ---- in a run ----


@pytest.fixture
def asked(demo_root, demo_tokenizer, tmp_path):
    """A function that asks the oracle ten questions in batches of four, and the ids of the questions."""
    task = load_tasks()["gres"]
    samples = read_samples(task, "val", str(demo_root), 10)

    def ask(oracle=Oracle, **settings):
        backend = oracle(task, samples, demo_tokenizer)
        with Progress("test", Console(quiet=True)) as progress:
            settings = RunSettings(batch_size=4, **settings)
            return predict(task, samples, backend, demo_tokenizer, RunFolder(tmp_path), settings, progress)

    return ask, [sample.id for sample in samples]


def written(folder):
    return list(read_predictions(RunFolder(folder).parts()))


def test_what_was_answered_before_an_interruption_is_on_disk(asked, tmp_path):
    class Interrupted(Oracle):
        batches = 0

        def generate(self, requests, max_new_tokens):
            self.batches += 1
            if self.batches == 3:
                raise KeyboardInterrupt
            return super().generate(requests, max_new_tokens)

    ask, names = asked
    with pytest.raises(KeyboardInterrupt):
        ask(Interrupted)
    assert [line.id for line in written(tmp_path)] == names[:8]
    assert ask().done_before == 8
    assert [line.id for line in written(tmp_path)] == names


@pytest.mark.parametrize("batch", [1, 3], ids=["first", "last"])
def test_masks_that_cannot_be_written_count_as_errors_of_the_run(asked, monkeypatch, tmp_path, batch):
    decode, calls = MaskTokenizer.decode_pictures, []

    def broken(self, images, codes, missing_second="skip"):
        calls.append(len(images))
        found = decode(self, images, codes, missing_second)
        return [np.zeros((len(some), 3), bool) for some in found] if len(calls) == batch else found

    monkeypatch.setattr(MaskTokenizer, "decode_pictures", broken)
    ask, _ = asked
    with pytest.raises(TooManyErrorsError, match="samples failed, --max-errors allows 0"):
        ask()
    failed = [line for line in written(tmp_path) if line.error]
    assert 0 < len(failed) <= 4
    assert ask().errored == 0
