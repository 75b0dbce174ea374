"""Reader of DLC-Bench (`nvidia/DLC-Bench`): regions to describe, and graded questions about a right description.

In: `annotations.json` (COCO's layout), `class_names.json`, `qa.json`. Out: one `Described` per annotation. In the
published file a run-length encoding may be the text of a Python dictionary.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from samtok_eval import masks
from samtok_eval.datasets.files import read_json
from samtok_eval.errors import DataError
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


def read_dlc(folder: Path) -> list[Described]:
    """All regions, in file order.

    Args:
        folder: holds the three files and `images/`.

    Raises:
        DataError: a file is missing or broken, or a region has no class name or no questions.
    """
    path = folder / "annotations.json"
    content, names, questions = (read_json(folder / f) for f in (path.name, "class_names.json", "qa.json"))
    try:
        images = {
            image["id"]: ImageRef(
                str(image["id"]), folder / "images" / image["file_name"], int(image["height"]), int(image["width"])
            )
            for image in content["images"]
        }
        return [_region(row, images[row["image_id"]], names, questions, folder) for row in content["annotations"]]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is not DLC-Bench's own file: an entry lacks {error}") from error


def _region(
    row: dict[str, Any], image: ImageRef, names: dict[str, str], questions: dict[str, Any], folder: Path
) -> Described:
    name = str(row["id"])
    for known, file in ((names, "class_names.json"), (questions, "qa.json")):
        if name not in known:
            raise DataError(f"{folder / file} has no region {name}; the three files are of different releases")
    segmentation = row["segmentation"]
    try:
        if isinstance(segmentation, str):
            segmentation = ast.literal_eval(segmentation)
        region = masks.from_segmentation(segmentation, image.height, image.width)
        asked = tuple(_question(question) for question in questions[name])
    except (ValueError, SyntaxError) as error:
        raise DataError(f"{folder}: region {name}: {error}") from error
    return Described(name, image, region, names[name], asked)


def _question(row: dict[str, Any]) -> Graded:
    if row["type"] not in KINDS:
        raise ValueError(f"a question is of type {' or '.join(KINDS)}, got {row['type']!r}")
    choices = cast(list[tuple[str, float]], row["choices"])
    return Graded(row["question"], tuple((str(text), float(points)) for text, points in choices), row["type"])
