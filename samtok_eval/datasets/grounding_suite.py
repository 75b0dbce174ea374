"""Reader of GroundingSuite-Eval (`GroundingSuite-Eval.jsonl`): one described region a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samtok_eval.datasets.files import read_bytes
from samtok_eval.errors import DataError
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


def read_grounding_suite(folder: Path) -> list[Described]:
    """All lines, in file order; picture sizes are those of the masks.

    Args:
        folder: holds `GroundingSuite-Eval.jsonl`; picture paths are relative to it.

    Raises:
        DataError: the file is missing, or a line is broken; the message names it.
    """
    path = folder / "GroundingSuite-Eval.jsonl"
    found = []
    for number, line in enumerate(read_bytes(path).splitlines(), start=1):
        if line.strip():
            try:
                found.append(_described(json.loads(line), folder))
            except KeyError as error:
                raise DataError(f"{path}:{number} lacks {error}; download the file again") from error
            except (ValueError, TypeError) as error:
                raise DataError(f"{path}:{number}: {error}; download the file again") from error
    return found


def _described(row: dict[str, Any], folder: Path) -> Described:
    region = Rle.from_coco(row["segmentation"])
    kind = int(row["class_id"])
    if kind not in CLASSES:
        raise ValueError(f"class_id must be one of {sorted(CLASSES)}, got {kind}")
    x1, y1, x2, y2 = (float(corner) for corner in row["box"])
    name = str(row["image_path"])
    image = ImageRef(name, folder / name, region.height, region.width)
    return Described(int(row["idx"]), image, CLASSES[kind], str(row["caption"]).strip(), region, (x1, y1, x2, y2))
