"""Reader of PSG (arXiv 2207.11247): panoptic scene graphs.

In: `psg.json` of OpenPSG, or `psg_val.json`, which the SAMTok evaluation keeps in the shape of COCO's panoptic
annotations, and COCO's panoptic PNGs. Out: one `Graph` per picture that has a relation, in file order. The PNGs are
annotations, not pictures: a segment's mask is where `R + 256 G + 65536 B` equals its id. Reading opens them and no
photograph.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samtok_eval import masks
from samtok_eval.errors import DataError, MissingFileError
from samtok_eval.files import inside, read_json, reading, text, whole_number
from samtok_eval.images import UNREADABLE, open_image
from samtok_eval.sample import ImageRef, Target, Triplet


@dataclass(frozen=True)
class GraphTarget(Target):
    """A scene graph: `masks` and `labels` of all segments, `triplets` between them."""

    predicates: tuple[str, ...] = ()
    """All predicate classes of the file, whether they occur in this picture or not."""
    classes: tuple[str, ...] = ()
    """All class names of the file."""
    stuff: frozenset[str] = frozenset()
    """Those of them that are no countable things."""


@dataclass(frozen=True)
class Graph:
    """One picture and its relations."""

    image: ImageRef
    """Its id is the file's `image_id`."""
    target: GraphTarget


def read_psg(data_root: Path, split: str, limit: int | None = None) -> list[Graph]:
    """All scene graphs of a split.

    Pictures without a relation are left out. Exact duplicates of a relation are dropped; several predicates between
    the same two segments are kept, in both splits (OpenPSG draws one of them at random for training).

    Args:
        data_root: holds `psg/`, and under `coco/` the pictures and the panoptic PNGs.
        split: of `psg.json` `test` for the pictures in `test_image_ids` and `train` for all others; `val` for all of
            `psg_val.json`.
        limit: how many of the first are read, all by default.

    Raises:
        DataError: a file is missing or broken, a relation names an unknown segment or predicate, a PNG has another
            size than its picture or lacks a segment, or the split is empty.
    """
    read, name = (_coco_rows, "psg_val.json") if split == "val" else (_openpsg_rows, "psg.json")
    path = data_root / "psg" / name
    content = read_json(path)
    with reading(f"{path} is not PSG's own file"):
        names, rows = read(content, split)
        related = islice((row for row in rows if row["relations"]), limit)
        found = [_graph(row, data_root / "coco", names, path) for row in related]
    if not found:
        raise DataError(f"{path} has no picture with relations in split {split!r}; use the published file")
    return found


class _Names(NamedTuple):
    """What the numbers of a file stand for."""

    classes: tuple[str, ...]
    stuff: frozenset[str]
    predicates: tuple[str, ...]


def _openpsg_rows(content: dict[str, Any], split: str) -> tuple[_Names, list[dict[str, Any]]]:
    things, stuff = (tuple(map(text, content[key])) for key in ("thing_classes", "stuff_classes"))
    test_ids = {str(image_id) for image_id in content["test_image_ids"]}
    rows = [row for row in content["data"] if (str(row["image_id"]) in test_ids) == (split == "test")]
    return _Names((*things, *stuff), frozenset(stuff), tuple(map(text, content["predicate_classes"]))), rows


def _coco_rows(content: dict[str, Any], split: str) -> tuple[_Names, list[dict[str, Any]]]:
    """The same rows as of OpenPSG's file, categories by their place in the file."""
    del split
    categories = content["categories"]
    stuff = frozenset(text(category["name"]) for category in categories if not category["isthing"])
    predicates = tuple(text(category["name"]) for category in content["relations_categories"])
    place = {whole_number(category["id"]): i for i, category in enumerate(categories)}
    images = {str(image["id"]): image for image in content["images"]}
    rows = []
    for annotation in content["annotations"]:
        # An unknown category is told as one that there is not.
        segments = [
            {"id": segment["id"], "category_id": place.get(whole_number(segment["category_id"]), -1)}
            for segment in annotation["segments_info"]
        ]
        row = {**images[str(annotation["image_id"])], "image_id": annotation["image_id"], "segments_info": segments}
        rows.append({**row, "pan_seg_file_name": annotation["file_name"], "relations": annotation["relations"]})
    return _Names(tuple(text(category["name"]) for category in categories), stuff, predicates), rows


def _graph(row: dict[str, Any], coco: Path, names: _Names, path: Path) -> Graph:
    name = str(row["image_id"])
    image = ImageRef(name, inside(coco, row["file_name"]), *masks.picture_size(row["height"], row["width"]))
    ids = [whole_number(segment["id"]) for segment in row["segments_info"]]
    categories = [whole_number(segment["category_id"]) for segment in row["segments_info"]]
    relations = list(dict.fromkeys(_relation(relation) for relation in row["relations"]))
    for what, numbers, count in (
        ("class", categories, len(names.classes)),
        ("segment", [number for relation in relations for number in relation[:2]], len(ids)),
        ("predicate", [relation[2] for relation in relations], len(names.predicates)),
    ):
        wrong = [number for number in numbers if not 0 <= number < count]
        if wrong:
            raise DataError(f"{path}: picture {name} names {what} {wrong[0]}, but there are {count}")
    png = _panoptic_png(coco, row["pan_seg_file_name"])
    # Columns first in memory, as run-length encoding reads them: made once here, not once per segment.
    segments = np.asfortranarray(read_segments(png, image.height, image.width))
    regions = tuple(masks.encode(segments == number) for number in ids)
    absent = [number for number, region in zip(ids, regions, strict=True) if masks.area(region) == 0]
    if absent:
        raise DataError(f"{png} has no segment {absent[0]}, which {path} names; they are of different releases")
    target = GraphTarget(
        masks=regions,
        labels=tuple(names.classes[category] for category in categories),
        triplets=tuple(Triplet(s, names.predicates[p], o) for s, o, p in relations),
        predicates=names.predicates,
        classes=names.classes,
        stuff=names.stuff,
    )
    return Graph(image, target)


def _panoptic_png(coco: Path, name: Any) -> Path:
    """Where COCO's own archive leaves it, else beside the pictures."""
    unpacked = inside(coco / "annotations", name)
    return unpacked if unpacked.is_file() else inside(coco, name)


def _relation(relation: Any) -> tuple[int, int, int]:
    subject, other, predicate = map(whole_number, relation)
    return subject, other, predicate


def read_segments(path: Path, height: int, width: int) -> NDArray[np.uint32]:
    """Segment ids of a panoptic PNG, uint32 (H, W).

    Args:
        path: the PNG.
        height: of its picture, in pixels.
        width: of its picture, in pixels.

    Raises:
        DataError: missing, unreadable, or of another size than its picture.
    """
    try:
        with open_image(path) as file:
            if file.size != (width, height):
                size = f"{file.height}x{file.width}"
                raise DataError(
                    f"{path} is {size}, its annotations say {height}x{width}; they are of different releases"
                )
            channels = np.asarray(file.convert("RGB"))
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path} is missing; unpack COCO's panoptic annotations (panoptic_annotations_trainval2017.zip) there"
        ) from error
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read ({error}); unpack it again") from error
    ids = np.zeros(channels.shape[:2], dtype=np.uint32)
    # One channel at a time: the largest pictures have a hundred million pixels.
    for i in range(3):
        ids |= channels[..., i].astype(np.uint32) << np.uint32(8 * i)
    return ids
