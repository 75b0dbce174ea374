"""The templates of the documentation do what the pages say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.prediction import Record
from tests.docs.commands import FENCE, PAGES, ROOT

PYTHON = [
    pytest.param(block["body"], id=f"{page.relative_to(ROOT)}:{number}")
    for page in PAGES
    for number, block in enumerate(FENCE.finditer(page.read_text()))
    if block["language"] == "python"
]


@pytest.mark.parametrize("code", PYTHON)
def test_documented_code_can_be_read(code: str):
    compile(code, "documented", "exec")


def defined(page: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module with the first template of a page."""
    code = next(block["body"] for block in FENCE.finditer((ROOT / page).read_text()) if block["language"] == "python")
    module = ModuleType("documented")
    # Dataclasses look up the module in which they are defined.
    monkeypatch.setitem(sys.modules, "documented", module)
    exec(compile(code, page, "exec"), module.__dict__)  # noqa: S102
    return module


def test_the_metric_of_the_guide_counts_what_it_says(monkeypatch: pytest.MonkeyPatch):
    covered = defined("docs/adding_a_metric.md", monkeypatch).covered
    pixels = [(50, 100), (49, 100), (0, 0), (100, 100)]
    records = [
        Record(str(i), f"picture {i}", "strict", "ok", inter=inter, gt_area=area)
        for i, (inter, area) in enumerate(pixels)
    ]
    found = covered(records)
    assert (found.value, found.n) == (2 / 3, 3)


def test_the_reader_of_the_guide_reads_and_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    each_description = defined("docs/adding_a_data_set.md", monkeypatch).each_description
    mask = np.eye(4, dtype=bool)
    line = {"id": 7, "file_name": "a.jpg", "sentence": "the diagonal", "mask": masks.encode(mask).to_coco()}
    (tmp_path / "described.jsonl").write_text(json.dumps(line) + "\n")
    (found,) = each_description(tmp_path)
    assert (found.id, found.picture, found.sentence) == ("7", tmp_path / "images" / "a.jpg", "the diagonal")
    assert (masks.decode(found.mask) == mask).all()
    for wrong in ({"id": "seven"}, {"file_name": "../../a.jpg"}, {"sentence": 3}, {"mask": [1, 2]}):
        (tmp_path / "described.jsonl").write_text(json.dumps({**line, **wrong}) + "\n")
        with pytest.raises(DataError, match=r"described.jsonl:1 is not a described region"):
            list(each_description(tmp_path))
