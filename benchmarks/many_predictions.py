"""A made-up gRefCOCO with as many sentences as wanted, and the predictions of two models for it.

`python benchmarks/many_predictions.py FOLDER COUNT` writes all of it. Pictures and objects are as many as in gRefCOCO
whatever the count, so that what grows is sentences and predictions alone; pictures themselves are not needed to score.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from samtok_eval import masks
from samtok_eval.mask_tokens import Codes, render

SIDE = 256
SHAPES = 300
PICTURES, OBJECTS = 20_000, 3
"""Pictures, and objects in each."""
SPLIT = "val"


def write_benchmark(root: Path, sentences: int, pictures: int = PICTURES) -> None:
    """Write `grefcoco/` with so many sentences; one in eight means nothing, one in eight two objects."""
    outlines = _outlines()
    numbers = range(pictures * OBJECTS)
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": SIDE, "width": SIDE} for i in range(pictures)],
        "annotations": [
            {"id": i, "image_id": i // OBJECTS, "category_id": 1 + i % 80, "iscrowd": 0,
             "segmentation": [outlines[i % SHAPES]]}
            for i in numbers
        ],
        "categories": [{"id": i, "name": f"thing {i}"} for i in range(1, 81)],
    }  # fmt: skip
    folder = root / "grefcoco"
    folder.mkdir(parents=True)
    (folder / "instances.json").write_text(json.dumps(content))
    with (folder / "grefs(unc).json").open("w") as file:
        file.write("[")
        for i in range(sentences):
            file.write((", " if i else "") + json.dumps(_reference(i, i * pictures // sentences)))
        file.write("]")


def _reference(number: int, picture: int) -> dict[str, Any]:
    kind = number % 8
    first = picture * OBJECTS + number % (OBJECTS - 1)
    meant = [-1] if kind == 0 else [first, first + 1] if kind == 1 else [first]
    sentence = {"sent_id": number, "sent": f"the object number {number} on the left", "exist": kind != 0}
    return {"ref_id": number, "image_id": picture, "split": SPLIT, "ann_id": meant, "sentences": [sentence],
            "category_id": [1 + max(meant[0], 0) % 80], "no_target": kind == 0}  # fmt: skip


def write_predictions(path: Path, sentences: int, silent: int = 0) -> None:
    """Write one line per sentence, as a run of ours does, in an order of its own; one answer in nine has two masks.

    Args:
        path: the file.
        sentences: how many.
        silent: one answer in so many marks nothing; 0 for none.
    """
    counts = [shape.to_coco() for shape in _shapes(1)]
    with path.open("w") as file:
        for i in np.random.default_rng(0).permutation(sentences).tolist():
            unmarked = {"text": "Nothing.", "decoded": {}} if silent and i % silent == 0 else {}
            file.write(json.dumps(_line(i, counts) | unmarked) + "\n")


def _line(number: int, shapes: list[dict[str, Any]]) -> dict[str, Any]:
    codes = [Codes(number % 256, number // 256 % 256), Codes(7, number % 256)][: 2 if number % 9 == 0 else 1]
    decoded = {code.key: shapes[(number + book) % SHAPES] for book, code in enumerate(codes)}
    return {"id": f"{number}-{number}", "text": f"It is {render(codes)}.", "decoded": decoded, "status": "ok",
            "error": None, "seconds": {"generate": 0.1234, "decode": 0.0123}}  # fmt: skip


def _shapes(seed: int) -> list[masks.Rle]:
    """Wavy discs of many sizes, whose outlines are as long as those of objects."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]

    def shape() -> masks.Rle:
        y, x, a, b = rng.uniform(40, 216), rng.uniform(40, 216), rng.uniform(8, 80), rng.uniform(8, 80)
        wave = 1 + 0.15 * np.sin(columns / 5) * np.cos(rows / 4)
        return masks.encode(((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < wave)

    return [shape() for _ in range(SHAPES)]


def _outlines() -> list[list[float]]:
    """Polygons of 32 corners, x1 y1 x2 y2 ..."""
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)

    def outline() -> list[float]:
        center, radius = rng.uniform(60, 196, 2), rng.uniform(8, 56, 2)
        corners = center + radius * np.column_stack([np.cos(angles), np.sin(angles)])
        return [round(float(number), 2) for number in corners.ravel()]

    return [outline() for _ in range(SHAPES)]


if __name__ == "__main__":
    target, count = Path(sys.argv[1]), int(sys.argv[2])
    write_benchmark(target, count)
    write_predictions(target / "predictions.jsonl", count)
    write_predictions(target / "worse.jsonl", count, silent=7)
