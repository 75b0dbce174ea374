"""Conversations for supervised fine-tuning, in the file format of the released SAMTok training code.

One object per conversation: `{"image": path | [paths], "conversations": [{"from": "human" | "gpt", "value": text}]}`
(`docs/TRAIN_VLM.md` of projects/samtok), here with the sample's `id` in front. `<image>` in a human turn stands for the
next picture, the first of them opens the conversation. A file is a JSON list, or JSON lines. What makes a conversation
right is said once, in `SftConversation`, for writing and for reading. Words do not tell their layout: the manifest that
`samtok-eval tokenize` leaves beside a file does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import read_json, read_text, reading, whole_number
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, START, Layout, parse

IMAGE_MARK = "<image>"
SPEAKERS: dict[str, Literal["human", "gpt"]] = {"user": "human", "assistant": "gpt"}
ROLES = {speaker: role for role, speaker in SPEAKERS.items()}
VIEWS = "region_views"
"""Folder beside a conversations file for pictures that the data root does not hold: enlarged views of regions."""
WRITTEN, MANIFEST = "conversations.json", "manifest.json"
"""What `samtok-eval tokenize` calls its files; others lie beside them."""
TOKENIZE_AGAIN = "make it again with another --out"
_STRAY = "<|mt_"
_FENCED = re.compile(r"```json\n(.*?)\n?```", re.DOTALL)
_BLANK = re.compile(r"[ \t\r\n]*")


_LAYOUT = "layout"


def in_words_of(layout: Layout) -> dict[str, Layout]:
    """Context under which pydantic validates conversations whose mask words are of a layout; without it 256x2."""
    return {_LAYOUT: layout}


class Utterance(BaseModel):
    """One turn."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    speaker: Literal["human", "gpt"] = Field(alias="from")
    value: str

    @model_validator(mode="after")
    def _is_right(self, info: ValidationInfo) -> Utterance:
        if not self.value.replace(IMAGE_MARK, "").strip():
            raise ValueError(f"a {self.speaker} turn is empty")
        if self.speaker == "gpt" and IMAGE_MARK in self.value:
            raise ValueError(f"a gpt turn holds {IMAGE_MARK}, which stands for a picture in human turns only")
        _check_mask_words(self.value, (info.context or {}).get(_LAYOUT, DEFAULT_LAYOUT))
        if self.speaker == "gpt":
            _check_json(self.value)
        return self


