"""Reader of Ferret-Bench's questions about a region, as Osprey and Grasp-Any-Region lay them out.

In: `box_refer_caption.json` (descriptions) or `box_refer_reason.json` (reasoning) with the regions, and for the judge
`question`, `answer` and `context.jsonl` under `ferret_gpt4_data/refer_desc/` or `refer_reason/`. Out: one `Referred`
per region, in file order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.files import inside, read_json, read_json_lines, reading, text, whole_number
from samtok_eval.images import declared_size
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef

REGION = "<region>"
"""Stands in a question for the region."""


@dataclass(frozen=True)
class Referred:
    """A question about a region."""

    id: str
    """`question_id`."""
    image: ImageRef
    """Its id is the file name."""
    region: Rle
    question: str
    """With `<region>` in it."""
    words: dict[str, str]
    """What the judge is given: `context`, `question` and GPT-4's `answer`."""


class Questions(NamedTuple):
    """A part of the benchmark."""

    regions: str
    """File with the regions."""
    given: str
    """Folder with what the judge is given."""


DESCRIPTION = Questions("box_refer_caption.json", "refer_desc")
REASONING = Questions("box_refer_reason.json", "refer_reason")


def read_ferret(
    folder: Path, pictures: Path, part: Questions = DESCRIPTION, limit: int | None = None
) -> list[Referred]:
    """All questions of a part.

    Args:
        folder: holds the files.
        pictures: COCO's val2017; the files do not say how large a picture is, so that its header is read.
        part: which.
        limit: how many of the first are read, all by default.

    Raises:
        DataError: a file is missing or broken, or lacks a question that another one has.
    """
    path, given = folder / part.regions, folder / "ferret_gpt4_data" / part.given
    content = read_json(path)
    texts = {name: _texts(given / f"{name}.jsonl", key) for name, key in _KEYS.items()}
    with reading(f"{path} is not Ferret-Bench's own file"):
        return [_referred(row, pictures, texts, given) for row in islice(content, limit)]


_KEYS = {"question": "question_id", "answer": "question_id", "context": "image"}


def _texts(path: Path, key: str) -> dict[str, str]:
    with reading(f"{path} is not Ferret-Bench's own file"):
        return {str(row[key]): text(row["text"]) for row in read_json_lines(path)}


def _referred(row: dict[str, Any], pictures: Path, texts: dict[str, dict[str, str]], given: Path) -> Referred:
    number, name = str(whole_number(row["question_id"])), text(row["image"])
    for file, key in _KEYS.items():
        if (name if key == "image" else number) not in texts[file]:
            raise DataError(f"{given / file}.jsonl has no line for question {number}; the files are of other releases")
    picture = inside(pictures, name)
    image = ImageRef(name, picture, *declared_size(picture))
    region = masks.from_segmentation(row["annotation"]["segmentation"], image.height, image.width)
    if not masks.area(region):
        raise ValueError(f"the region of question {number} is empty")
    words = {file: texts[file][name if key == "image" else number] for file, key in _KEYS.items()}
    return Referred(number, image, region, text(row["text"]), words)
