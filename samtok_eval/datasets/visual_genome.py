"""Reader of Visual Genome's region captions as GLaMM evaluates on them (`test_caption.json`, after GRiT's test split).

In: a file with COCO's keys in which every region has an entry of its own among `images`, with the id of its annotation.
Out: one `Captioned` per annotation, in file order. Regions are boxes; the mask of one is all of its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.files import finite_number, inside, read_json, reading, text, whole_number
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef


@dataclass(frozen=True)
class Captioned:
    """One region with what people said of it."""

    id: str
    """The annotation's, in the published file the same as its picture entry's."""
    image: ImageRef
    """Its id is the file name, since every region has an entry of its own."""
    region: Rle
    caption: str


def read_visual_genome(folder: Path, limit: int | None = None) -> list[Captioned]:
    """All regions.

    Args:
        folder: holds `test_caption.json`, and the pictures under `images/`.
        limit: how many of the first are read, all by default.

    Raises:
        DataError: the file is missing or broken, holds no region, or one that lies outside its picture.
    """
    path = folder / "test_caption.json"
    content = read_json(path)
    with reading(f"{path} is not GLaMM's file of Visual Genome's region captions"):
        images = {whole_number(row["id"]): _image(row, folder / "images") for row in content["images"]}
        rows = islice(content["annotations"], limit)
        found = [_region(row, images[whole_number(row["image_id"])]) for row in rows]
    if not found:
        raise DataError(f"{path} has no region; use the published file")
    return found


def _image(row: dict[str, Any], pictures: Path) -> ImageRef:
    name = text(row["file_name"])
    return ImageRef(name, inside(pictures, name), *masks.picture_size(row["height"], row["width"]))


def _region(row: dict[str, Any], image: ImageRef) -> Captioned:
    number = whole_number(row["id"])
    region = masks.of_box([finite_number(side) for side in row["bbox"]], image.height, image.width)
    return Captioned(str(number), image, region, text(row["caption"]))
