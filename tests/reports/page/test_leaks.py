"""A report shows what the pictures of a training mix do to the scores."""

from __future__ import annotations

import numpy as np
import pytest

from samtok_eval.datasets.overlap import Overlap, TrainingFile
from samtok_eval.errors import UsageError
from samtok_eval.files import write_json
from samtok_eval.reports.page.leaks import SEEN, UNSEEN, leaks
from samtok_eval.reports.runs import read_scored
from tests.conftest import right, shifted
from tests.support.command import command


@pytest.fixture
def learnt(make_run):
    """A run with right masks on every second picture and shifted ones elsewhere; the pictures answered right; all."""
    known, order = set(), {}

    def masks_of(sample):
        if order.setdefault(sample.image.id, len(order)) % 2:
            return shifted(9)(sample)
        known.add(sample.image.id)
        return right(sample)

    path = make_run("learnt", masks_of)
    return path, known, list(order)


def overlap(shared, pictures, split="val"):
    file = TrainingFile(path="mix.json", names=len(shared), shared=len(shared))
    found = {picture: {"mix.json": "COCO id"} for picture in shared}
    return Overlap(task="gres", split=split, train=(file,), pictures=tuple(pictures), absent=0, shared=found)


def test_scores_without_the_pictures_are_those_of_the_other_records(learnt):
    path, known, pictures = learnt
    run = read_scored(path)
    found = leaks(run, overlap(known, pictures), seed=0)
    kinds = {score.kind: score for score in found.scores if score.protocol == "strict"}
    records = run.records["strict"]
    rows = np.flatnonzero([picture not in known for picture in records.image_id])
    assert kinds[UNSEEN].entry.value == run.task.measured(records.take(rows), "strict")["giou"].value
    assert kinds[SEEN].entry.value == 1.0 and kinds[SEEN].pictures == len(known)
    assert kinds[UNSEEN].entry.n + kinds[SEEN].entry.n == len(records)
    assert {score.protocol for score in found.scores} == set(run.protocols)
    assert found.sentence.startswith(f"{len(known)} of {len(pictures)} pictures")
    assert f"without them gIoU under strict is {kinds[UNSEEN].written} instead of " in found.sentence


def test_a_part_without_pictures_has_no_score(learnt):
    path, _, pictures = learnt
    found = leaks(read_scored(path), overlap(pictures, pictures), seed=0)
    assert {score.entry.value for score in found.scores if score.kind == UNSEEN} == {None}
    nothing = leaks(read_scored(path), overlap([], pictures), seed=0)
    assert nothing.sentence.endswith("(0.0%) of this run of gres:val are in the training mix.")


def test_an_overlap_of_another_split_or_of_other_data_is_refused(learnt):
    path, known, pictures = learnt
    run = read_scored(path)
    with pytest.raises(UsageError, match="is of gres:testA, the run of gres:val"):
        leaks(run, overlap(known, pictures, split="testA"), seed=0)
    with pytest.raises(UsageError, match="does not know 1 pictures of the run"):
        leaks(run, overlap([], pictures[1:]), seed=0)


def test_the_page_and_the_command_say_so_in_one_sentence(learnt, tmp_path):
    path, known, pictures = learnt
    write_json(tmp_path / "overlap.json", overlap(known, pictures).model_dump(mode="json"))
    done = command("report", path, "--out", tmp_path / "page", "--overlap", tmp_path / "overlap.json")
    assert done.returncode == 0, done.stderr
    sentence = done.stdout.splitlines()[0]
    page = (tmp_path / "page" / "index.html").read_text()
    assert sentence.startswith(f"{len(known)} of {len(pictures)} pictures") and sentence in page
    assert page.count(UNSEEN) == len(read_scored(path).protocols)
    assert "Pictures of the training mix" not in _page_without(path, tmp_path)


def _page_without(path, folder):
    assert command("report", path, "--out", folder / "plain").returncode == 0
    return (folder / "plain" / "index.html").read_text()
