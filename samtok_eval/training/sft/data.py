"""Conversations files as training samples: every sample is checked, and what cannot be used is counted, not lost.

In: files of `datasets.sft` (JSON list or JSON lines, the released SFT format), or folders of them. Out: turns with
absolute picture paths, and the samples that were left out, with the reason. `FILE%N` takes N percent of a file, as in
the released configurations: 100 and more repeat it floor(N / 100) times, less draws a random subset.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from samtok_eval.datasets.sft import IMAGE_MARK, ROLES, WRITTEN, SftConversation, image_path, in_words_of
from samtok_eval.errors import DataError, TooManyErrorsError, UsageError
from samtok_eval.files import first_problem, numbered_lines, read_json, read_json_lines
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout

CONTROL_WORDS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Words that only the chat template and the processor may write."""
SUFFIXES = (".json", ".jsonl")
EXPECTED = "give a JSON list or JSON lines of conversations"
SHOWN = 3
"""Samples that an error message names."""


class Turn(NamedTuple):
    """One message."""

    role: str
    """`user` or `assistant`."""
    text: str
    """Pictures are written `<image>`."""


@dataclass(frozen=True)
class Conversation:
    """One training sample; every assistant turn is to be learned."""

    pictures: tuple[str, ...]
    """Absolute paths, one per `<image>`, in order."""
    turns: tuple[Turn, ...]
    where: str
    """File and number, for messages."""


class Skipped(NamedTuple):
    """A sample that is left out."""

    where: str
    reason: str


class Source(NamedTuple):
    """A file or folder of conversations, and how much of it is used."""

    path: Path
    percent: int

    @classmethod
    def from_text(cls, text: str) -> Source:
        """`FILE` or `FILE%N`.

        Raises:
            UsageError: the percentage is zero.
        """
        match = re.fullmatch(r"(.+)%(\d+)", text)
        if match is None:
            return cls(Path(text), 100)
        if int(match[2]) == 0:
            raise UsageError(f"--data {text}: expected a percentage above 0; leave the file out instead")
        return cls(Path(match[1]), int(match[2]))

    def files(self) -> list[Path]:
        """The file itself; of a folder every `conversations.json` below it, or else the JSON files in it, by name.

        Raises:
            DataError: nothing there.
        """
        found = [self.path]
        if self.path.is_dir():
            found = sorted(self.path.rglob(WRITTEN)) or sorted(p for p in self.path.iterdir() if p.suffix in SUFFIXES)
        if not found or not found[0].is_file():
            raise DataError(f"no conversations at {self.path}; expected a JSON file, or a folder of them")
        return found


def read_conversations(
    sources: Sequence[Source], data_root: Path | None, seed: int, layout: Layout = DEFAULT_LAYOUT
) -> tuple[list[Conversation], list[Skipped]]:
    """Read and check everything but the pictures themselves.

    Args:
        sources: what to read, in order.
        data_root: where picture paths begin; None: beside each file.
        seed: of random subsets.
        layout: of the mask words.

    Returns:
        The conversations, and the samples that are malformed.

    Raises:
        DataError: a file is missing, or neither a JSON list nor JSON lines.
    """
    kept: list[Conversation] = []
    skipped: list[Skipped] = []
    for source in sources:
        found: list[Conversation] = []
        for file in source.files():
            for number, raw in enumerate(_samples(file)):
                where = f"{file}#{number}"
                try:
                    found.append(_conversation(raw, where, file, data_root, layout))
                except DataError as error:
                    skipped.append(Skipped(where, str(error)))
        kept += _share(found, source.percent, seed)
    return kept, skipped


def refuse_above(skipped: Sequence[Skipped], max_errors: int) -> None:
    """Stop when more samples are unusable than allowed.

    Raises:
        TooManyErrorsError: names the first of them.
    """
    if len(skipped) > max_errors:
        first = "; ".join(f"{item.where}: {item.reason}" for item in skipped[:SHOWN])
        raise TooManyErrorsError(
            f"{len(skipped)} samples cannot be trained on, --max-errors allows {max_errors}: {first}"
            f"{' ...' if len(skipped) > SHOWN else ''}; correct the data, or allow more"
        )


def data_sha256(sources: Sequence[Source]) -> str:
    """Hash of the data files and of how much of each is used."""
    digest = hashlib.sha256()
    for source in sources:
        for file in source.files():
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
        digest.update(f"%{source.percent}".encode())
    return digest.hexdigest()


def _conversation(raw: Any, where: str, file: Path, data_root: Path | None, layout: Layout) -> Conversation:
    """One sample, by the rules of the format and those of the chat template.

    Raises:
        DataError: what is wrong with it.
    """
    if not isinstance(raw, dict):
        raise DataError(f"expected an object, got {type(raw).__name__}")
    # Published files carry further keys, such as the masks that the words stand for.
    known = {name: raw[name] for name in SftConversation.model_fields if name in raw}
    known["id"] = str(known["id"]) if "id" in known else None
    try:
        read = SftConversation.model_validate(known, context=in_words_of(layout))
    except ValidationError as error:
        raise DataError(first_problem(error)) from error
    turns = []
    for utterance in read.conversations:
        for word in CONTROL_WORDS:
            if word in utterance.value:
                raise DataError(f"a {utterance.speaker} turn holds the control word {word}")
        # The harness and the released evaluation put the question directly behind the picture.
        text = utterance.value.replace(f"{IMAGE_MARK}\n", IMAGE_MARK)
        # A newline at an answer's start would melt into the template's own and move the border between them.
        turns.append(Turn(ROLES[utterance.speaker], text.strip() if utterance.speaker == "gpt" else text))
    root = file.parent if data_root is None else data_root
    pictures = tuple(str(image_path(name, file, root).absolute()) for name in read.images)
    return Conversation(pictures, tuple(turns), where)


def _samples(file: Path) -> Sequence[Any]:
    listed = next((line for _, line in numbered_lines(file, EXPECTED)), "").lstrip().startswith("[")
    return read_json(file, EXPECTED) if listed else read_json_lines(file, EXPECTED)


def _share(found: list[Conversation], percent: int, seed: int) -> list[Conversation]:
    if percent >= 100:
        return found * (percent // 100)
    chosen = random.Random(seed).sample(range(len(found)), round(len(found) * percent / 100))
    return [found[i] for i in sorted(chosen)]
