"""Reader of GAR-Bench-VQA (`GAR-Bench-VQA.json` of Grasp-Any-Region): choice questions about regions.

In: the published file. Out: one `Item` per question. A question names its regions as `<Prompt0>`, `<Prompt1>`, ...
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from samtok_eval.errors import DataError
from samtok_eval.files import inside, read_json, reading, text
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef


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


def read_gar(folder: Path) -> list[Item]:
    """All questions, in file order.

    Args:
        folder: holds `GAR-Bench-VQA.json`; picture names are relative to it.

    Raises:
        DataError: the file is missing or broken, or a question has no region or regions of several sizes.
    """
    path = folder / "GAR-Bench-VQA.json"
    content = read_json(path)
    with reading(f"{path} is not GAR-Bench-VQA's own file"):
        return [_item(row, folder, path) for row in content]


def _item(row: dict[str, object], folder: Path, path: Path) -> Item:
    name = text(row["image"])
    rles = row["mask_rles"]
    if not isinstance(rles, list) or not rles:
        raise DataError(f"{path}: {name} has no region; a question needs at least one")
    with reading(f"{path}: {name}"):
        regions = tuple(Rle.from_coco(rle) for rle in rles)
    sizes = {(rle.height, rle.width) for rle in regions}
    if len(sizes) > 1:
        raise DataError(f"{path}: the regions of {name} have several sizes: {sorted(sizes)}")
    choices = row["choices"]
    if not isinstance(choices, list) or not choices:
        raise DataError(f"{path}: {name} has no choices; expected a list of texts such as 'A. red'")
    return Item(
        image=ImageRef(name, inside(folder, name), regions[0].height, regions[0].width),
        regions=regions,
        question=text(row["question"]),
        choices=tuple(map(text, choices)),
        answer=text(row["answer"]).strip(),
        kind=text(row["type"]),
    )
