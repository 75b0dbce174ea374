"""Reader of multi-round referring segmentation, SegLLM's MRSeg sets.

In: `mr_<set>_val_sampled.json`, as the released SAMTok evaluation re-packed them: `{"<round>": [{"image", "history":
[{"from": "human" | "gpt", "value"}], "target_masks": [...]}]}`, with mask words as text; or SegLLM's own
`mr_<set>_val.json` with annotations (`segllm_own`), whose masks stay masks. Out: one `Conversation` per round of each.
"""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from samtok_eval import masks
from samtok_eval.datasets.segllm_own import IMAGE_MARK, Dialogue, read_dialogues
from samtok_eval.datasets.sft import ROLES
from samtok_eval.errors import DataError
from samtok_eval.files import inside, read_json, reading, text
from samtok_eval.images import UNREADABLE, open_image
from samtok_eval.mask_tokens import START
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef, Part, Turn

logger = logging.getLogger(__name__)

CONVERSATION_FOLDERS = ("conversation_folder/all_data_mix_val", "conversations_folder/all_data_mix_val")
"""As the re-packing and as SegLLM's own instructions call it."""
MOST_ROUNDS = 10
"""Rounds of a conversation that the re-packing keeps."""


@dataclass(frozen=True)
class Conversation:
    """A conversation up to the question of one round."""

    round: str
    index: int
    """Within the round."""
    image: ImageRef
    turns: tuple[Turn, ...]
    """The last is the question."""
    targets: tuple[Rle, ...]
    """The masks of the right answer in order, at least one; the released script scores the first alone."""
    first_mask: int
    """Number of its first mask among all that the conversation decodes, from 1: the round as SegLLM counts."""


def read_conversations(data_root: Path, name: str, limit: int | None = None) -> list[Conversation]:
    """All rounds of one set, in file order, or by round for SegLLM's own files.

    Args:
        data_root: holds `segllm/` and `coco/`. A re-packed file is preferred, wherever it lies.
        name: e.g. `mr_refcoco`.
        limit: how many of the first are read, all by default.

    Raises:
        DataError: no such file, another structure, or a polygon target of a re-packed file whose picture is not there
            to give its size.
    """
    folder = data_root / "segllm"
    homes = [folder, *(folder / below for below in CONVERSATION_FOLDERS)]
    candidates = [home / f"{name}_{end}.json" for end in ("val_sampled", "val") for home in homes]
    path = next((candidate for candidate in candidates if candidate.is_file()), candidates[0])
    content = read_json(path)
    if isinstance(content, list):
        dialogues = read_dialogues(content, path, folder, limit)
        with reading(f"{path}: a conversation cannot be used"):
            return _rounds(dialogues, data_root, path)[:limit]
    if not isinstance(content, dict):
        raise DataError(
            f"{path} must map each round to a list of {{image, history, target_masks}}, or be a list of conversations, "
            f"got a {type(content).__name__}; use SegLLM's files or those of the SAMTok evaluation"
        )
    with reading(f"{path}: an entry is not {{image, history, target_masks}}"):
        each = ((str(number), i, entry) for number, entries in content.items() for i, entry in enumerate(entries))
        return [_repacked(*entry, data_root, path) for entry in islice(each, limit)]


def _rounds(dialogues: Sequence[Dialogue], data_root: Path, path: Path) -> list[Conversation]:
    """Round after round, as the re-packing sorts them."""
    late = sum(max(0, len(dialogue.targets) - MOST_ROUNDS) for dialogue in dialogues)
    if late:
        logger.warning("%s: %d rounds beyond the %dth of a conversation left out", path, late, MOST_ROUNDS)
    # A picture that several conversations name has in each the size of that conversation's masks, as in the re-packing.
    images = [_image(data_root, dialogue) for dialogue in dialogues]
    return [
        Conversation(
            str(number),
            i,
            image,
            _asked(dialogue, number),
            dialogue.targets[number - 1],
            1 + sum(map(len, dialogue.targets[: number - 1])),
        )
        for number in range(1, MOST_ROUNDS + 1)
        for i, (dialogue, image) in enumerate(
            pair for pair in zip(dialogues, images, strict=True) if len(pair[0].targets) >= number
        )
    ]


def _asked(dialogue: Dialogue, number: int) -> tuple[Turn, ...]:
    """The turns up to the question of a round, the first being 1."""
    first, *later = dialogue.turns[: 2 * number - 1]
    parts = [_first_question(first), *later]
    return tuple(Turn("assistant" if i % 2 else "user", turn) for i, turn in enumerate(parts))


def _image(data_root: Path, dialogue: Dialogue) -> ImageRef:
    mask = dialogue.targets[0][0]
    return ImageRef(dialogue.picture, _picture(data_root, dialogue.picture), mask.height, mask.width)


def _repacked(number: str, index: int, entry: dict[str, Any], data_root: Path, path: Path) -> Conversation:
    where = f"{path}: entry {number}-{index}"
    turns = tuple(_turns(entry["history"], where))
    if not turns or turns[-1].role != "user":
        raise DataError(f"{where} must end with a human turn; it has nothing to answer")
    name = text(entry["image"])
    with reading(where):
        picture = _picture(data_root, name)
        targets = tuple(_region(value, picture) for value in entry["target_masks"])
    sizes = {(rle.height, rle.width) for rle in targets}
    if len(sizes) != 1:
        raise DataError(f"{where} must have target masks of one size, got {sorted(sizes) or 'none'}")
    before = sum(turn.text.count(START) for turn in turns if turn.role == "assistant")
    return Conversation(number, index, ImageRef(name, picture, *sizes.pop()), turns, targets, before + 1)


def _turns(history: list[dict[str, Any]], where: str) -> Iterator[Turn]:
    for i, turn in enumerate(history):
        if turn["from"] not in ROLES:
            raise DataError(f"{where}: a turn is from human or gpt, got {reprlib.repr(turn['from'])}")
        said = text(turn["value"])
        yield Turn(ROLES[turn["from"]], (said,) if i else _first_question((said,)))


def _first_question(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The first turn without the picture's mark and outer blanks; the released script strips no other turn."""
    found = [part.replace(IMAGE_MARK, "") if isinstance(part, str) else part for part in parts]
    if isinstance(found[0], str):
        found[0] = found[0].lstrip()
    if isinstance(found[-1], str):
        found[-1] = found[-1].rstrip()
    return tuple(part for part in found if part)


def _region(value: Any, picture: Path) -> Rle:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        rles = [Rle.from_coco(rle) for rle in value]
        return masks.union(rles, rles[0].height, rles[0].width)
    if isinstance(value, dict):
        return Rle.from_coco(value)
    try:
        # Polygons carry no size; only the header is read.
        with open_image(picture) as file:
            width, height = file.size
    except UNREADABLE as error:
        raise ValueError(f"polygon target, and its picture {picture} cannot be read for its size ({error})") from error
    return masks.from_segmentation(value, height, width)


def _picture(data_root: Path, name: str) -> Path:
    """A picture by the path in a file, which starts anywhere above `coco/` or in the folder of the conversations.

    Raises:
        ValueError: the path leads out of the data root.
    """
    parts = PurePosixPath(name).parts
    places = [inside(data_root, "/".join(parts[parts.index("coco") :]))] if "coco" in parts else []
    if not places or not name.startswith("/"):
        places += [inside(place, name) for place in (data_root / "segllm", data_root, data_root / "coco")]
    return next((place for place in places if place.is_file()), places[0])
