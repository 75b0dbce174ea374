"""A judge that rates descriptions: against GPT-4's answer (Ferret-Bench), or in four respects (VideoRefer-Bench-D).

Rules and texts: `evaluation/Ferret-Bench/eval_gpt.py` and `summarize_gpt_review.py` of Grasp-Any-Region (e479816),
`ferret/eval/eval_gpt_review_3newclass.py` of Ferret (3c9e5c9), whose text for reasoning is that for descriptions, and
`videorefer_videollama3/evaluation/videorefer_bench_d/` of VideoRefer (cbd4207). Both judges read text alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from samtok_eval.metrics.judge import JudgePrompt
from samtok_eval.metrics.judging import Judgement, Judging, mean_of_means
from samtok_eval.metrics.ratio import Metric, Ratio
from samtok_eval.prompts import JUDGE_ASPECTS, JUDGE_ASPECTS_ROLE, JUDGE_PAIR, JUDGE_PAIR_ROLE
from samtok_eval.sample import CaptionTarget, Sample

RELATIVE = "relative_score"
_OWN, _REFERENCE = "rating", "rating_reference"
ASPECTS = {
    "Subject Correspondence": "videorefer_sc",
    "Appearance Description": "videorefer_ad",
    "Temporal Description": "videorefer_td",
    "Hallucination Detection": "videorefer_hd",
}
AVERAGE = "videorefer_avg"
_SCORED = re.compile(r"\d+\.\s+(.*?):\s+([\d.]+)")
_PLAIN_SCORE = re.compile(r"\W*([0-5](?:\.\d+)?)(?![\d.]*\d)")
_PAIR = re.compile(r"\D*?(\d+(?:\.\d+)?)(?:\s*/\s*10)?[^\d]+(\d+(?:\.\d+)?)(?:\s*/\s*10)?\D*")
_BRACKETS = re.compile(r"\[.*?\]")


class Pairs(Judging):
    """The judge rates GPT-4's answer and the caption from 1 to 10; the score is the ratio of both sums."""

    given = (RELATIVE,)

    def __init__(self, alone: bool = False) -> None:
        """Say how the original reads a reply.

        Args:
            alone: its first line must hold nothing but the ratings, as in Ferret's own script.
        """
        self.alone = alone

    def prompts(self, sample: Sample, caption: str) -> Sequence[JudgePrompt]:
        """Context, question and both answers."""
        said = without_brackets(caption)
        text = JUDGE_PAIR(**CaptionTarget.of(sample).words, model_output=said)
        return [JudgePrompt((text,), JUDGE_PAIR_ROLE, max_tokens=1024, about=(sample.id, said))]

    def judgement(self, sample: Sample, replies: Sequence[str], *, original: bool) -> Judgement:
        """Both ratings. What cannot be read is -1 and -1 for the original, and otherwise left out and counted."""
        pair = original_pair(replies[0], self.alone) if original else meant_pair(replies[0])
        if pair is None:
            return Judgement({}, unread=1)
        return Judgement({_REFERENCE: pair[0], _OWN: pair[1]})

    def of_empty(self, sample: Sample) -> None:
        """The judge is asked about an empty caption, too: its rating of the reference enters the score."""

    def metrics(self, statistics: Mapping[str, Ratio]) -> Mapping[str, Metric]:
        """The ratio of the sums of ratings, the caption's by the reference's."""
        if _OWN not in statistics:
            return {}
        own, reference = statistics[_OWN], statistics[_REFERENCE]
        return {RELATIVE: Ratio(own.numerators, reference.numerators, own.clusters)}


class Aspects(Judging):
    """The judge gives 0 to 5 points in each of four respects."""

    given = (*ASPECTS.values(), AVERAGE)

    def prompts(self, sample: Sample, caption: str) -> Sequence[JudgePrompt]:
        """The right description and the caption."""
        right = CaptionTarget.of(sample).words["caption"]
        text = JUDGE_ASPECTS(caption=right, model_output=caption)
        return [JudgePrompt((text,), JUDGE_ASPECTS_ROLE, max_tokens=800, about=(right, caption))]

    def judgement(self, sample: Sample, replies: Sequence[str], *, original: bool) -> Judgement:
        """Points by aspect. One that cannot be read is left out by the original, and otherwise 0 and counted."""
        if original:
            return Judgement(original_aspects(replies[0]))
        found = meant_aspects(replies[0])
        return Judgement({name: found.get(name, 0.0) for name in ASPECTS.values()}, len(ASPECTS) - len(found))

    def of_empty(self, sample: Sample) -> Judgement:
        """0 points in every respect."""
        return Judgement(dict.fromkeys(ASPECTS.values(), 0.0))

    def metrics(self, statistics: Mapping[str, Ratio]) -> Mapping[str, Metric]:
        """The mean of each aspect, and the mean of these four."""
        means = {name: statistics[name] for name in ASPECTS.values() if name in statistics}
        return {**means, **({AVERAGE: mean_of_means(list(means.values()))} if len(means) == len(ASPECTS) else {})}


def without_brackets(caption: str) -> str:
    """A caption without the boxes in square brackets that follow a blank, as the original takes them out."""
    for found in _BRACKETS.findall(caption):
        caption = caption.replace(f" {found}", "")
    return caption


def original_pair(reply: str, alone: bool = False) -> tuple[float, float]:
    """The first two numbers of the first line, which must begin with them and a single blank or comma between them.

    Args:
        reply: the judge's.
        alone: nothing may follow them in the line.
    """
    words = reply.split("\n")[0].replace(",", " ").split(" ")
    try:
        if alone and len(words) > 2:
            return -1.0, -1.0
        return float(words[0]), float(words[1])
    except (ValueError, IndexError):
        return -1.0, -1.0


def meant_pair(reply: str) -> tuple[float, float] | None:
    """The two numbers from 1 to 10 in the first line that is not blank; None where it holds anything else."""
    lines = reply.strip().split("\n")
    match = _PAIR.fullmatch(lines[0])
    if match is None:
        return None
    pair = float(match[1]), float(match[2])
    return pair if all(1 <= rating <= 10 for rating in pair) else None


def original_aspects(reply: str) -> dict[str, float]:
    """Points as the original reads them: numbered lines, names to the letter; none where a number is broken."""
    try:
        found = {name: float(points) for name, points in _SCORED.findall(reply)}
    except ValueError:
        return {}
    return {ASPECTS[name]: points for name, points in found.items() if name in ASPECTS}


def meant_aspects(reply: str) -> dict[str, float]:
    """Points from 0 to 5 that stand behind the name of an aspect, whatever marks stand around it."""
    found = {}
    for name, metric in ASPECTS.items():
        start = reply.lower().find(name.lower())
        points = _PLAIN_SCORE.match(reply, start + len(name)) if start >= 0 else None
        if points and float(points[1]) <= 5:
            found[metric] = float(points[1])
    return found
