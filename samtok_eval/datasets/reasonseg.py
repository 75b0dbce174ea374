"""Reader of ReasonSeg, LISA's folders of pictures with polygons (arXiv 2308.00692, `utils/data_processing.py`).

In: `<split>/<name>.jpg` and `<split>/<name>.json`, `{"shapes": [{"label", "points"}], "text": [...], "is_sentence"}`.
Out: one `Query` per picture, by name. Shapes are drawn over each other, the largest first; the label tells whether one
is the target or an area to be ignored. The files do not hold the size of a picture, so its header is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samtok_eval import masks
from samtok_eval.datasets.drawn_polygons import drawn
from samtok_eval.errors import MissingFileError
from samtok_eval.files import PUT_IT_THERE, read_bytes, reading, text
from samtok_eval.images import declared_size
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef, Target

LEFT_OUT = "flag"
"""Shapes with this label are no part of the annotation."""
IGNORED = "ignore"
"""Part of the label of an area that is neither target nor background."""


@dataclass(frozen=True)
class PartlyIgnored(Target):
    """A target beside which an area is neither right nor wrong."""

    ignored: Rle | None = None
    """None where there is no such area."""

    @property
    def unusual(self) -> tuple[Any, ...]:
        """What else is known of the masks."""
        return super().unusual + ((self.ignored.counts,) if self.ignored else ())


@dataclass(frozen=True)
class Query:
    """A picture and what is asked about it."""

    image: ImageRef
    """Its id is the file name without ending."""
    text: str
    """The first of the file's wordings, as the scripts use no other."""
    is_sentence: bool
    """A question or a request; else the name of something."""
    target: PartlyIgnored


def read_reasonseg(folder: Path, limit: int | None = None) -> list[Query]:
    """All queries of a split.

    Args:
        folder: holds the pictures and their JSON files.
        limit: how many of the first are read, all by default.

    Raises:
        MissingFileError: there is no picture.
        DataError: a file is missing or broken.
    """
    pictures = sorted(folder.glob("*.jpg"))
    if not pictures:
        raise MissingFileError(f"{folder} has no picture *.jpg; {PUT_IT_THERE}")
    return [_query(picture) for picture in pictures[:limit]]


def _query(picture: Path) -> Query:
    path = picture.with_suffix(".json")
    content = _json(path)
    height, width = declared_size(picture)
    with reading(f"{path} is not ReasonSeg's own file"):
        wordings = content["text"]
        if not isinstance(wordings, list):
            raise TypeError("its text must be a list of wordings")
        target = _target(content["shapes"], height, width)
        image = ImageRef(picture.stem, picture, height, width)
        return Query(image, text(wordings[0]), bool(content["is_sentence"]), target)


def _target(shapes: list[dict[str, Any]], height: int, width: int) -> PartlyIgnored:
    """Later shapes cover what lies below them."""
    labels = [text(shape["label"]).lower() for shape in shapes]
    kept = [(label, drawn(shape["points"], height, width)) for label, shape in zip(labels, shapes, strict=True)
            if label != LEFT_OUT]  # fmt: skip
    target, ignored = np.zeros((2, height, width), dtype=np.bool_)
    # Of equal areas the later one comes first.
    for i in np.argsort([mask.sum() for _, mask in kept])[::-1]:
        label, mask = kept[i]
        target[mask], ignored[mask] = IGNORED not in label, IGNORED in label
    return PartlyIgnored((masks.encode(target),), ignored=masks.encode(ignored) if ignored.any() else None)


def _json(path: Path) -> Any:
    """Most files are UTF-8, the others cp1252."""
    content = read_bytes(path)
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        decoded = content.decode("cp1252", errors="replace")
    with reading(f"{path} is not valid JSON", PUT_IT_THERE):
        return json.loads(decoded)
