"""Reader of MDVP-Bench: detailed captions, region by region as Grasp-Any-Region lays them out, and its other questions.

In: `mdvp_caption_mask.json` with the masks, and of each domain and kind of question `<domain>_<kind>_box.json` with the
boxes and its pictures. Out: one `Marked` per region, in file order, which is that of the domains' own files; of the
other kinds one `Asked` per picture, domain after domain.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.files import finite_number, inside, read_json, reading, text, whole_number
from samtok_eval.images import declared_size
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef

ENDING = "_box"
"""Of a domain's name in the first file, whose folder has the rest of it."""
DOMAINS = ("android", "multipanel", "natural", "ocr_doc", "ocr_spotting", "web")
DETAILED, QA, BRIEF, RELATIONS = "detailed_caption", "QA", "brief_caption", "Inter_Relationship"
"""Kinds of questions, as they stand behind the domain in names of files."""
HAVE: Mapping[str, tuple[str, ...]] = {
    DETAILED: DOMAINS,
    QA: DOMAINS,
    BRIEF: ("natural",),
    RELATIONS: ("multipanel", "natural"),
}
"""The domains that have questions of a kind."""
_NAMED = re.compile(r"<Region (\d{1,4})>")


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


@dataclass(frozen=True)
class Asked:
    """A question about the regions that are marked in a picture."""

    image: ImageRef
    """Its id is its file name, which no two questions of a kind share."""
    boxes: tuple[tuple[int, int, int, int], ...]
    """x1 y1 x2 y2 in pixels, as they are painted for the judge."""
    regions: tuple[Rle, ...]
    """Every pixel that each box touches."""
    domain: str
    """With the kind, such as `natural_QA`."""
    number: int
    """The file's `question_id`."""
    question: str
    answer: str


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
    if domain not in [f"{name}_{DETAILED}" for name in HAVE[DETAILED]]:
        raise ValueError(f"region {place} is of the domain {domain!r}; expected one of {', '.join(HAVE[DETAILED])}")
    image = ImageRef(name, inside(data, name), *size)
    return Marked(str(place), image, region, box.corners, box.number, domain, text(row["question"]),
                  text(row["caption"]))  # fmt: skip


def _boxes(path: Path) -> Iterator[_Box]:
    content = read_json(path)
    with reading(f"{path} is not MDVP-Bench's own file"):
        pictures = [(text(row["image_name"]), [_corners(box) for box in row["bbox"]]) for row in content]
    return iter([_Box(name, i, box) for name, several in pictures for i, box in enumerate(several, start=1)])


def read_mdvp_questions(folder: Path, kind: str, limit: int | None = None) -> list[Asked]:
    """All questions of a kind, in the order of domains and of their files.

    Args:
        folder: holds `data/<domain>_<kind>/` with `<domain>_<kind>_box.json` and `images/`.
        kind: a key of `HAVE`.
        limit: how many of the first are read, all by default.

    Raises:
        DataError: a file or picture is missing or broken, a box lies outside its picture, a question names a region
            that is not marked, or two questions are about pictures of one name.
    """
    found: list[Asked] = []
    for domain in HAVE[kind]:
        name = f"{domain}_{kind}"
        path = folder / "data" / name / f"{name}{ENDING}.json"
        content = read_json(path)
        with reading(f"{path} is not MDVP-Bench's own file"):
            left = None if limit is None else limit - len(found)
            found += [_asked(row, name, path.parent / "images") for row in islice(content, left)]
    names = Counter(asked.image.id for asked in found)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise DataError(f"{folder}: two questions of {kind} are about {twice}, whose name is that of a question")
    return found


def _asked(row: dict[str, Any], domain: str, pictures: Path) -> Asked:
    name, question, answer = text(row["image_name"]), text(row["question"]), text(row["gt_answers"])
    path = inside(pictures, name)
    image = ImageRef(name, path, *declared_size(path))
    regions = tuple(masks.of_box([finite_number(side) for side in box], image.height, image.width)
                    for box in row["bbox"])  # fmt: skip
    if not regions:
        raise ValueError(f"no region is marked in {name}")
    if unknown := [number for number in _NAMED.findall(question) if not 1 <= int(number) <= len(regions)]:
        raise ValueError(f"a question about {name} names region {unknown[0]}, but {len(regions)} are marked")
    boxes = tuple(map(_corners, row["bbox"]))
    return Asked(image, boxes, regions, domain, whole_number(row["question_id"]), question, answer)


def _corners(box: list[Any]) -> tuple[int, int, int, int]:
    """Corners of x, y, width, height, each cut to a whole number first, as the original does."""
    x, y, width, height = (int(finite_number(side)) for side in box)
    return x, y, x + width, y + height
