"""Conversations -> model inputs with labels on the answers alone.

In: conversations and a processor. Out: right-padded batches whose labels are the assistant's tokens with the end word
and the newline behind it, as in the released training; everything else is -100. Text is rendered by the checkpoint's
own chat template, so that a model is trained on exactly what it is asked later.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from PIL import Image, ImageOps
from torch import Tensor

from samtok_eval.datasets.sft import IMAGE_MARK
from samtok_eval.errors import CheckpointError, DataError
from samtok_eval.images import UNREADABLE, open_image
from samtok_eval.models.checkpoint import bound_pixels
from samtok_eval.training.sft.data import Conversation, Skipped, Turn

IGNORED = -100
OPENING = "<|im_start|>assistant\n"
CLOSING = "<|im_end|>"
TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""
ORIENTATION = 0x0112


class Size(NamedTuple):
    """Of a picture, EXIF orientation applied."""

    width: int
    height: int


class ChatBatches:
    """Renders, tokenizes and labels conversations; called with samples it is a trainer's collator."""

    def __init__(self, processor: Any, min_pixels: int | None, max_pixels: int | None) -> None:
        """Prepare.

        Args:
            processor: of the checkpoint; left as it is.
            min_pixels: least pixels of a picture after the processor's resize; None keeps the checkpoint's.
            max_pixels: most pixels; None keeps the checkpoint's.

        Raises:
            CheckpointError: the chat template does not write answers as Qwen's templates do.
            UsageError: the bounds of pixels exclude each other.
        """
        self.processor = copy.deepcopy(processor)
        bound_pixels(self.processor, min_pixels, max_pixels)
        self.tokenizer = self.processor.tokenizer
        self.opening = self._ids(OPENING)
        self.closing = self._ids(CLOSING)
        self.newline = self._ids("\n")
        self._try_template()

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """One batch.

        Args:
            samples: rows of `as_rows`.

        Returns:
            Model inputs (B, L) and of the pictures, and `labels` int64 (B, L).

        Raises:
            DataError: a picture cannot be read.
        """
        texts = [self.text([Turn(**turn) for turn in sample["turns"]]) for sample in samples]
        pictures = [open_picture(path) for sample in samples for path in sample["images"]]
        batch = dict(
            self.processor(
                text=texts,
                images=pictures or None,
                padding=True,
                padding_side="right",
                return_tensors="pt",
                add_special_tokens=False,
            )
        )
        batch["labels"] = torch.stack([self.labels(row) for row in batch["input_ids"]])
        batch["labels"][batch["attention_mask"] == 0] = IGNORED
        return batch

    def text(self, turns: Sequence[Turn]) -> str:
        """The whole conversation as the chat template writes it, one mark per picture."""
        messages = []
        for turn in turns:
            content: list[dict[str, str]] = []
            for i, text in enumerate(turn.text.split(IMAGE_MARK)):
                content += [{"type": "image"}] if i else []
                content += [{"type": "text", "text": text}] if text else []
            messages.append({"role": turn.role, "content": content})
        return str(self.processor.apply_chat_template(messages, tokenize=False))

    def labels(self, ids: Tensor) -> Tensor:
        """The ids of answers with their end word and newline, -100 elsewhere.

        Args:
            ids: int64 (L,)
        """
        row, labels = ids.tolist(), torch.full_like(ids, IGNORED)
        at = _find(row, self.opening, 0)
        while at is not None:
            start = at + len(self.opening)
            closed = _find(row, self.closing, start)
            end = len(row) if closed is None else closed + len(self.closing)
            if closed is not None and row[end : end + len(self.newline)] == self.newline:
                end += len(self.newline)
            labels[start:end] = ids[start:end]
            at = _find(row, self.opening, end)
        return labels

    def length(self, conversation: Conversation, sizes: dict[str, Size]) -> int:
        """Tokens of a conversation, pictures included, without opening them.

        Args:
            conversation: the sample.
            sizes: of its pictures, by path.
        """
        images = self.processor.image_processor
        merged = images.merge_size**2
        visual: int = sum(
            images.get_number_of_image_patches(sizes[path].height, sizes[path].width) // merged
            for path in conversation.pictures
        )
        # Each mark is one token already.
        return len(self._ids(self.text(conversation.turns))) + visual - len(conversation.pictures)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _try_template(self) -> None:
        turns = [Turn("user", "One?"), Turn("assistant", "Two."), Turn("user", "Three?"), Turn("assistant", "Four.")]
        ids = torch.tensor(self._ids(self.text(turns)))
        learned = self.tokenizer.decode(ids[self.labels(ids) != IGNORED], skip_special_tokens=False)
        expected = f"Two.{CLOSING}\nFour.{CLOSING}\n"
        if learned != expected:
            raise CheckpointError(
                f"with this chat template the answers of a conversation read {learned!r}, expected {expected!r}; "
                f"the template must write each answer as {OPENING!r} + answer + {CLOSING!r}"
            )


