"""Right answers against given ones: the counts are those of the accuracies, and nothing is counted twice or lost."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from samtok_eval.metrics.confusion import confusion
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.reports.page.content import gather
from samtok_eval.reports.page.page import page
from samtok_eval.reports.runs import read_scored
from tests.conftest import right


def test_counts_by_hand():
    found = confusion("letters", [("A", "A"), ("A", "B"), ("B", "B"), ("A", "none")], ["A", "B", "C", "none"])
    assert (found.rows, found.columns) == (("A", "B"), ("A", "B", "none"))
    assert found.counts == ((1, 1, 1), (0, 1, 0)) and (found.correct, found.total) == (2, 4)
    assert confusion("letters", [], ["A"]) is None


@pytest.mark.parametrize("protocol", ["strict", "lenient", "official"])
def test_right_letters_are_those_of_the_accuracy(make_run, protocol):
    letters = "ABCD<"
    said = {}

    def say(sample, codes):
        letter = letters[len(said) % 5]
        return said.setdefault(sample.id, letter if len(said) % 2 else f"The answer is {letter}.")

    run = read_scored(make_run("run", lambda sample: (), task="region_vqa", limit=40, text_of=say))
    report = gather([run])
    found = run.task.confusion(report.answered.samples, run.predictions(), run.records[protocol], protocol)
    accuracy = run.run.metrics[protocol]["accuracy"]
    assert found.correct / found.total == accuracy["value"] and found.total == accuracy["n"] == 40
    assert "none of them" in found.columns
    text = page(report)
    counts = re.findall(r'<td class="shade-\d( right)?">(\d+)</td>', text)
    assert sum(int(n) for _, n in counts) == 40 and "Confusion matrix" in text


@pytest.mark.parametrize("protocol", ["strict", "official", "samtok"])
def test_marked_and_meant_are_the_two_accuracies(make_run, protocol):
    def answers(sample):
        return None if sample.id.endswith("7") else () if sample.id.endswith("3") else right(sample)

    run = read_scored(make_run("run", answers, limit=80))
    found = run.task.confusion({}, {}, run.records[protocol], protocol)
    metrics = run.run.metrics[protocol]
    for row, counts, column in zip(found.rows, found.counts, found.right, strict=True):
        known = metrics["t_acc" if row == "target" else "n_acc"]
        assert counts[found.columns.index(column)] / sum(counts) == known["value"] and sum(counts) == known["n"]
    assert len(found.rows) == 2 and ("failed" in found.columns) == (protocol == "strict")


def test_captions_have_no_confusion(make_run):
    assert gather([read_scored(make_run("run", right, task="refcoco", limit=5))]).confusion is None


def test_samples_that_the_accuracy_does_not_count_are_in_no_cell(demo_samples):
    task = load_tasks()["region_vqa"]
    samples = {sample.id: sample for sample in demo_samples("region_vqa", 3)}
    answers = {name: Prediction(id=name, text="A") for name in samples}
    records = [task.score(sample, answers[sample.id], task.protocols[0]) for sample in samples.values()]
    records[0] = replace(records[0], values={"answer": 65.0})
    assert task.confusion(samples, answers, records, "strict").total == 2
