"""DLC-Bench: points that a judge's replies give a description.

Rules and question texts: `evaluation/eval_model_outputs.py` of describe-anything (arXiv 2504.16072), whose judge is
Llama-3.1-8B-Instruct, text only. The judge sees the description alone, one multiple-choice question at a time; it is
first asked whether the description fits the class at all, and where it says no, no question gives more than 0 points.

Replies are read in two ways: `read_choice` as the official scorer does, `meant_choice` as a person would.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from samtok_eval.errors import UsageError
from samtok_eval.metrics.judging import Judgement, Judging, mean_of_means
from samtok_eval.metrics.ratio import Metric, Ratio
from samtok_eval.prompts import JUDGE_DESCRIPTION
from samtok_eval.sample import Graded, Sample

RECOGNITION = ("Yes", "No")
OFFICIAL_LETTERS = "abcde"
"""The official scorer has no letter for a sixth choice."""
ERROR_MARK = "Error:"
"""Descriptions that begin so are failures of a model's server to the official scorer."""
_LEADING = re.compile(r"\(?([a-z])(?:[.):,]|\s*\n|$)|([b-z])\s")
"""A letter that stands for itself; "a" before a word is an article."""

Reader = Callable[[str, Sequence[str]], int | None]


class Points(NamedTuple):
    """Points of one description."""

    positive: float | None
    """Mean points of the questions about what is there, -1..1; None without such a question."""
    negative: float | None
    """Mean points of the questions about what is not there, -1..1; None without such a question."""
    recognised: bool
    unread: int
    """Replies that name no choice; they give 0 points."""


@cache
def recognition(name: str) -> Graded:
    """The question whether a description fits a class.

    Args:
        name: class name.

    Raises:
        UsageError: the package `inflect` is missing.
    """
    try:
        import inflect
    except ModuleNotFoundError as error:
        raise UsageError("DLC-Bench's questions need inflect; install samtok-eval[caption]") from error
    engine: Any = inflect.engine()
    # The published questions treat every class that ends in s as a plural, "wine glass" too; "bus" is excepted there.
    plural = name.endswith("s") and name != "bus"
    thing = f"{name} or objects" if plural else f"{engine.a(name)} or an object"
    text = (
        f"Is it likely that the {'objects' if plural else 'object'} in the description {'are' if plural else 'is'} "
        f"{thing} of a similar type? Again, It does not have to be an exact match."
    )
    return Graded(text, tuple((choice, 0.0) for choice in RECOGNITION), "recognition")


def asked(description: str, name: str, questions: Sequence[Graded]) -> list[str]:
    """Everything the judge is asked about one description: recognition, then the questions in file order."""
    return [
        JUDGE_DESCRIPTION(
            description=description,
            question=question.question,
            choices="".join(f"{option}\n" for option in _options(question)),
        )
        for question in (recognition(name), *questions)
    ]


def read_choice(reply: str, choices: Sequence[str]) -> int | None:
    """The choice that the official scorer reads in a reply, None where it finds none or stops.

    In this order: the reply is a choice, with or without its letter, or a letter alone; exactly one choice occurs in
    it; it begins with a letter and a full stop; of several choices in it, the one that begins last, on a tie the
    longest; it is part of a choice, the longest of these; it begins with a letter and a line break. Words are not told
    apart: "no" occurs in "noticeable".

    Args:
        reply: the judge's words.
        choices: texts without letters.
    """
    said, plain = _plain(reply), [_plain(choice) for choice in choices]
    for i, (letter, choice) in enumerate(zip(OFFICIAL_LETTERS, plain, strict=False)):
        if said in (choice, f"{letter}. {choice}", letter):
            return i
    if not said or len(choices) > len(OFFICIAL_LETTERS):
        return None
    inside = [i for i, choice in enumerate(plain) if choice in said]
    around = [i for i, choice in enumerate(plain) if said in choice]
    first = OFFICIAL_LETTERS.find(said[0])
    named = first if first < len(choices) else None
    if len(inside) == 1:
        return inside[0]
    if first >= 0 and said[1:2] in ("", "."):
        return named
    if inside:
        return max(inside, key=lambda i: (said.index(plain[i]), len(plain[i])))
    if around:
        return max(around, key=lambda i: len(plain[i]))
    return named if first >= 0 and said[1:2] == "\n" else None


def stops_at(reply: str, choices: Sequence[str]) -> bool:
    """Whether the official scorer stops at a reply: an empty one, a letter of no choice, any to six choices or more."""
    if len(choices) > len(OFFICIAL_LETTERS):
        return True
    said = _plain(reply)
    named = bool(said) and said[0] in OFFICIAL_LETTERS and said[1:2] in ("", ".", "\n")
    return read_choice(reply, choices) is None and (named or not said)


