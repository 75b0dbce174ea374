"""Reader of MMR (`MMR_val.json`): questions about several objects and parts of COCO pictures.

In: a list of `{"file_name", "questions": [...], "answers": [[{"segmentation"}, ...], ...]}`, with a list of annotations
per question; a segmentation is a run-length encoding or several of them. Out: one `Question` each, in file order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.files import inside, read_json, reading, text
from samtok_eval.images import declared_size
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef


@dataclass(frozen=True)
class Question:
    """One question about a picture."""

    id: str
    """`<entry of the file>-<question of the entry>`, both from 0."""
    image: ImageRef
    """Its id is the file's `file_name`."""
    text: str
    objects: tuple[Rle, ...]
    """What is asked for, the parts of each united; may be empty."""
    summed: tuple[Rle, ...]
    """The same with the parts of each added up, and the sums run-length encoded as if they were a mask."""


def read_mmr(path: Path, pictures: Path, limit: int | None = None) -> list[Question]:
    """All questions of a file.

    Args:
        path: `MMR_val.json`.
        pictures: the folder to which `file_name` is relative.
        limit: how many of the first are read, all by default.

    Raises:
        DataError: the file is missing or broken, or the masks of a picture have several sizes.
    """
    content = read_json(path)
    with reading(f"{path} is not MMR's own file"):
        if not isinstance(content, list):
            raise TypeError("it must be a list of pictures")
        each = (question for i, entry in enumerate(content) for question in _questions(i, entry, pictures, path))
        found = list(islice(each, limit))
    if not found:
        raise DataError(f"{path} has no question; use the published file")
    return found


def _questions(number: int, entry: dict[str, Any], pictures: Path, path: Path) -> list[Question]:
    name = text(entry["file_name"])
    picture = inside(pictures, name)
    parts = [[_parts(row["segmentation"]) for row in answer] for answer in entry["answers"]]
    sizes = {(rle.height, rle.width) for answer in parts for several in answer for rle in several}
    if len(sizes) > 1:
        raise DataError(f"{path}: the masks of {name} have several sizes: {sorted(sizes)}")
    image = ImageRef(name, picture, *(sizes.pop() if sizes else declared_size(picture)))
    return [
        Question(
            f"{number}-{i}",
            image,
            text(question).strip(),
            tuple(masks.union(several, image.height, image.width) for several in answer),
            tuple(map(_summed, answer)),
        )
        for i, (question, answer) in enumerate(zip(entry["questions"], parts, strict=True))
    ]


def _parts(segmentation: Any) -> list[Rle]:
    several = segmentation if isinstance(segmentation, list) else [segmentation]
    if not several:
        raise ValueError("a segmentation must hold a mask")
    return [Rle.from_coco(part) for part in several]


def _summed(parts: list[Rle]) -> Rle:
    """Run lengths begin anew wherever the sum changes, so that what two parts cover is a hole."""
    if len(parts) == 1:
        return parts[0]
    total = np.sum([masks.decode(part).astype(np.uint8) for part in parts], axis=0, dtype=np.uint8)
    line = np.concatenate([[0], total.ravel(order="F")])
    inside_now = np.cumsum(np.diff(line.astype(np.int16)) != 0) % 2 == 1
    return masks.encode(inside_now.reshape(total.shape, order="F"))
