"""Reader of SegLLM's own conversations (`mr_*_val.json`), in which every picture and mask is a placeholder.

In: a list of `{"conversations": [{"from": "human" | "gpt", "value"}]}`; in a question `[IMAGE256:picture]` shows the
picture, `[MASK-ENCODE:picture|set|id]` a mask and `[BOX-ENCODE:...]` its box, which is not shown here; in an answer a
mask to find is `[MASK-DECODE:picture|set|id]` or, with one or two masks that it is told by,
`[MASK-DECODE:task:reference:id:picture:set]`. Out: one `Dialogue` per conversation, masks taken from the COCO-style
annotations that the placeholders name.

Rules of the re-packing by which the SAMTok evaluation uses these files (devinxzhang/CycleGRPO,
`collect_segllm_eval_dataset.py`): other brackets are text; a conversation with a missing or unknown annotation id or a
mask without a pixel is left out as a whole. Needs no picture and no model.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.files import MISFITS, read_json, reading, shortened, text
from samtok_eval.masks import Rle
from samtok_eval.sample import Part, Region

logger = logging.getLogger(__name__)

IMAGE_MARK = "<image>\n"
ANNOTATION_FOLDERS = ("annotation_folder", "annotations_folder")
"""As the re-packing and as SegLLM's own instructions call it."""
ANNOTATION_FILES = {
    "refcoco": ("refcoco/instances.json",),
    "refcoco+": ("refcoco+/instances.json",),
    "refcocog": ("refcocog/instances.json",),
    "paco_lvis": ("paco_lvis_v1_val.json", "paco_lvis/annotations/paco_lvis_v1_val.json"),
    "lvis": ("lvis_v1_train.json", "lvis/lvis_v1_train.json"),
}
"""Where the annotations of each set lie below such a folder, likewise."""
_PLACEHOLDER = re.compile(r"\[([^\]]*(?:IMAGE256|MASK-ENCODE|BOX-ENCODE|MASK-DECODE)[^\]]*)\]")
_KINDS = {
    "human": (("image", re.compile("IMAGE256:(.*)$")), ("encode", re.compile("MASK-ENCODE:(.*)$")),
              ("box", re.compile("BOX-ENCODE:(.*)$"))),
    "gpt": (("decode", re.compile("MASK-DECODE:(.*)$")),),
}  # fmt: skip
"""Placeholders of questions and of answers."""
_FIELDS = (5, 6)
"""Of a mask to find with one and with two references."""
_EXPECTED = 'expected {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}, ...]}'


@dataclass(frozen=True)
class Dialogue:
    """One conversation."""

    picture: str
    """As the file names it."""
    turns: tuple[tuple[Part, ...], ...]
    """Questions and answers by turns, a question first; the picture is the text `<image>` with a line end."""
    targets: tuple[tuple[Rle, ...], ...]
    """The masks of each answer, in order; at least one, all of the picture's size."""


class _Named(NamedTuple):
    """A mask by its annotation."""

    collection: str
    id: int | str


class _Draft(NamedTuple):
    """A conversation whose masks are names."""

    picture: str
    turns: tuple[tuple[str | _Named, ...], ...]


class _UnusableError(ValueError):
    """Why a conversation is left out."""


def read_dialogues(content: Sequence[Any], path: Path, folder: Path, limit: int | None = None) -> list[Dialogue]:
    """The conversations of a file that can be used, in order; those left out are counted in a warning.

    Args:
        content: of the conversation file.
        path: of that file, for messages.
        folder: holds the annotation folder.
        limit: how many of the first are given, all by default; masks of the others are not made.

    Raises:
        DataError: another structure, an annotation file is missing or broken, or no conversation can be used.
    """
    reasons: Counter[str] = Counter()
    drafts = []
    for number, entry in enumerate(content):
        try:
            drafts.append(_draft(entry))
        except _UnusableError as error:
            reasons[str(error)] += 1
        except MISFITS as error:
            what = f"{type(error).__name__} {shortened(error)}"
            raise DataError(f"{path}: conversation {number}: {what}; {_EXPECTED}") from error
    known = _masks(drafts, folder)
    found: list[Dialogue] = []
    for draft in drafts:
        if limit is not None and len(found) >= limit:
            break
        try:
            found.append(_dialogue(draft, known))
        except _UnusableError as error:
            reasons[str(error)] += 1
    if not found:
        raise DataError(f"{path} holds no conversation that can be used; {_told(reasons) or _EXPECTED}")
    if reasons:
        logger.warning("%s: %d of %d conversations left out: %s", path, reasons.total(), len(content), _told(reasons))
    return found


def _told(reasons: Counter[str]) -> str:
    return ", ".join(f"{count} because {reason}" for reason, count in reasons.most_common())