def meant_choice(reply: str, choices: Sequence[str]) -> int | None:
    """The choice that a reply means, None where it cannot be told.

    In this order: the reply is a choice, with or without its letter; exactly one choice occurs in it, word for word; it
    begins with a letter, which "a" before a word is not; of several choices in it, the one that ends last, on a tie the
    longest; it is part of exactly one choice.

    Args:
        reply: the judge's words.
        choices: texts without letters.
    """
    said, plain = _plain(reply), [_plain(choice) for choice in choices]
    letters = string.ascii_lowercase[: len(choices)]
    for i, (letter, choice) in enumerate(zip(letters, plain, strict=False)):
        if said in (choice, f"{letter}. {choice}"):
            return i
    ends = {i: end for i, choice in enumerate(plain) if (end := _last_end(choice, said))}
    if len(ends) == 1:
        return next(iter(ends))
    leading = _LEADING.match(said)
    if leading and (letter := leading[leading.lastindex or 0]) in letters:
        return letters.index(letter)
    if ends:
        return max(ends, key=lambda i: (ends[i], len(plain[i])))
    around = [i for i, choice in enumerate(plain) if _last_end(said, choice)]
    return around[0] if len(around) == 1 else None


def points(replies: Sequence[str], questions: Sequence[Graded], read: Reader = meant_choice) -> Points:
    """Points of one description; a reply that names no choice gives 0.

    Args:
        replies: the judge's, to everything in `asked`.
        questions: of the region, in the same order.
        read: finds the choice that a reply names.
    """
    said = read(replies[0], RECOGNITION)
    recognised = said == 0
    unread = int(said is None)
    by_kind: dict[str, list[float]] = {"positive": [], "negative": []}
    for reply, question in zip(replies[1:], questions, strict=True):
        chosen = read(reply, [text for text, _ in question.choices])
        unread += chosen is None
        earned = 0.0 if chosen is None else question.choices[chosen][1]
        by_kind[question.kind].append(earned if recognised else min(earned, 0.0))
    positive, negative = (sum(kind) / len(kind) if kind else None for kind in by_kind.values())
    return Points(positive, negative, recognised, unread)


def no_points(questions: Sequence[Graded]) -> Points:
    """Points of a description that says nothing, about which no judge is asked: 0 for every kind of question."""
    kinds = {question.kind for question in questions}
    positive, negative = (0.0 if kind in kinds else None for kind in ("positive", "negative"))
    return Points(positive, negative, recognised=False, unread=0)


def official_points(replies: Sequence[str], questions: Sequence[Graded]) -> Points | None:
    """Points of one description by the official scorer, None where it stops.

    It stops at a reply of `stops_at`, where the reply to the question of recognition names no choice, and without a
    question about what is there.

    Args:
        replies: the judge's, to everything in `asked`.
        questions: of the region, in the same order.
    """
    choices = [RECOGNITION, *([text for text, _ in question.choices] for question in questions)]
    if any(stops_at(reply, texts) for reply, texts in zip(replies, choices, strict=True)):
        return None
    found = points(replies, questions, read_choice)
    return None if found.positive is None or read_choice(replies[0], RECOGNITION) is None else found


class GradedQuestions(Judging):
    """The question of recognition, then the graded questions of the region."""

    given = ("dlc_pos", "dlc_neg", "dlc_avg")

    def prompts(self, sample: Sample, caption: str) -> Sequence[str]:
        """Everything that is asked about a caption."""
        return asked(caption, sample.target.labels[0], sample.target.questions)

    def judgement(self, sample: Sample, replies: Sequence[str], *, original: bool) -> Judgement | None:
        """Points for what is there and for what is not."""
        found = (official_points if original else points)(replies, sample.target.questions)
        return None if found is None else _judgement(found)

    def of_empty(self, sample: Sample) -> Judgement:
        """0 for every kind of question."""
        return _judgement(no_points(sample.target.questions))

    def metrics(self, statistics: Mapping[str, Ratio]) -> Mapping[str, Metric]:
        """Both scores, and their mean."""
        means = {name: statistics[name] for name in ("dlc_pos", "dlc_neg") if name in statistics}
        both = {"dlc_avg": mean_of_means(list(means.values()))} if len(means) == 2 else {}
        return {**means, **both}


def _judgement(found: Points) -> Judgement:
    values = {"dlc_pos": found.positive, "dlc_neg": found.negative}
    return Judgement({name: value for name, value in values.items() if value is not None}, found.unread)


def _options(question: Graded) -> list[str]:
    return [f"{letter}. {text}" for letter, (text, _) in zip(string.ascii_uppercase, question.choices, strict=False)]


def _plain(text: str) -> str:
    return text.strip().lower()


def _last_end(part: str, text: str) -> int:
    """Where the last occurrence of a text in another ends, in whole words; 0 without one."""
    if not part or part not in text:
        return 0
    return max((match.end() for match in re.finditer(rf"(?<!\w){re.escape(part)}(?!\w)", text)), default=0)
