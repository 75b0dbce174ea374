"""Rewards of CycleGRPO: a caption of a region is right when the model finds the region again by the caption alone.

In: a caption, the answers to the grounding question that repeats it, and the region's mask words. Out: rewards 0..12 of
the caption and of each answer. Rules of `projects/rl/reward_function/text2mask.py` (arXiv 2607.11581), under the name
`cyclegrpo` as released; no mask is decoded there, whatever the paper says of IoU. `closed_cycle` closes what lets a
policy earn without describing or finding anything. Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout
from samtok_eval.training.rewards import (
    SOURCES,
    answer_matching_reward,
    has_box,
    has_mask_word,
    non_repetition_reward,
    whole_span_reward,
)

AGREEMENT_WEIGHT = 10.0
"""Of what a caption and its grounding agree on, against 1 for each check of the form."""
MOST_TRIGRAMS = 2
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_NO_WORD = re.compile(r"[^\w\s]")
_EMPTY_THOUGHT = re.compile(r"<think>\s*</think>\s*")
_MEDIA = re.compile(r"<(?:image|video)>|<\|(?:image|video)_pad\|>|<\|vision_(?:start|end)\|>")
_MASK_WORDS = re.compile(r"<?\|?mt_(?:start|end|\d+)\|?>?")


class CaptionReward(NamedTuple):
    """What a caption earns, and for what."""

    agreement: float
    """Mean grade of the answers that it led to, 0..1."""
    non_repetition: float
    """1 unless three words in a row occur more than twice."""
    plain: float
    """1 unless it gives the place away otherwise than by describing it; 0 leaves nothing of the other two."""

    @property
    def total(self) -> float:
        """0..12."""
        return (self.non_repetition + AGREEMENT_WEIGHT * self.agreement) * self.plain + self.plain


class SegmenterReward(NamedTuple):
    """What an answer to the grounding question earns, and for what."""

    agreement: float
    """Its own grade times the mean grade of all answers to the same caption, 0..1."""
    non_repetition: float
    """1 unless some complete span occurs more than three times."""
    whole_span: float
    """1 where some complete span stands in it."""

    @property
    def total(self) -> float:
        """0..12."""
        return AGREEMENT_WEIGHT * self.agreement + self.non_repetition + self.whole_span


def few_trigrams(text: str) -> float:
    """1 unless three words in a row occur more than twice; case and punctuation do not count."""
    words = _NO_WORD.sub(" ", text.lower()).split()
    pairs = list(pairwise(words))
    counts = Counter(pairwise(pairs))
    return float(max(counts.values(), default=0) <= MOST_TRIGRAMS)


def plain(caption: str) -> float:
    """1 unless a box is written out or a Chinese character occurs, as released."""
    return float(not has_box(caption) and _CHINESE.search(caption) is None)


def plain_without_masks(caption: str) -> float:
    """`plain`, but 0 where any mask word is written out."""
    return 0.0 if has_mask_word(caption) else plain(caption)


def repeated(caption: str) -> str:
    """A caption as the grounding question repeats it: without an empty thought and marks of pictures, as released."""
    return _MEDIA.sub("", _EMPTY_THOUGHT.sub("", caption))


def repeated_without_masks(caption: str) -> str:
    """`repeated`, without mask words, which would give the answer away."""
    return _MASK_WORDS.sub("", repeated(caption))


@dataclass(frozen=True)
class Cycle:
    """One variant of the rewards."""

    plain: Callable[[str], float]
    """Whether a caption only describes: 1 or 0."""
    repeated: Callable[[str], str]
    """What of a caption the grounding question repeats."""
    no_target: str
    """Reward, by name, of answers to questions without a target, which are trained on in the same updates."""

    def caption(self, text: str, agreement: float) -> CaptionReward:
        """Reward of a caption.

        Args:
            text: the caption.
            agreement: mean grade of the answers that it led to, 0..1.
        """
        return CaptionReward(agreement, few_trigrams(text), self.plain(text))

    def segmenter(
        self, answer: str, grade: float, agreement: float, layout: Layout = DEFAULT_LAYOUT
    ) -> SegmenterReward:
        """Reward of an answer to the grounding question.

        Args:
            answer: its text.
            grade: how much its mask words agree with the region's, 0..1.
            agreement: mean grade of all answers to the same caption, 0..1.
            layout: of the mask words.
        """
        repetition, whole = non_repetition_reward(answer, layout=layout), whole_span_reward(answer, layout=layout)
        return SegmenterReward(grade * agreement, repetition, whole)


RELEASED = Cycle(plain, repeated, "no_target")
"""Its leak: a caption that repeats the region's own mask words earns everything and hands the answer over."""
CLOSED = Cycle(plain_without_masks, repeated_without_masks, "closed_no_target")
CYCLES: Mapping[str, Cycle] = {"cyclegrpo": RELEASED, "closed_cycle": CLOSED}
"""Variants by name; the name is also that of the reward of captions in a recipe."""

CYCLED = ("denseworld_single", "denseworld_multiple", "dam_cyclegrpo", "None")
"""Sources whose prompts ask for the caption of a region; a released prompt may have none."""


def cycle_sources(name: str) -> dict[str, dict[str, float]]:
    """Weights of the rewards by the source of a prompt, for a variant.

    Sources that were released before and that CycleGRPO's code refuses are left out; so are judged captions and videos.

    Args:
        name: a key of `CYCLES`.
    """
    thinking = ("thinking_res", "thinking_gres", "thinking_ver", "reasonseg")
    return {
        **{source: {name: 1.0} for source in CYCLED},
        "gres_no_target": {CYCLES[name].no_target: 1.0, "non_repetition": 1.0},
        "dam_grounding": {"whole_span": 1.0, "answer_matching": 1.0},
        "gcg": SOURCES["glamm_gcg"],
        **{source: SOURCES[source] for source in thinking},
    }


def cycle_of(weights: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[str, float]]:
    """Variant and weight of the cycle's rewards, by source, of the sources that have them.

    Args:
        weights: of all rewards by name, for every source.
    """
    found = {}
    for source, mine in weights.items():
        for name in (name for name in mine if name in CYCLES):
            found[source] = (name, mine[name])
    return found


def grades(answers: Sequence[str], region: str, layout: Layout = DEFAULT_LAYOUT) -> list[float]:
    """How much the mask words of each answer agree with a region's: same 1, same first code 0.4, else 0, as released.

    Args:
        answers: answers to the grounding question.
        region: the right answer, with the region's mask words.
        layout: of the mask words.
    """
    return [answer_matching_reward(answer, region, layout) for answer in answers]
