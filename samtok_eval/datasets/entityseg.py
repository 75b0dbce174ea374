"""Reader of EntitySeg's low-resolution validation set (`entitysef_val_lr.json`), masks without any question.

In: a file with COCO's keys `images` and `annotations`. Out: one `Entity` per annotation, in file order.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import NamedTuple

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.files import inside, read_json, reading, text, whole_number
from samtok_eval.images import declared_size
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef


class Entity(NamedTuple):
    """One mask of a picture."""

    id: str
    """The annotation's, or its place in the file where it has none."""
    image: ImageRef
    mask: Rle


def read_entityseg(folder: Path, limit: int | None = None) -> list[Entity]:
    """All annotations.

    Args:
        folder: holds the file, and the pictures under `entity_lr/`.
        limit: how many of the first are read, all by default.

    Raises:
        DataError: the file is missing or broken, or holds no annotation.
    """
    path = folder / "entitysef_val_lr.json"
    content = read_json(path)
    with reading(f"{path} is not EntitySeg's own file"):
        images = {}
        for row in content["images"]:
            number, picture = whole_number(row["id"]), inside(folder / "entity_lr", text(row["file_name"]))
            # Keys that the scripts do not read may be absent.
            size = (row["height"], row["width"]) if "height" in row else declared_size(picture)
            images[number] = ImageRef(str(number), picture, *masks.picture_size(*size))
        found = []
        for place, row in islice(enumerate(content["annotations"]), limit):
            image = images[whole_number(row["image_id"])]
            mask = masks.from_segmentation(row["segmentation"], image.height, image.width)
            found.append(Entity(str(whole_number(row.get("id", place))), image, mask))
    if not found:
        raise DataError(f"{path} has no annotation; use the published file")
    return found
