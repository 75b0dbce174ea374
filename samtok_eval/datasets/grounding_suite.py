"""Reader of GroundingSuite-Eval (`GroundingSuite-Eval.jsonl`): one described region a line."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from samtok_eval.files import finite_number, inside, numbered_json_lines, reading, text, whole_number
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef

CLASSES = {1: "stuff", 2: "part", 3: "multi", 4: "single"}
"""The benchmark writes numbers only; weighting a published four-column row by the counts of these gives its total."""


@dataclass(frozen=True)
class Described:
    """One line."""

    index: int
    image: ImageRef
    kind: str
    """A value of `CLASSES`."""
    caption: str
    region: Rle
    box: tuple[float, float, float, float]
    """x1 y1 x2 y2 in pixels."""


def read_grounding_suite(folder: Path, limit: int | None = None) -> list[Described]:
    """All lines, in file order; picture sizes are those of the masks.

    Args:
        folder: holds `GroundingSuite-Eval.jsonl`; picture paths are relative to it.
        limit: how many of the first are read, all by default.

    Raises:
        DataError: the file is missing, or a line is broken; the message names it.
    """
    path = folder / "GroundingSuite-Eval.jsonl"
    found = []
    for number, row in islice(numbered_json_lines(path), limit):
        with reading(f"{path}:{number}"):
            found.append(_described(row, folder))
    return found


def _described(row: dict[str, Any], folder: Path) -> Described:
    region = Rle.from_coco(row["segmentation"])
    kind = whole_number(row["class_id"])
    if kind not in CLASSES:
        raise ValueError(f"class_id must be one of {sorted(CLASSES)}, got {kind}")
    x1, y1, x2, y2 = map(finite_number, row["box"])
    name = text(row["image_path"])
    image = ImageRef(name, inside(folder, name), region.height, region.width)
    caption = text(row["caption"]).strip()
    return Described(whole_number(row["idx"]), image, CLASSES[kind], caption, region, (x1, y1, x2, y2))
