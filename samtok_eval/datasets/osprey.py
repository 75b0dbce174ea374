"""Reader of Osprey's files of objects to be named (`{lvis,paco}_val_1k_category.json`, osprey/eval/lvis_paco_eval.py).

In: a list of pictures, each with its class names and as many annotations. Out: one `Named` per annotation, in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.files import inside, read_json, reading, text
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef


@dataclass(frozen=True)
class Named:
    """One region with the name of its class."""

    id: str
    """`<entry of the file>-<annotation of the entry>`, both from 0; the scorer knows regions by their places alone."""
    image: ImageRef
    """Its id is the file's `file_name`."""
    region: Rle
    category: str
    """As the scorer compares it, with blanks for underscores and colons."""


def read_named(path: Path, pictures: Path, limit: int | None = None) -> list[Named]:
    """All regions.

    Args:
        path: the file.
        pictures: the folder to which `file_name` is relative.
        limit: how many of the first are read, all by default.

    Raises:
        DataError: the file is missing or broken, holds no region, or one without a pixel or a name.
    """
    content = read_json(path)
    with reading(f"{path} is not a file of Osprey's referring classification"):
        if not isinstance(content, list):
            raise TypeError("it must be a list of pictures")
        each = (named for number, entry in enumerate(content) for named in _entry(number, entry, pictures))
        found = list(islice(each, limit))
    if not found:
        raise DataError(f"{path} has no region; use the published file")
    return found


def _entry(number: int, entry: dict[str, Any], pictures: Path) -> Iterator[Named]:
    name = text(entry["file_name"])
    image = ImageRef(name, inside(pictures, name), *masks.picture_size(entry["height"], entry["width"]))
    names, regions = entry["categories"], entry["annotations"]
    if not isinstance(names, list) or not isinstance(regions, list) or len(names) != len(regions):
        raise ValueError(f"entry {number}: categories and annotations must be lists of one length")
    for i, (category, region) in enumerate(zip(names, regions, strict=True)):
        yield _named(f"{number}-{i}", image, category, region["segmentation"])


def _named(number: str, image: ImageRef, category: Any, segmentation: Any) -> Named:
    words = text(category).replace("_", " ").replace(":", " ")
    if not words.split():
        raise ValueError(f"region {number}: the name {category!r:.80} has no word")
    region = masks.from_segmentation(segmentation, image.height, image.width)
    if not masks.area(region):
        raise ValueError(f"region {number} covers no pixel")
    return Named(number, image, region, words)
