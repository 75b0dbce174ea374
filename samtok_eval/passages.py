"""What a card says about a sample beside its picture: texts whose words may stand for masks.

In: a sample and what came back. Out: `Passage`s of plain values. A task decides which passages fit it
(`Task.passages`); pages decide how they look, and set words that stand for a mask in the colour of that mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from samtok_eval.mask_tokens import DEFAULT_LAYOUT, GLAMM_MARKS, QWEN_MARKS, Layout, Span, final_part, parse
from samtok_eval.masks import Rle
from samtok_eval.prediction import Prediction
from samtok_eval.sample import Crop, Region, Sample

Side = Literal["asked", "reference", "prediction", "baseline", "oracle"]
RIGHT, WRONG = "✓ ", "✗ "
MASK = "▣"
"""Stands for a mask where it was written without a phrase."""
MOST_LINES, MOST_CHARACTERS = 60, 20_000
"""Lines of one passage, and characters of an answer that are read for one."""


class Words(NamedTuple):
    """A piece of a line."""

    text: str
    side: Side | None = None
    """Whose mask the words stand for; None for words that stand for none."""
    mask: int = 0
    """Index of that mask among those of the side."""


Line: TypeAlias = tuple[Words, ...]


class Passage(NamedTuple):
    """Lines under a title."""

    title: str
    lines: tuple[Line, ...]


class Exchange(NamedTuple):
    """One question to a judge."""

    asked: str
    reply: str | None
    """None where none is kept."""


@dataclass(frozen=True)
class Answer:
    """What came back about a sample."""

    side: Side
    """`prediction` or `baseline`."""
    prediction: Prediction | None
    masks: tuple[Rle, ...] = ()
    """Those that the protocol reads from it."""
    codes: tuple[str, ...] = ()
    """`Codes.key` of each of the masks; empty for masks that came without codes."""
    judged: Sequence[Exchange] = ()
    """What a judge is asked about it, and replied."""

    @property
    def text(self) -> str:
        """The answer as it was written; empty where there is none."""
        return (self.prediction.text or "") if self.prediction else ""

    @property
    def title(self) -> str:
        """Head of a passage that holds the answer."""
        return "answer" if self.side == "prediction" else "the baseline's answer"


def passage(title: str, lines: Iterable[Line]) -> list[Passage]:
    """A passage of its first lines, none where nothing would stand in it."""
    kept = [line for line in lines if any(words.text.strip() for words in line)]
    more = len(kept) - MOST_LINES
    shown = [*kept[:MOST_LINES], *([(Words(f"… {more} more lines"),)] if more > 0 else [])]
    return [Passage(title, tuple(shown))] if shown else []


def plain(title: str, *texts: str) -> list[Passage]:
    """A passage of texts without masks, one a line."""
    return passage(title, [(Words(text),) for text in texts])


def question(sample: Sample) -> list[Passage]:
    """What was asked: one passage, or one for each round of a dialogue, the earlier answers in it."""
    rounds = sum(turn.role == "user" for turn in sample.turns)
    found: list[Passage] = []
    lines: list[Line] = []
    regions: list[Rle] = []
    for turn in sample.turns:
        if turn.role == "user" and lines:
            found += passage(f"round {len(found) + 1}", lines)
            lines = []
        words = [] if rounds < 2 else [Words(f"{turn.role}: ")]
        for part in turn.parts:
            if isinstance(part, Region):
                # An enlarged view shows a region again.
                place = regions.index(part.mask) if part.mask in regions else len(regions)
                regions.append(part.mask)
                words.append(Words("region", "asked", place))
            else:
                shown = " [enlarged view] " if isinstance(part, Crop) else " [further picture] "
                words.append(Words(in_short(part) if isinstance(part, str) else shown))
        lines.append(tuple(words))
    return found + passage(f"round {len(found) + 1}, the question" if rounds > 1 else "question", lines)


def in_short(text: str, layout: Layout = DEFAULT_LAYOUT) -> str:
    """A text whose mask words stand as codes, e.g. `▣(84, 61)`; those that cannot be read stay as they are.

    Args:
        text: a question or an earlier answer.
        layout: of its mask words.
    """
    found, position = [], 0
    for span in parse(text[:MOST_CHARACTERS], layout):
        if span.codes is not None:
            found += [text[position : span.start], f"{MASK}({span.codes.key.replace(',', ', ')})"]
            position = span.end
    return "".join([*found, text[position:]])


def in_words(answer: Answer, layout: Layout = DEFAULT_LAYOUT) -> Line:
    """The final answer without mask words, phrases in the place of their masks.

    A phrase that no mask follows stays plain; a mask without a phrase stands as `MASK`, one that was not decoded as
    `MASK` in brackets.

    Args:
        answer: what came back.
        layout: of its mask words.
    """
    text = final_part(answer.text)[:MOST_CHARACTERS]
    found: list[Words] = []
    position, following = 0, 0
    for span in parse(text, layout):
        place = _place(answer.codes, span, following)
        before, phrase = _phrase_before(text[position : span.start])
        found.append(Words(before))
        if place is None:
            found.append(Words(f"{phrase} [{MASK}]".strip()))
        else:
            following = place + 1
            found.append(Words(phrase or MASK, answer.side, place))
        position = span.end
    found.append(Words(_unmarked(text[position:])))
    return tuple(words for words in found if words.text)


def _place(codes: Sequence[str], span: Span, start: int) -> int | None:
    """Which mask of an answer a span became; None where the protocol takes none from it."""
    if span.codes is None:
        return None
    # A protocol may fill in a second code or use the first one alone.
    keys = {span.codes.key, span.codes.filled().key, span.codes.up_to(1).key}
    return next((place for place in range(start, len(codes)) if codes[place] in keys), None)


def _phrase_before(text: str) -> tuple[str, str]:
    """What stands before a mask, divided into the text and the phrase that ends it, if one does."""
    bare = text.rstrip()
    for opening, closing in (QWEN_MARKS, GLAMM_MARKS):
        start = text.rfind(opening)
        if bare.endswith(closing) and start >= 0:
            return _unmarked(text[:start]), text[start + len(opening) :].rstrip().removesuffix(closing).strip()
    return _unmarked(text), ""


def _unmarked(text: str) -> str:
    for mark in (*QWEN_MARKS, *GLAMM_MARKS):
        text = text.replace(mark, "")
    return text


def captioned(caption: str, phrases: Sequence[str], side: Side) -> list[Line]:
    """A caption whose phrases stand for masks, and below it the phrases that it does not hold word for word.

    Args:
        caption: plain text.
        phrases: one per mask, in order of mention.
        side: whose masks.
    """
    line: list[Words] = []
    rest, lost = caption, []
    for place, phrase in enumerate(phrases):
        before, here, after = rest.partition(phrase) if phrase else ("", "", "")
        if here:
            line += [Words(before), Words(here, side, place)]
            rest = after
        else:
            lost.append(Words(phrase or MASK, side, place))
    line.append(Words(rest))
    return [tuple(words for words in line if words.text), *([listed(lost)] if lost else [])]


def labelled(labels: Sequence[str], side: Side) -> Line:
    """What the masks of a side are, one after another."""
    return listed([Words(label or MASK, side, place) for place, label in enumerate(labels)])


def listed(items: Sequence[Words]) -> Line:
    """Words one after another, with commas between them."""
    found: list[Words] = []
    for item in items:
        found += [Words(", "), item] if found else [item]
    return tuple(found)
