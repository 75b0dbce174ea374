"""Reader of grounded conversation generation (GranD-f, GLaMM): captions whose phrases have masks.

In: `<split>_gcg_coco_mask_gt.json` and `<split>_gcg_coco_caption_gt.json`, both in COCO's layout. Out: one `Grounded`
per picture. Annotations are indexed by picture once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samtok_eval import masks
from samtok_eval.files import inside, read_json, reading, text
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef


@dataclass(frozen=True)
class Grounded:
    """One picture."""

    image: ImageRef
    captions: tuple[str, ...]
    regions: tuple[Rle, ...]
    phrases: tuple[str, ...]
    """The file's labels, by the benchmark's own assumption in the order of the masks."""
    annotations: tuple[Mapping[str, Any], ...]
    """Of the regions, as the file has them."""


def read_gcg(folder: Path, split: str, limit: int | None = None) -> list[Grounded]:
    """All pictures of a split, in the order of their ids: numeric where all of them are numbers, else as text.

    That is the official scorer's order, and part of its average precision.

    Args:
        folder: holds both files and `images/`.
        split: `val` or `test`.
        limit: how many of the first are read, all by default.

    Raises:
        DataError: a file is missing or broken.
    """
    mask_path = folder / f"{split}_gcg_coco_mask_gt.json"
    caption_path = folder / f"{split}_gcg_coco_caption_gt.json"
    regions, captions = read_json(mask_path), read_json(caption_path)
    with reading(f"{caption_path} is not a GCG caption file"):
        said = _by_image(captions["annotations"])
    with reading(f"{mask_path} is not a GCG mask file"):
        images = {str(image["id"]): image for image in regions["images"]}
        by_image = _by_image(regions["annotations"])
        return [
            _grounded(name, images[name], by_image.get(name, []), said.get(name, []), folder)
            for name in _in_order(image["id"] for image in regions["images"])[:limit]
        ]


def _in_order(ids: Iterable[Any]) -> list[str]:
    """Distinct ids as numpy sorts them."""
    distinct = set(ids)
    numeric = all(isinstance(one, int) for one in distinct)
    return [str(one) for one in (sorted(distinct) if numeric else sorted(map(str, distinct)))]


def _by_image(annotations: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for annotation in annotations:
        found.setdefault(str(annotation["image_id"]), []).append(annotation)
    return found


def _grounded(
    name: str, image: dict[str, Any], regions: list[dict[str, Any]], said: list[dict[str, Any]], folder: Path
) -> Grounded:
    height, width = masks.picture_size(image["height"], image["width"])
    return Grounded(
        ImageRef(name, inside(folder / "images", image["file_name"]), height, width),
        tuple(text(caption["caption"]) for caption in said),
        tuple(masks.from_segmentation(region["segmentation"], height, width) for region in regions),
        tuple(map(text, said[0]["labels"] if said else ())),
        tuple(regions),
    )
