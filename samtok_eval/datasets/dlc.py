"""Reader of DLC-Bench (`nvidia/DLC-Bench`): regions to describe, and graded questions about a right description.

In: `annotations.json` (COCO's layout), `class_names.json`, `qa.json`. Out: one `Described` per annotation. In the
published file a run-length encoding may be the text of a Python dictionary.
"""

from __future__ import annotations

import ast
import reprlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.files import finite_number, inside, read_json, reading, text, whole_number
from samtok_eval.masks import Rle
from samtok_eval.sample import Graded, ImageRef

KINDS = ("positive", "negative")


@dataclass(frozen=True)
class Described:
    """One region."""

    id: str
    """The annotation's id."""
    image: ImageRef
    region: Rle
    name: str
    """Its class, e.g. `wild bird`."""
    questions: tuple[Graded, ...]


def read_dlc(folder: Path, limit: int | None = None) -> list[Described]:
    """All regions, in file order.

    Args:
        folder: holds the three files and `images/`.
        limit: how many of the first are read, all by default.

    Raises:
        DataError: a file is missing or broken, or a region has no class name or no questions.
    """
    path = folder / "annotations.json"
    content, names, questions = (read_json(folder / f) for f in (path.name, "class_names.json", "qa.json"))
    with reading(f"{path} is not DLC-Bench's own file"):
        images = {
            (number := whole_number(image["id"])): ImageRef(
                str(number),
                inside(folder / "images", image["file_name"]),
                *masks.picture_size(image["height"], image["width"]),
            )
            for image in content["images"]
        }
        return [
            _region(row, images[whole_number(row["image_id"])], names, questions, folder)
            for row in islice(content["annotations"], limit)
        ]


def _region(
    row: dict[str, Any], image: ImageRef, names: dict[str, str], questions: dict[str, Any], folder: Path
) -> Described:
    name = str(whole_number(row["id"]))
    for known, file in ((names, "class_names.json"), (questions, "qa.json")):
        if name not in known:
            raise DataError(f"{folder / file} has no region {name}; the three files are of different releases")
    segmentation = row["segmentation"]
    with reading(f"{folder}: region {name}"):
        if isinstance(segmentation, str):
            segmentation = _literal(segmentation)
        region = masks.from_segmentation(segmentation, image.height, image.width)
        asked = tuple(_question(question) for question in questions[name])
    return Described(name, image, region, text(names[name]), asked)


def _literal(words: str) -> Any:
    try:
        return ast.literal_eval(words)
    # The last two where it is nested too deeply.
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"segmentation {reprlib.repr(words)} is no Python literal") from error


def _question(row: dict[str, Any]) -> Graded:
    if row["type"] not in KINDS:
        raise ValueError(f"a question is of type {' or '.join(KINDS)}, got {reprlib.repr(row['type'])}")
    choices = tuple((text(choice), finite_number(points)) for choice, points in row["choices"])
    return Graded(text(row["question"]), choices, row["type"])