def as_rows(conversations: Sequence[Conversation], lengths: Sequence[int]) -> list[dict[str, Any]]:
    """Plain rows for a data set, which the collator reads.

    Args:
        conversations: samples.
        lengths: tokens of each.
    """
    return [
        {"images": list(c.pictures), "turns": [turn._asdict() for turn in c.turns], "length": length}
        for c, length in zip(conversations, lengths, strict=True)
    ]


def open_picture(path: str) -> Image.Image:
    """A picture in RGB, EXIF orientation applied.

    Raises:
        DataError: missing or unreadable.
    """
    try:
        with open_image(path) as file:
            return ImageOps.exif_transpose(file).convert("RGB")
    except UNREADABLE as error:
        raise DataError(f"picture {path} cannot be read ({error}); download it again") from error


def picture_size(path: str, decode: bool) -> Size | str:
    """A picture's size, or why it cannot be read.

    Args:
        path: the file.
        decode: read all of it; a cut-off file is not noticed otherwise.
    """
    try:
        if decode:
            return Size(*open_picture(path).size)
        with open_image(path) as file:
            turned = file.getexif().get(ORIENTATION) in TURNED
            return Size(*(reversed(file.size) if turned else file.size))
    except (*UNREADABLE, DataError) as error:
        return str(error)


def survey(
    conversations: Sequence[Conversation], batches: ChatBatches, max_length: int, decode: bool
) -> tuple[list[Conversation], list[int], list[Skipped]]:
    """Leave out what cannot be trained on: unreadable pictures, and more tokens than the model is to see.

    Under several processes each looks at its share of the pictures.

    Args:
        conversations: well-formed samples.
        batches: counts tokens.
        max_length: most tokens of a sample; none is ever cut.
        decode: read whole pictures, not only their headers.

    Returns:
        The samples that remain, their lengths in tokens, and what was left out.
    """
    sizes = _sizes(sorted({path for c in conversations for path in c.pictures}), decode)
    kept, lengths, skipped = [], [], []
    for item in conversations:
        unread = [f"{path}: {sizes[path]}" for path in item.pictures if isinstance(sizes[path], str)]
        if unread:
            skipped.append(Skipped(item.where, unread[0]))
            continue
        length = batches.length(item, sizes)  # type: ignore[arg-type]
        if length > max_length:
            skipped.append(Skipped(item.where, f"{length} tokens, --max-length allows {max_length}"))
            continue
        kept.append(item)
        lengths.append(length)
    return kept, lengths, skipped


def _sizes(paths: Sequence[str], decode: bool) -> dict[str, Size | str]:
    state = PartialState()
    own = paths[state.process_index :: state.num_processes]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = list(zip(own, threads.map(lambda path: picture_size(path, decode), own), strict=True))
    return dict(gather_object(found))


def _find(row: Sequence[int], wanted: Sequence[int], start: int) -> int | None:
    """Where a run of ids begins, at or behind `start`."""
    for at in range(start, len(row) - len(wanted) + 1):
        if row[at : at + len(wanted)] == wanted:
            return at
    return None
