"""The folder of all samples: every one is in it, nothing that a stranger wrote is obeyed, it is whole or not there."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from samtok_eval.errors import UsageError
from samtok_eval.mask_tokens import render
from samtok_eval.reports.page.content import gather
from samtok_eval.reports.page.page import write_report
from samtok_eval.reports.runs import read_scored
from samtok_eval.reports.samples.data import MOST_VALUES, OTHER, Coded
from samtok_eval.reports.samples.write import call, write_samples
from tests.conftest import right, shifted
from tests.reports.page.test_page import HOSTILE
from tests.support.command import command


def content(path):
    """The JSON that a file of data gives to the page."""
    text = path.read_text()
    assert re.fullmatch(r"samtok(Index|Shard)\(.*\);\n", text)
    return json.loads(f"[{text[text.index('(') + 1 : -3]}]")


def everything(folder):
    files = sorted((folder / "shards").iterdir(), key=lambda path: int(path.stem))
    return content(folder / "index.js")[0], [sample for path in files for sample in content(path)[1]]


@pytest.fixture
def report(make_run):
    def say(sample, codes):
        return f"{HOSTILE}{render(codes)}"

    before, after = make_run("before", right, limit=130), make_run("after", shifted(6), limit=130, text_of=say)
    return gather([read_scored(before), read_scored(after)])


def test_every_sample_is_there_with_its_scores_and_masks(report, tmp_path):
    page = write_samples(report, tmp_path)
    index, samples = everything(page.parent)
    assert index["ids"] == list(report.answered.records) and len(samples) == 130
    for name, score, sample in zip(index["ids"], index["scores"], samples, strict=True):
        assert score == pytest.approx(100 * report.answered.scores[name], abs=0.005)
        known = report.answered.samples[name]
        drawn = sample.get("masks", {})
        assert drawn.get("reference", []) == [mask.counts for mask in known.target.masks]
        assert drawn.get("prediction", []) == [mask.counts for mask in shifted(6)(known)]
        assert drawn.get("baseline", []) == [mask.counts for mask in known.target.masks]
        assert sample["size"] == [known.image.height, known.image.width]
    for name, column in index["slices"].items():
        told = [column["values"][code] for code in column["codes"]]
        assert len(told) == 130 and set(told) - {""}, name


def test_pictures_are_there_once_each(report, tmp_path):
    folder = write_samples(report, tmp_path).parent
    _, samples = everything(folder)
    files = sorted(path.name for path in (folder / "pictures").iterdir())
    assert files == sorted({sample["picture"] for sample in samples})
    paths = {str(sample.image.path) for sample in report.answered.samples.values()}
    assert len(files) == len(paths) < len(samples)
    assert Image.open(folder / "pictures" / files[0]).format == "JPEG"


def test_what_a_model_wrote_can_end_no_script(report, tmp_path):
    folder = write_samples(report, tmp_path).parent
    for path in (folder / "index.js", folder / "shards" / "0.js"):
        text = path.read_text()
        assert "<" not in text and text.isascii() and text.count("\n") == 1
    assert any("<script>" in sample["answer"] for sample in everything(folder)[1])
    assert call("f", "</script>\u2028") == 'f("\\u003c/script>\\u2028");\n'


def test_a_picture_that_cannot_be_read_is_told(report, tmp_path, monkeypatch):
    gone = next(iter(report.answered.samples.values())).image.path
    from samtok_eval.errors import DataError
    from samtok_eval.reports.samples import write

    read = write.read_image

    def reads(image):
        if image.path == gone:
            raise DataError("gone")
        return read(image)

    monkeypatch.setattr(write, "read_image", reads)
    index, samples = everything(write_samples(report, tmp_path).parent)
    assert index["missing"] == [str(gone)]
    assert "picture" not in samples[0] and samples[-1]["picture"]


def test_an_earlier_folder_stays_until_the_new_one_is_whole(report, tmp_path, monkeypatch):
    folder = write_samples(report, tmp_path).parent
    before = (folder / "index.js").read_text()
    from samtok_eval.reports.samples import write

    def full(*_):
        raise UsageError("the disk is full")

    monkeypatch.setattr(write, "write_text", full)
    with pytest.raises(UsageError, match="full"):
        write_samples(report, tmp_path)
    assert (folder / "index.js").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "samples"]


def test_a_slice_of_very_many_values_keeps_the_first_and_gathers_the_others():
    column = Coded()
    for number in range(MOST_VALUES + 5):
        column.append(str(number))
    assert column.values[-1] == OTHER and len(column.values) == MOST_VALUES + 1
    assert column.codes[-1] == MOST_VALUES


def test_the_summary_leads_to_the_samples_where_they_were_written(make_run, tmp_path):
    run = make_run("run", right)
    done = command("report", run, "--out", tmp_path / "out")
    assert done.returncode == 0 and "samples" in done.stdout
    assert 'href="samples/index.html"' in (tmp_path / "out" / "index.html").read_text()
    assert 'href="samples/index.html#sample=' in (tmp_path / "out" / "index.html").read_text()
    command("report", run, "--out", tmp_path / "alone", "--no-samples")
    assert [path.name for path in (tmp_path / "alone").iterdir()] == ["index.html"]
    assert "samples/index.html" not in write_report(gather([read_scored(run)]), tmp_path / "x").read_text()
