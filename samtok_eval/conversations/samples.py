"""Samples of any task to conversations for fine-tuning: the task's own question and right answer, masks as mask words.

In: the samples of some pictures. Out: for each sample a checked conversation with its enlarged views, or the reason why
there is none. Questions are rendered by `messages.messages`, exactly as a model is asked in an evaluation.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from samtok_eval import masks
from samtok_eval.conversations.mask_pool import MaskPool, Place
from samtok_eval.conversations.recipe import Answers
from samtok_eval.datasets.sft import IMAGE_MARK, SPEAKERS, VIEWS, SftConversation, Utterance, in_words_of
from samtok_eval.errors import DataError
from samtok_eval.files import first_problem
from samtok_eval.images import read_image
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Codes, Layout, parse, render
from samtok_eval.masks import Rle
from samtok_eval.messages import messages
from samtok_eval.regions import JPEG_QUALITY, cut_picture
from samtok_eval.sample import Crop, Frame, Region, Sample, Turn
from samtok_eval.task import Task

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer

_SPAN = re.compile(r"<\|mt_start\|>.*?<\|mt_end\|>")


@dataclass(frozen=True)
class Built:
    """What became of one sample."""

    id: str
    conversation: SftConversation | None = None
    skipped: str | None = None
    """Why there is no conversation."""
    kept_answers: int = 0
    """Earlier answers whose mask words are the file's own, because nothing says which masks they mean."""
    views: dict[str, bytes] = field(default_factory=dict)
    """Names and JPEG files of enlarged views."""


@dataclass
class _Draft:
    """A sample whose masks are in the pool."""

    sample: Sample
    image: NDArray[np.uint8]
    asked: list[list[Place]] = field(default_factory=list)
    """Masks of the question, one list per picture or view, in the order in which `messages` asks for them."""
    written: list[Place] = field(default_factory=list)


def build(
    task: Task, samples: Sequence[Sample], tokenizer: MaskTokenizer, batch_size: int, answers: Answers, data_root: Path
) -> list[Built]:
    """Conversations of samples that are tokenized together.

    Args:
        task: knows the right answers, in words of the layout of `tokenizer`.
        samples: all samples of some pictures.
        tokenizer: encodes every mask, each picture and view once.
        batch_size: pictures that it encodes together.
        answers: form of segmentations.
        data_root: picture paths are written relative to it.

    Returns:
        One result per sample, in order.
    """
    pool = MaskPool(tokenizer, batch_size)
    pictures: dict[Path, NDArray[np.uint8] | DataError] = {}
    drafts: list[_Draft | Built] = []
    for sample in samples:
        try:
            drafts.append(_draft(task, sample, _picture(sample, pictures), pool))
        except DataError as error:
            drafts.append(Built(sample.id, skipped=str(error)))
    pool.encode()
    rounds = {_asked(d.sample, d.sample.turns): d for d in drafts if isinstance(d, _Draft)}
    return [d if isinstance(d, Built) else _finish(task, d, rounds, pool, answers, data_root) for d in drafts]


def right_answer(task: Task, sample: Sample, codes: Sequence[Codes], answers: Answers) -> str:
    """The task's right answer; in form `json`, mask words alone become a fenced list in which each has its phrase.

    Args:
        task: says it.
        sample: the question. One that is itself the phrase, as in multi-round files, has no label to give.
        codes: of each mask of `task.written`.
        answers: the form.
    """
    text = task.answer(sample, codes)
    labelled = sample.phrase and sample.phrase != sample.turns[-1].text
    if answers == "words" or not codes or not labelled or text != render(codes, task.layout):
        return text
    rows = [{"mask_2d": render([entries], task.layout), "label": sample.phrase} for entries in codes]
    return f"```json\n{json.dumps(rows, ensure_ascii=False)}\n```"


def relative_name(path: Path, data_root: Path) -> str:
    """A picture's path under the data root.

    Raises:
        DataError: it lies elsewhere.
    """
    try:
        return path.relative_to(data_root).as_posix()
    except ValueError as error:
        raise DataError(
            f"picture {path} is not under the data root {data_root}; give the folder that holds all pictures"
        ) from error


def _picture(sample: Sample, known: dict[Path, NDArray[np.uint8] | DataError]) -> NDArray[np.uint8]:
    path = sample.image.path
    if path not in known:
        try:
            known[path] = read_image(sample.image)
        except DataError as error:
            known[path] = error
    found = known[path]
    if isinstance(found, DataError):
        raise found
    return found


def _draft(task: Task, sample: Sample, image: NDArray[np.uint8], pool: MaskPool) -> _Draft:
    """Put all masks of a sample into the pool.

    Raises:
        DataError: a mask is empty or of another size than its picture.
    """
    written = task.written(sample)
    regions = [part.mask for turn in sample.turns for part in turn.parts if isinstance(part, Region)]
    for rle in (*regions, *written):
        _check_mask(rle, image)
    portions: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]] = []

    def note(picture: NDArray[np.uint8], several: NDArray[np.bool_]) -> list[Codes]:
        portions.append((picture, several))
        return [Codes(*[0] * task.layout.depth)] * len(several)

    messages(sample.turns, image, note, task.layout)
    if not all(mask.any() for _, several in portions for mask in several):
        raise DataError("a mask is empty in its enlarged view; correct the annotation")
    draft = _Draft(sample, image, [pool.add(picture, several) for picture, several in portions])
    if written:
        draft.written = pool.add(image, np.stack([masks.decode(rle) for rle in written]))
    return draft