def _draft(entry: Any) -> _Draft:
    """Read the placeholders of one conversation."""
    turns = entry["conversations"]
    if [turn["from"] for turn in turns] != ["human", "gpt"] * (len(turns) // 2):
        raise ValueError("questions and answers must alternate")
    pictures: list[str] = []
    found = tuple(tuple(_joined(_read(text(turn["value"]), turn["from"], pictures))) for turn in turns)
    if not pictures or not any(isinstance(part, str) and IMAGE_MARK in part for part in found[0]):
        raise _UnusableError("the first question shows no picture")
    if not all(any(isinstance(part, _Named) for part in answer) for answer in found[1::2]):
        raise _UnusableError("an answer has no mask")
    return _Draft(pictures[-1], found)


def _read(value: str, speaker: str, pictures: list[str]) -> Iterator[str | _Named]:
    """Text and masks of one turn, in order; pictures are noted."""
    end = 0
    for match in _PLACEHOLDER.finditer(value):
        yield value[end : match.start()]
        end = match.end()
        kind, inner = _kind(match[1], speaker)
        if kind == "image":
            pictures.append(inner)
            yield IMAGE_MARK
        elif kind == "encode":
            yield _encoded(inner)
        elif kind == "decode":
            yield _decoded(inner)
    yield value[end:]


def _joined(parts: Iterable[str | _Named]) -> Iterator[str | _Named]:
    """The same parts, neighbouring texts as one and none empty."""
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        if text:
            yield text
        text = ""
        yield part
    if text:
        yield text


def _kind(placeholder: str, speaker: str) -> tuple[str, str]:
    for kind, pattern in _KINDS[speaker]:
        if match := pattern.search(placeholder):
            return kind, match[1]
    raise _UnusableError("a placeholder cannot be read or stands in the wrong turn")


def _encoded(inner: str) -> _Named:
    parts = inner.split("|")
    if len(parts) != 3:
        raise _UnusableError("a placeholder cannot be read or stands in the wrong turn")
    return _name(parts[1], parts[2])


def _decoded(inner: str) -> _Named:
    if ":" not in inner:
        return _encoded(inner)
    parts = inner.split(":")
    if len(parts) not in _FIELDS:
        raise _UnusableError("a placeholder cannot be read or stands in the wrong turn")
    return _name(parts[-1], parts[-3])


def _name(collection: str, number: str) -> _Named:
    """An annotation; ids with a dash or an underscore are texts, all others numbers."""
    if "_" in number or "-" in number:
        return _Named(collection, number)
    try:
        return _Named(collection, int(number))
    except ValueError as error:
        raise _UnusableError("an annotation id is missing") from error


def _masks(drafts: Iterable[_Draft], folder: Path) -> _Masks:
    """The masks that the conversations name, each annotation file read once."""
    wanted: dict[str, set[int | str]] = {}
    for draft in drafts:
        for name in _names(draft):
            wanted.setdefault(name.collection, set()).add(name.id)
    known = _Masks()
    for collection, ids in wanted.items():
        if collection in ANNOTATION_FILES:
            places = [folder / above / file for above in ANNOTATION_FOLDERS for file in ANNOTATION_FILES[collection]]
            known.add(collection, next((place for place in places if place.is_file()), places[0]), ids)
    return known


class _Masks:
    """Masks of COCO-style files, made when first asked for; None where one is unknown or cannot be read."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Path, dict[Any, tuple[int, int]], dict[Any, dict[str, Any]]]] = {}
        self._made: dict[_Named, Rle | None] = {}

    def add(self, collection: str, path: Path, ids: set[int | str]) -> None:
        """Read the file of a set; of a large one only the wanted annotations are kept."""
        content = read_json(path)
        with reading(f"{path} is not a COCO annotation file"):
            sizes = {image["id"]: masks.picture_size(image["height"], image["width"]) for image in content["images"]}
            rows = {row["id"]: row for row in content["annotations"] if row["id"] in ids}
        self._files[collection] = path, sizes, rows

    def get(self, name: _Named) -> Rle | None:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: _Named) -> Rle | None:
        path, sizes, rows = self._files.get(name.collection, (None, {}, {}))
        row = rows.get(name.id)
        if row is None:
            return None
        try:
            return masks.from_segmentation(row["segmentation"], *sizes[row["image_id"]])
        except MISFITS as error:
            why = f"{type(error).__name__} {shortened(error)}"
            logger.warning("%s: annotation %s cannot be read: %s", path, name.id, why)
            return None


def _dialogue(draft: _Draft, known: _Masks) -> Dialogue:
    named = {name: rle for name in _names(draft) if (rle := known.get(name)) is not None}
    if not all(name in named for name in _names(draft)):
        raise _UnusableError("an annotation is unknown or broken")
    if not all(map(masks.area, named.values())):
        raise _UnusableError("a mask has no pixel")
    if len({(rle.height, rle.width) for rle in named.values()}) > 1:
        raise _UnusableError("its masks are of pictures of several sizes")
    turns = tuple(
        tuple(part if isinstance(part, str) else Region(named[part]) for part in turn) for turn in draft.turns
    )
    targets = tuple(tuple(part.mask for part in turn if isinstance(part, Region)) for turn in turns[1::2])
    return Dialogue(draft.picture, turns, targets)


def _names(draft: _Draft) -> Iterator[_Named]:
    return (part for turn in draft.turns for part in turn if isinstance(part, _Named))
