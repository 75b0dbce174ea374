"""Conversations files: what is read of them, and which are refused."""

from __future__ import annotations

import json
import shutil

import pytest

from samtok_eval.errors import DataError, UsageError
from samtok_eval.training.sft.data import Source, read_conversations


def sample(*values, image="0.png"):
    speakers = ("human", "gpt") * len(values)
    return {"image": image, "conversations": [{"from": s, "value": v} for s, v in zip(speakers, values, strict=False)]}


def written(folder, rows):
    file = folder / "c.json"
    file.write_text(json.dumps(rows))
    return file


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}\n[', "[1"])
def test_a_file_of_another_kind_is_named(tmp_path, content):
    file = tmp_path / "c.json"
    file.write_text(content)
    if not content:
        assert read_conversations([Source(file, 100)], None, 0) == ([], [])
        file = tmp_path / "absent.json"
    with pytest.raises(DataError, match=file.name):
        read_conversations([Source(file, 100)], None, 0)


@pytest.mark.parametrize("text, count", [("%50", 2), ("%100", 4), ("%250", 8), ("", 4)])
def test_a_percentage_repeats_or_thins_a_file(tmp_path, text, count):
    file = written(tmp_path, [sample("<image>\nOne?", f"{k}") for k in range(4)])
    read, _ = read_conversations([Source.from_text(f"{file}{text}")], None, 0)
    assert len(read) == count
    lines = tmp_path / "lines"
    lines.mkdir()
    (lines / "a.jsonl").write_text("\n".join(json.dumps(row) for row in json.loads(file.read_text())) + "\n")
    assert [c.turns for c in read_conversations([Source.from_text(f"{lines}{text}")], None, 0)[0]] == [
        c.turns for c in read
    ]
    (lines / "gres").mkdir()
    shutil.copy(file, lines / "gres" / "conversations.json")
    assert Source(lines, 100).files() == [lines / "gres" / "conversations.json"]


def test_nothing_percent_is_refused():
    with pytest.raises(UsageError, match="above 0"):
        Source.from_text("a.json%0")
