"""Reader of MDVP-Bench's detailed captions, region by region, as Grasp-Any-Region lays them out.

In: `mdvp_caption_mask.json` with the masks, and of each domain `<domain>_box.json` with the boxes and its pictures.
Out: one `Marked` per region, in file order, which is that of the domains' own files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from samtok_eval import masks
from samtok_eval.files import finite_number, inside, read_json, reading, text
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef

ENDING = "_box"
"""Of a domain's name in the first file, whose folder has the rest of it."""


@dataclass(frozen=True)
class Marked:
    """A region among those that are marked in a picture."""

    id: str
    """Its place in the file, from 1, as in the original's `question_id`."""
    image: ImageRef
    """Its id is `image_path`."""
    region: Rle
    box: tuple[int, int, int, int]
    """x1 y1 x2 y2 in pixels, as it is painted for the judge."""
    number: int
    """Among the regions of its picture, from 1."""
    domain: str
    """Such as `natural_detailed_caption`."""
    question: str
    caption: str
    """What is right about it."""


def read_mdvp(folder: Path, limit: int | None = None) -> list[Marked]:
    """All regions.

    Args:
        folder: holds the file, and `data/<domain>/` with `<domain>_box.json` and `images/`.
        limit: how many of the first are read, all by default.

    Raises:
        DataError: a file is missing or broken, or the two kinds of file do not name the same regions.
    """
    path = folder / "mdvp_caption_mask.json"
    content = read_json(path)
    boxes: dict[str, Iterator[_Box]] = {}
    with reading(f"{path} is not Grasp-Any-Region's own file"):
        return [
            _marked(place, row, folder / "data", boxes) for place, row in enumerate(islice(content, limit), start=1)
        ]


@dataclass(frozen=True)
class _Box:
    """A box of a domain's file."""

    picture: str
    number: int
    corners: tuple[int, int, int, int]


def _marked(place: int, row: dict[str, Any], data: Path, boxes: dict[str, Iterator[_Box]]) -> Marked:
    domain, name = text(row["dataset_name"]).removesuffix(ENDING), text(row["image_path"])
    if domain not in boxes:
        boxes[domain] = _boxes(inside(data, f"{domain}/{domain}{ENDING}.json"))
    box = next(boxes[domain], None)
    if box is None or PurePosixPath(name).name != box.picture:
        there = "no further box" if box is None else f"a box in {box.picture}"
        raise ValueError(f"region {place} is of {name}, but {domain}{ENDING}.json, of another release, has {there}")
    encoded = row["mask_rle"]
    size = masks.picture_size(*encoded["size"])
    region = masks.from_segmentation(encoded, *size)
    if not masks.area(region):
        raise ValueError(f"region {place} is empty")
    image = ImageRef(name, inside(data, name), *size)
    return Marked(str(place), image, region, box.corners, box.number, domain, text(row["question"]),
                  text(row["caption"]))  # fmt: skip


def _boxes(path: Path) -> Iterator[_Box]:
    content = read_json(path)
    with reading(f"{path} is not MDVP-Bench's own file"):
        pictures = [(text(row["image_name"]), [_corners(box) for box in row["bbox"]]) for row in content]
    return iter([_Box(name, i, box) for name, several in pictures for i, box in enumerate(several, start=1)])


def _corners(box: list[Any]) -> tuple[int, int, int, int]:
    """Corners of x, y, width, height, each cut to a whole number first, as the original does."""
    x, y, width, height = (int(finite_number(side)) for side in box)
    return x, y, x + width, y + height
