"""Reader of GAR-Bench (Grasp-Any-Region): choice questions about regions, and captions of how regions are related.

In: the published files. Out: one `Item` per question of `GAR-Bench-VQA.json`, one `Related` per entry of
`GAR-Bench-Caption-{Detailed,Simple}.json`. A question names its regions as `<Prompt0>`, `<Prompt1>`, ...
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from samtok_eval.errors import DataError
from samtok_eval.files import inside, read_json, reading, text
from samtok_eval.masks import Rle, area
from samtok_eval.sample import ImageRef, Part, Region

DETAILED, SIMPLE = "GAR-Bench-Caption-Detailed.json", "GAR-Bench-Caption-Simple.json"
DETAILED_WORDS = ("subject_name", "object_name", "predicate_name")
_PROMPT = re.compile(r"<Prompt(\d+)>")


@dataclass(frozen=True)
class Item:
    """One question."""

    image: ImageRef
    """Its id is the file name as in the file, e.g. `images/vqa_0.png`."""
    regions: tuple[Rle, ...]
    question: str
    choices: tuple[str, ...]
    """`A. red`, `B. blue`, ..."""
    answer: str
    """The right letter."""
    kind: str
    """The benchmark's `type`."""


@dataclass(frozen=True)
class Related:
    """Regions of a picture, and what holds between them."""

    image: ImageRef
    """Its id is the file name as in the file, e.g. `images/caption_detailed_0.png`."""
    regions: tuple[Rle, ...]
    """None of them empty."""
    question: str
    """Empty in the detailed captions, which are all asked for alike."""
    words: dict[str, str]
    """What the judge is given, by the names of the file."""


def each_gar(folder: Path) -> Iterator[Item]:
    """The questions, one after another in file order.

    Args:
        folder: holds `GAR-Bench-VQA.json`; picture names are relative to it.

    Raises:
        DataError: the file is missing or broken, or a question has no region or regions of several sizes.
    """
    path = folder / "GAR-Bench-VQA.json"
    content = read_json(path)
    with reading(f"{path} is not GAR-Bench-VQA's own file"):
        for row in content:
            yield _item(row, folder, path)


def read_related(folder: Path, name: str, limit: int | None = None) -> list[Related]:
    """All entries of one of the two files of captions, in file order.

    Args:
        folder: holds the file; picture names are relative to it.
        name: `DETAILED` or `SIMPLE`.
        limit: how many of the first are read, all by default.

    Raises:
        DataError: the file is missing or broken, or an entry has no region, an empty one, regions of several sizes, or
            in the detailed file fewer than two.
    """
    path = folder / name
    content = read_json(path)
    with reading(f"{path} is not GAR-Bench's own file"):
        return [_related(row, folder, path) for row in islice(content, limit)]


def with_regions(question: str, regions: Sequence[Rle], name: str) -> tuple[Part, ...]:
    """A question's text with its regions in place of their names.

    Args:
        question: names regions as `<Prompt0>`, `<Prompt1>`, ...
        regions: in this order.
        name: of the picture, for the error.

    Raises:
        DataError: a region is named that is not there.
    """
    parts: list[Part] = []
    for i, piece in enumerate(_PROMPT.split(question)):
        if i % 2 == 0:
            parts += [piece] if piece else []
        elif int(piece) < len(regions):
            parts.append(Region(regions[int(piece)]))
        else:
            raise DataError(f"{name} names <Prompt{piece}> but has {len(regions)} regions")
    return tuple(parts)


def _related(row: dict[str, object], folder: Path, path: Path) -> Related:
    image, regions = _picture(row, folder, path)
    detailed = path.name == DETAILED
    if detailed and len(regions) < 2:
        raise DataError(f"{path}: {image.id} has one region; expected those of subject and object")
    if not all(map(area, regions)):
        raise DataError(f"{path}: a region of {image.id} is empty; download it again")
    words = {name: text(row[name]) for name in (DETAILED_WORDS if detailed else ("answer",))}
    return Related(image, regions, "" if detailed else text(row["question"]), words)


def _picture(row: dict[str, object], folder: Path, path: Path) -> tuple[ImageRef, tuple[Rle, ...]]:
    """The picture of a row, and its regions."""
    name = text(row["image"])
    rles = row["mask_rles"]
    if not isinstance(rles, list) or not rles:
        raise DataError(f"{path}: {name} has no region; a question needs at least one")
    with reading(f"{path}: {name}"):
        regions = tuple(Rle.from_coco(rle) for rle in rles)
    sizes = {(rle.height, rle.width) for rle in regions}
    if len(sizes) > 1:
        raise DataError(f"{path}: the regions of {name} have several sizes: {sorted(sizes)}")
    return ImageRef(name, inside(folder, name), regions[0].height, regions[0].width), regions


def _item(row: dict[str, object], folder: Path, path: Path) -> Item:
    image, regions = _picture(row, folder, path)
    choices = row["choices"]
    if not isinstance(choices, list) or not choices:
        raise DataError(f"{path}: {image.id} has no choices; expected a list of texts such as 'A. red'")
    return Item(
        image=image,
        regions=regions,
        question=text(row["question"]),
        choices=tuple(map(text, choices)),
        answer=text(row["answer"]).strip(),
        kind=text(row["type"]),
    )