class SftConversation(BaseModel):
    """One conversation; building one checks it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str | None = None
    """Of the sample; files from elsewhere may have none."""
    image: str | tuple[str, ...]
    """Relative paths: of `region_views/` beside the file, of everything else under the data root."""
    conversations: tuple[Utterance, ...]

    @property
    def images(self) -> tuple[str, ...]:
        """All pictures, in the order of their marks."""
        return (self.image,) if isinstance(self.image, str) else self.image

    @property
    def mask_count(self) -> int:
        """Mask spans in all turns."""
        return sum(turn.value.count(START) for turn in self.conversations)

    def to_line(self) -> str:
        """One line of JSON, without a line end."""
        return self.model_dump_json(by_alias=True, exclude_none=True)

    @model_validator(mode="after")
    def _is_right(self) -> SftConversation:
        speakers = [turn.speaker for turn in self.conversations]
        if not speakers or speakers != ["human", "gpt"] * (len(speakers) // 2):
            raise ValueError(
                f"turns must alternate human, gpt, ... and end with gpt, got {', '.join(speakers) or 'none'}"
            )
        marks = sum(turn.value.count(IMAGE_MARK) for turn in self.conversations)
        if marks != len(self.images):
            raise ValueError(f"{len(self.images)} pictures but {marks} {IMAGE_MARK} marks; there must be one for each")
        if not self.conversations[0].value.startswith(IMAGE_MARK):
            raise ValueError(f"the first turn must begin with {IMAGE_MARK}")
        return self


@dataclass
class SftCounts:
    """What a file holds."""

    conversations: int = 0
    pictures: int = 0
    """Distinct ones of the data root."""
    views: int = 0
    """Distinct ones beside the file."""
    masks: int = 0
    """Mask spans, in questions and answers."""


def layout_of(files: Sequence[Path], named: Layout | None) -> Layout:
    """The one layout of the mask words of some files: of their manifests, else the named one, else 256x2.

    Args:
        files: conversations files.
        named: of the mask tokenizer that the user names, if any.

    Raises:
        UsageError: the files, or a file and the mask tokenizer, are of different layouts.
        DataError: a manifest is broken.
    """
    found = {file: written_layout(file) or named or DEFAULT_LAYOUT for file in files}
    wanted = named or next(iter(found.values()), DEFAULT_LAYOUT)
    for file, layout in found.items():
        if layout != wanted:
            other = f"the mask tokenizer is of {named}" if named else f"{next(iter(found))} of {wanted}"
            raise UsageError(
                f"{file} holds mask words of layout {layout}, {other}; take files of one layout, and name its mask "
                "tokenizer with --tokenizer where no manifest.json lies beside them"
            )
    return wanted


def written_layout(file: Path) -> Layout | None:
    """The layout that the manifest beside a tokenized file names; None for a file without one.

    Raises:
        DataError: the manifest is broken.
    """
    manifest = file.with_name(MANIFEST)
    if file.name != WRITTEN or not manifest.is_file():
        return None
    content = read_json(manifest, TOKENIZE_AGAIN)
    if not isinstance(content, dict) or "tokenizer_sha256" not in content:
        return None
    return noted_layout(content, manifest)


def layout_note(layout: Layout) -> dict[str, list[int]]:
    """The entry of a manifest that says a layout; only others than 256x2 are named, so that older folders go on."""
    return {} if layout == DEFAULT_LAYOUT else {_LAYOUT: [layout.size, layout.depth]}


def noted_layout(content: Mapping[str, Any], where: Path) -> Layout:
    """Inverse of `layout_note`.

    Raises:
        DataError: the entry is no layout.
    """
    with reading(f"{where}: {_LAYOUT}", TOKENIZE_AGAIN):
        size, depth = map(whole_number, content.get(_LAYOUT, (DEFAULT_LAYOUT.size, DEFAULT_LAYOUT.depth)))
        return Layout(size, depth)


def read_sft(path: Path, layout: Layout = DEFAULT_LAYOUT) -> Iterator[tuple[int, SftConversation]]:
    """Conversations of a file, each with the line that it begins in.

    Args:
        path: a JSON list, or JSON lines.
        layout: of its mask words.

    Raises:
        DataError: missing, not JSON, or a conversation is wrong; the message names file and line.
    """
    text = read_text(path, remedy="give a conversations file")
    line, seen = 1, 0
    for start, end in _elements(path, text):
        line, seen = line + text.count("\n", seen, start), start
        yield line, checked(text[start:end], f"{path}:{line}", layout)


def checked(text: str, where: str, layout: Layout = DEFAULT_LAYOUT) -> SftConversation:
    """The conversation that a piece of JSON holds.

    Args:
        text: one JSON object.
        where: named in the error.
        layout: of its mask words.

    Raises:
        DataError: it is no right conversation.
    """
    with reading(where, "tokenize again, or correct the line"):
        return SftConversation.model_validate_json(text, context=in_words_of(layout))


def validate(path: Path, data_root: Path | None = None, layout: Layout = DEFAULT_LAYOUT) -> SftCounts:
    """Check a finished file from its first to its last conversation.

    Args:
        path: as `read_sft`.
        data_root: also check that every picture is there.
        layout: of its mask words.

    Returns:
        What it holds.

    Raises:
        DataError: the first fault, with file and line.
    """
    counts = SftCounts()
    ids: set[str] = set()
    names: set[str] = set()
    for line, conversation in read_sft(path, layout):
        if conversation.id is not None and conversation.id in ids:
            raise DataError(f"{path}:{line}: the id {conversation.id!r} occurs twice; merge the parts again")
        ids |= {conversation.id} if conversation.id is not None else set()
        for name in conversation.images:
            place = image_path(name, path, data_root)
            if data_root is not None and name not in names and not place.is_file():
                raise DataError(f"{path}:{line}: picture {place} is missing; give the data root it was made from")
        names |= set(conversation.images)
        counts.conversations += 1
        counts.masks += conversation.mask_count
    counts.views = sum(name.startswith(f"{VIEWS}/") for name in names)
    counts.pictures = len(names) - counts.views
    return counts


def image_path(name: str, file: Path, data_root: Path | None) -> Path:
    """Where a picture of a conversation lies.

    Args:
        name: as the conversation has it.
        file: the conversations file.
        data_root: where the benchmarks' pictures are; None takes the name as it is.
    """
    if name.startswith(f"{VIEWS}/"):
        return file.parent / name
    return (data_root or Path()) / name


def _check_mask_words(text: str, layout: Layout) -> None:
    rest, end = [], 0
    for span in parse(text, layout):
        if span.status != "ok":
            words = text[span.start : span.end]
            raise ValueError(f"mask words {words!r} are malformed in layout {layout} ({span.status})")
        rest.append(text[end : span.start])
        end = span.end
    if any(_STRAY in piece for piece in [*rest, text[end:]]):
        raise ValueError(f"{_STRAY!r} occurs outside of a whole mask span")


def _check_json(text: str) -> None:
    """The released script wrote mask words into JSON without quotes; no file of ours may."""
    for match in _FENCED.finditer(text):
        try:
            json.loads(match[1])
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the fenced JSON of an answer cannot be read ({error})") from error


def _elements(path: Path, text: str) -> Iterator[tuple[int, int]]:
    """First and last position of every object of a JSON list or of JSON lines."""
    decoder = json.JSONDecoder()
    position = _after_blanks(text, 0)
    listed = text.startswith("[", position)
    position = _after_blanks(text, position + listed)
    more = position < len(text) and not (listed and text[position] == "]")
    while more:
        try:
            _, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            place = error.pos if isinstance(error, json.JSONDecodeError) else position
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            line = text.count("\n", 0, place) + 1
            raise DataError(f"{path}:{line}: {reason}; expected a JSON list or JSON lines of conversations") from error
        yield position, end
        position = _after_blanks(text, end)
        more = text.startswith(",", position) if listed else position < len(text)
        position = _after_blanks(text, position + (listed and more))
    if listed and text[position:].strip() != "]":
        line = text.count("\n", 0, position) + 1
        raise DataError(f"{path}:{line}: expected ',' or the ']' that ends the list; the file is cut off or damaged")


def _after_blanks(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position
