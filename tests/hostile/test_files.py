"""JSON, predictions, file names, and files that are no ordinary ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from samtok_eval.errors import DataError
from samtok_eval.files import inside, numbered_json_lines, read_bytes, read_json, read_json_lines
from samtok_eval.prediction_log import read_predictions
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.settings import RunOptions
from tests.support.hostile import bounded


@pytest.mark.parametrize("content", ["[" * 200_000, '{"a":' * 200_000, "[" * 200_000 + "]" * 200_000, "9" * 5000])
def test_json_nested_deeper_or_numbers_longer_than_can_be_read_are_data_errors(tmp_path, content):
    path = tmp_path / "deep.json"
    path.write_text(content)
    with pytest.raises(DataError, match="not valid JSON"):
        read_json(path)
    with pytest.raises(DataError, match=r"deep\.json:1 is not valid JSON"):
        read_json_lines(path)
    with pytest.raises(DataError, match=r"deep\.json:1"):
        list(read_predictions([path]))


def test_a_line_may_hold_any_line_end_of_unicode(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('"a\u2028b\u0085c"\n\n"d"\r\n', encoding="utf-8")
    assert list(numbered_json_lines(path)) == [(1, "a\u2028b\u0085c"), (3, "d")]


def test_only_ordinary_files_of_some_size_are_read(tmp_path):
    import os

    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match="not an ordinary file"):
        read_json(pipe)
    with pytest.raises(DataError, match="not an ordinary file"):
        read_json(Path("/dev/zero"))
    sparse = tmp_path / "sparse.json"
    with sparse.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match="bytes, more than"):
        read_bytes(sparse)


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../x.png", "a/../../x.png", "", "a\0b", 7, None, "x" * 300, "\ud800"]
)
def test_a_benchmark_names_no_file_outside_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match=r"file name|surrogates"):
        inside(tmp_path, name)


def test_file_names_with_folders_are_kept(tmp_path):
    assert inside(tmp_path, "val2017/1..2.jpg") == tmp_path / "val2017" / "1..2.jpg"


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"id": ' * 100_000, '{"id": "1", "text": "x", "seconds": {"a": ' + "9" * 5000 + "}}"]
)
def test_predictions_that_cannot_be_read_are_one_line_of_error(demo_root, tmp_path, line):
    path = tmp_path / "theirs.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=r"theirs\.jsonl"):
        score_file(RunOptions(task="gres", data_root=str(demo_root), out=tmp_path / "out"), path)


def test_an_error_is_one_line_of_bounded_length_that_no_terminal_obeys(demo_root, tmp_path):
    path = tmp_path / "\x1b]0;title\x07\u202e.jsonl"
    path.write_text(json.dumps({"id": "1", "x" * 10_000: "text"}) + "\n")
    words = ["score", "--task", "gres", "--data-root", demo_root, "--out", tmp_path / "out", "--predictions", path]
    done = bounded("from samtok_eval.cli.main import main; main()", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/\\x1b]0;title\\x07\\u202e.jsonl:1: xxx")
    assert done.stderr.endswith("correct or remove the line\n")
    assert len(done.stderr) <= len("error: \n") + 300 and done.stderr.count("\n") == 1
