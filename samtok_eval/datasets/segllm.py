"""Reader of multi-round referring segmentation (SegLLM's MRSeg sets, as the released SAMTok evaluation re-packed them).

In: `mr_<set>_val_sampled.json` (or `mr_<set>_val.json` of the same structure): `{"<round>": [{"image", "history":
[{"from": "human" | "gpt", "value"}], "target_masks": [...]}]}`. Out: one `Conversation` per entry. Earlier answers in a
history already hold mask words as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from samtok_eval import masks
from samtok_eval.datasets.files import read_json
from samtok_eval.errors import DataError
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef

IMAGE_MARK = "<image>\n"
ROLES = {"human": "user", "gpt": "assistant"}


@dataclass(frozen=True)
class Conversation:
    """One entry of one round."""

    round: str
    index: int
    image: ImageRef
    turns: tuple[tuple[str, str], ...]
    """(`user` | `assistant`, text); the last is the question."""
    region: Rle
    """The first target mask, the only one that the released script scores."""


def read_conversations(data_root: Path, name: str) -> list[Conversation]:
    """All rounds of one set, in file order.

    Args:
        data_root: holds `segllm/`; pictures are looked for under it, under the root and under `coco/`.
        name: e.g. `mr_refcoco`.

    Raises:
        DataError: no such file, another structure, or a polygon target whose picture is not there to give its size.
    """
    folder = data_root / "segllm"
    candidates = [folder / f"{name}_val_sampled.json", folder / f"{name}_val.json"]
    path = next((candidate for candidate in candidates if candidate.is_file()), candidates[0])
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(
            f"{path} must map each round to a list of {{image, history, target_masks}}, "
            f"got a {type(content).__name__}; use the files of the SAMTok evaluation"
        )
    try:
        return [
            _conversation(str(number), i, entry, folder, path)
            for number, entries in content.items()
            for i, entry in enumerate(entries)
        ]
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{path}: an entry is not {{image, history, target_masks}}: {type(error).__name__} {error}"
        ) from error


def _conversation(number: str, index: int, entry: dict[str, Any], folder: Path, path: Path) -> Conversation:
    where = f"{path}: entry {number}-{index}"
    turns = tuple(_turns(entry["history"], where))
    if not turns or turns[-1][0] != "user":
        raise DataError(f"{where} must end with a human turn; it has nothing to answer")
    name = str(entry["image"])
    try:
        region = _region(entry["target_masks"][0], folder, name)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    image = ImageRef(name, _picture(folder, name), region.height, region.width)
    return Conversation(number, index, image, turns, region)


def _turns(history: list[dict[str, Any]], where: str) -> Iterator[tuple[str, str]]:
    for i, turn in enumerate(history):
        if turn["from"] not in ROLES:
            raise DataError(f"{where}: a turn is from human or gpt, got {turn['from']!r}")
        text = str(turn["value"])
        yield ROLES[turn["from"]], text.replace(IMAGE_MARK, "", 1) if i == 0 else text


def _region(value: Any, folder: Path, name: str) -> Rle:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        rles = [Rle.from_coco(rle) for rle in value]
        return masks.union(rles, rles[0].height, rles[0].width)
    if isinstance(value, dict):
        return Rle.from_coco(value)
    path = _picture(folder, name)
    try:
        # Polygons carry no size; only the header is read.
        with Image.open(path) as file:
            width, height = file.size
    except OSError as error:
        raise ValueError(f"polygon target, and its picture {path} cannot be read for its size ({error})") from error
    return masks.from_segmentation(value, height, width)


def _picture(folder: Path, name: str) -> Path:
    places = [folder / name, folder.parent / name, folder.parent / "coco" / name]
    return next((place for place in places if place.is_file()), places[0])
