"""Memory of scoring grows by the columns of the statistics, not by the predictions, masks and texts of the samples."""

from __future__ import annotations

import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest

from samtok_eval import masks
from samtok_eval.mask_tokens import Codes, render
from samtok_eval.prediction import CocoRle, Prediction
from samtok_eval.prediction_log import PredictionLog, read_own_predictions
from samtok_eval.registry import load_tasks
from samtok_eval.run.answers import read_answers
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.record_file import RecordsWriter, read_records
from samtok_eval.run.score import score
from samtok_eval.sample import ImageRef, Sample, Target

FEW, MANY = 1_000, 3_000
BYTES_PER_SAMPLE = 500
"""Under one protocol, beside the questions; 246 measured, and 6,200 where all answers are held."""
SIDE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Answers of 4 KB each."""
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    code = Codes(1, 2)
    checks = CocoRle.model_validate(masks.encode(np.indices((SIDE, SIDE)).sum(axis=0) % 2 == 0).to_coco())
    with PredictionLog(folder.part()) as log:
        for number in range(MANY):
            log.append(Prediction(id=str(number), text=render([code]), decoded={code.key: checks}, status="ok"))
    return folder


def questions(count):
    target = Target((masks.encode(np.ones((SIDE, SIDE), dtype=bool)),))
    return [Sample(str(i), ImageRef(str(i % 50), Path("none.png"), SIDE, SIDE), (), target) for i in range(count)]


def peak(folder, count):
    """Bytes that scoring so many samples takes at most, beside the samples."""
    task, samples = load_tasks()["gres"], questions(count)
    lines = folder.part().read_text().splitlines(keepends=True)
    few = RunFolder(folder.path / str(count))
    few.part().parent.mkdir(parents=True)
    few.part().write_text("".join(lines[:count]))
    del lines
    tracemalloc.start()
    try:
        with RecordsWriter(few.records) as writer:
            answers = read_answers(task, samples, few.parts(), own=True)
            score(task, samples, answers, protocols=["strict"], sink=writer.add)
            writer.finish()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_sample_more_takes_a_bounded_number_of_bytes_more(folder):
    peak(folder, 10)
    growth = (peak(folder, MANY) - peak(folder, FEW)) / (MANY - FEW)
    assert growth < BYTES_PER_SAMPLE
    assert len(read_records(RunFolder(folder.path / str(MANY)).records)["strict"]) == MANY


def test_answers_have_left_memory_when_metrics_are_made(folder):
    alive = []

    class Watched(type(load_tasks()["gres"])):
        def metrics(self, records, protocol):
            alive.append(answers() is not None)
            return super().metrics(records, protocol)

    def read():
        nonlocal answers
        found = read_own_predictions(folder.parts())
        answers = weakref.ref(found)
        return found

    answers = None
    score(Watched(), questions(MANY), read(), protocols=["strict"])
    assert alive
    assert not any(alive)


def test_a_later_line_counts_where_an_earlier_one_holds_an_error(tmp_path):
    path = tmp_path / "part-0.jsonl"
    with PredictionLog(path) as log:
        log.append(Prediction(id="a", status="error", error="out of memory"))
        log.append(Prediction(id="b", text="first"))
        log.append(Prediction(id="a", text="second"))
    answers = read_own_predictions([path])
    assert {name: answer.text for name, answer in answers.items()} == {"a": "second", "b": "first"}
    assert (len(answers), "c" in answers) == (2, False)
