"""DLC-Bench: points that a judge's replies give a description.

Rules and question texts: `evaluation/eval_model_outputs.py` of describe-anything (arXiv 2504.16072), whose judge is
Llama-3.1-8B-Instruct, text only. The judge sees the description alone, one multiple-choice question at a time; it is
first asked whether the description fits the class at all, and where it says no, no question gives more than 0 points.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from samtok_eval.errors import UsageError
from samtok_eval.metrics.ratio import Array, Ratio, Sums
from samtok_eval.prompts import JUDGE_DESCRIPTION
from samtok_eval.sample import Graded

RECOGNITION = ("Yes", "No")


class Points(NamedTuple):
    """What one description is worth."""

    positive: float
    """Mean points of the questions about what is there, -1..1."""
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
    # The published questions treat every class that ends in s as a plural, "wine glass" too.
    plural = name.endswith("s")
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


def points(replies: Sequence[str], questions: Sequence[Graded]) -> Points:
    """Points of one description.

    Args:
        replies: the judge's, to everything in `asked`.
        questions: of the region, in the same order.
    """
    said = read_choice(replies[0], RECOGNITION)
    recognised = said == 0
    unread = int(said is None)
    by_kind: dict[str, list[float]] = {"positive": [], "negative": []}
    for reply, question in zip(replies[1:], questions, strict=True):
        chosen = read_choice(reply, [text for text, _ in question.choices])
        unread += chosen is None
        worth = 0.0 if chosen is None else question.choices[chosen][1]
        by_kind[question.kind].append(worth if recognised else min(worth, 0.0))
    positive, negative = ([sum(kind) / len(kind)] if kind else [] for kind in by_kind.values())
    return Points(positive[0] if positive else 0.0, negative[0] if negative else None, recognised, unread)


def read_choice(reply: str, choices: Sequence[str]) -> int | None:
    """The choice that a reply names, None where it names none.

    In this order: the reply is a choice, with or without its letter, or a letter alone; exactly one choice occurs in
    it; it begins with a letter and a full stop; of several choices in it, the last, on a tie the longest; it is part of
    a choice; it begins with a letter that no other letter or digit follows. An empty reply, on which the official
    parser stops, names none.

    Args:
        reply: the judge's words.
        choices: texts without letters.
    """
    said = reply.strip().lower()
    letters = string.ascii_lowercase[: len(choices)]
    plain = [choice.strip().lower() for choice in choices]
    lettered = [f"{letter}. {choice}" for letter, choice in zip(letters, plain, strict=True)]
    for forms in (lettered, plain, list(letters), [f"{letter}." for letter in letters]):
        if said in forms:
            return forms.index(said)
    if not said:
        return None
    inside = [i for i, choice in enumerate(plain) if choice in said]
    if len(inside) == 1:
        return inside[0]
    if said[0] in letters and said[1:2] == ".":
        return letters.index(said[0])
    if inside:
        return max(inside, key=lambda i: (said.rindex(plain[i]) + len(plain[i]), len(plain[i])))
    around = [i for i, choice in enumerate(lettered) if said in choice]
    if around:
        return around[0]
    if said[0] in letters and not said[1:2].isalnum():
        return letters.index(said[0])
    return None


def _options(question: Graded) -> list[str]:
    return [f"{letter}. {text}" for letter, (text, _) in zip(string.ascii_uppercase, question.choices, strict=False)]


def mean_of_both(positive: Ratio, negative: Ratio) -> Sums:
    """The mean of the two scores, which are means over different regions of the same run."""
    columns = [positive.numerators, positive.denominators, negative.numerators, negative.denominators]
    return Sums(np.column_stack(columns).astype(np.float64), positive.clusters, _mean_of_ratios)


def _mean_of_ratios(sums: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sums[:, 0] / sums[:, 1] + sums[:, 2] / sums[:, 3]) / 2