def _check_mask(rle: Rle, image: NDArray[np.uint8]) -> None:
    if (rle.height, rle.width) != image.shape[:2]:
        raise DataError(
            f"a mask is {rle.height}x{rle.width}, its picture {image.shape[0]}x{image.shape[1]}; "
            "they are of different releases"
        )
    if masks.area(rle) == 0:
        raise DataError("a mask is empty; correct the annotation")


def _finish(
    task: Task,
    draft: _Draft,
    rounds: dict[tuple[Path, tuple[str, ...]], _Draft],
    pool: MaskPool,
    answers: Answers,
    data_root: Path,
) -> Built:
    sample = draft.sample
    codes = iter([pool.codes(places) for places in draft.asked])
    # The same calls in the same order as when the masks were noted.
    rendered = messages(sample.turns, draft.image, lambda picture, several: next(codes), task.layout)
    texts = ["".join(part if isinstance(part, str) else IMAGE_MARK for part in m.parts) for m in rendered]
    try:
        texts, kept = _with_own_words(task, sample, texts, rounds, pool)
    except DataError as error:
        return Built(sample.id, skipped=str(error))
    # The picture's mark is followed by a line end in the released data.
    texts[0] = f"{IMAGE_MARK}\n{texts[0].removeprefix(IMAGE_MARK)}"
    try:
        views = _views(sample, draft.image)
        names = [relative_name(sample.image.path, data_root), *(name for name, _ in views)]
        turns = [_utterance(m.role, text, task.layout) for m, text in zip(rendered, texts, strict=True)]
        answer = right_answer(task, sample, pool.codes(draft.written), answers)
        conversation = SftConversation.model_validate(
            {
                "id": sample.id,
                "image": names[0] if len(names) == 1 else tuple(names),
                "conversations": (*turns, _utterance("assistant", answer, task.layout)),
            },
            context=in_words_of(task.layout),
        )
    except ValidationError as error:
        return Built(sample.id, skipped=first_problem(error))
    return Built(sample.id, conversation, kept_answers=kept, views=dict(views))


def _with_own_words(
    task: Task,
    sample: Sample,
    texts: Sequence[str],
    rounds: dict[tuple[Path, tuple[str, ...]], _Draft],
    pool: MaskPool,
) -> tuple[list[str], int]:
    """Earlier answers with this tokenizer's words instead of those of the tokenizer that made the file.

    An earlier answer's masks are those of the sample that asks its question. Later turns that repeat its words follow.

    Returns:
        The texts, and how many earlier answers kept their words because no sample asks their question.

    Raises:
        DataError: such words are kept, and the mask tokenizer is of another layout than the file's.
    """
    swaps: dict[str, str] = {}
    found, kept = [], 0
    for k, (turn, text) in enumerate(zip(sample.turns, texts, strict=True)):
        old = [turn.text[span.start : span.end] for span in parse(turn.text)]
        if turn.role == "assistant" and old:
            asker = rounds.get(_asked(sample, sample.turns[:k]))
            own = task.answer(asker.sample, pool.codes(asker.written)) if asker else ""
            new = [own[span.start : span.end] for span in parse(own, task.layout)]
            if len(new) == len(old):
                swaps |= dict(zip(old, new, strict=True))
            else:
                kept += 1
        # Words that were rendered here are this tokenizer's own already.
        found.append(_swapped(text, swaps) if old else text)
        if task.layout != DEFAULT_LAYOUT and not swaps.keys() >= set(old):
            raise DataError(
                f"an earlier turn holds mask words of layout {DEFAULT_LAYOUT}, the mask tokenizer is of {task.layout}, "
                "and no sample asks for the same mask; tokenize without --limit"
            )
    return found, kept


def _swapped(text: str, swaps: dict[str, str]) -> str:
    return _SPAN.sub(lambda match: swaps.get(match[0], match[0]), text)


def _utterance(role: str, text: str, layout: Layout) -> Utterance:
    return Utterance.model_validate({"from": SPEAKERS[role], "value": text}, context=in_words_of(layout))


def _asked(sample: Sample, turns: Sequence[Turn]) -> tuple[Path, tuple[str, ...]]:
    return sample.image.path, tuple(turn.text for turn in turns)


def _views(sample: Sample, image: NDArray[np.uint8]) -> list[tuple[str, bytes]]:
    """Enlarged views and further pictures in the order of their marks, as the JPEG files that a model gets."""
    found = []
    for part in (part for turn in sample.turns for part in turn.parts if isinstance(part, Crop | Frame)):
        buffer = io.BytesIO()
        shown = cut_picture(image, part) if isinstance(part, Crop) else read_image(part.image)
        Image.fromarray(shown).save(buffer, "JPEG", quality=JPEG_QUALITY)
        content = buffer.getvalue()
        found.append((f"{VIEWS}/{hashlib.sha256(content).hexdigest()[:24]}.jpg", content))
    return found
