"""Rewards of reinforcement learning on mask words, as pure functions of two texts.

In: an answer and the right answer. Out: a share 0..1. No picture, mask or model takes part, so nothing here imports
torch. The rules are those of SAMTok (arXiv 2601.16093, `rl/reward_function/text2mask.py`); `matched_answer_reward` is a
corrected variant under a name of its own.

Every function takes any text and never raises. The released code stops with a division by zero where neither text has
a grounded phrase or a triplet; here such an answer earns 1, as it does where neither text has a mask. An answer that
is None, as the released code hands on when it finds no answer part, earns 0.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from samtok_eval.errors import UsageError
from samtok_eval.mask_tokens import split_thinking
from samtok_eval.metrics.token_match import token_match

Reward = Callable[[str | None, str], float]
"""(answer, right answer) -> 0..1."""

SAME, SAME_BUT_LAST, SAME_FIRST, OTHER = 1.0, 0.8, 0.4, 0.0
MOST_REPEATS, MOST_TRIPLET_REPEATS = 3, 2
LABELS_SHARE, NODE_SHARE = 0.5, 0.25
"""What a triplet with the right three names earns, and what each of its two masks adds at most."""

_SPAN = re.compile(r"<\|mt_start\|><\|mt_[0-9]{4}\|><\|mt_[0-9]{4}\|><\|mt_end\|>")
_WORD = re.compile(r"<\|[^|]*\|>")
_PHRASE = re.compile(
    rf"<\|object_ref_start\|>((?:(?!<\|object_ref_).)*)<\|object_ref_end\|>\s*({_SPAN.pattern})", re.DOTALL
)
_NODE = r'\{{\s*"mask_2d"\s*:\s*"(?P<{0}_mask>[^"]*)"\s*,\s*"label"\s*:\s*"(?P<{0}_label>[^"]*)"\s*\}}'
_TRIPLET = re.compile(
    r'\{\s*"subject"\s*:\s*' + _NODE.format("subject") + r'\s*,\s*"predicate"\s*:\s*"(?P<predicate>[^"]*)"\s*,\s*'
    r'"object"\s*:\s*' + _NODE.format("object") + r"\s*\}"
)
_TURN_OF_THOUGHT = re.compile(r"</think>\s*<answer>")


def answer_matching_reward(prediction: str | None, reference: str) -> float:
    """Graded agreement of the mask words, as released.

    Only complete spans count: start, two words of four digits, end. Every distinct span of the answer takes its best
    grade against the spans of the right answer: 1 the same, 0.4 the same first word, else 0; several may take the same
    one. The sum is divided by the larger number of spans, those that are repeated included.

    Args:
        prediction: the answer; None earns 0.
        reference: the right answer.

    Returns:
        0..1; 1 when neither text has a complete span. A reference that holds a span twice cannot be matched fully: it
        gives 0.5 to itself.
    """
    if prediction is None:
        return 0.0
    return _best_grades(_SPAN.findall(prediction), _SPAN.findall(reference))


def matched_answer_reward(prediction: str | None, reference: str) -> float:
    """Graded agreement of the mask words, one to one.

    Differs from `answer_matching_reward` in three ways. Spans are paired one to one, so that two spans of the answer
    cannot both live on one of the reference (1 span of 2 right plus a near copy: 0.5, not 0.7). Repeated spans of a
    reference can be matched, so that every text earns 1 against itself. A malformed span counts as a mask that is
    wrong, so that it is not free, and is no "no target" either.

    Args:
        prediction: the answer; None earns 0.
        reference: the right answer.
    """
    return 0.0 if prediction is None else token_match(prediction, reference)


def grounded_masks_reward(prediction: str | None, reference: str) -> float:
    """`answer_matching_reward` over the spans that follow a marked phrase; the words of the phrase do not matter."""
    if prediction is None:
        return 0.0
    said, true = ([span for _, span in _PHRASE.findall(text)] for text in (prediction, reference))
    return _best_grades(said, true)


def grounded_phrases_reward(prediction: str | None, reference: str) -> float:
    """Distinct phrases of the answer that the reference has too / larger number of phrases.

    A phrase counts where a complete span follows it; case and blanks do not matter.

    Returns:
        0..1; 1 where the reference has none, whatever the answer says.
    """
    if prediction is None:
        return 0.0
    said, true = (
        [" ".join(phrase.lower().split()) for phrase, _ in _PHRASE.findall(text)] for text in (prediction, reference)
    )
    if not true:
        return 1.0
    return len(set(said) & set(true)) / max(len(said), len(true))


def scene_graph_reward(prediction: str | None, reference: str) -> float:
    """Graded agreement of triplets written as JSON objects with the keys in the released order.

    A triplet earns 1 when its text is the same as one of the reference, else, when its three names are those of a true
    triplet, 0.5 + 0.25 x `span_grade` of each node, the best of all such; else 0. Distinct triplets are summed and
    divided by the larger number of triplets.

    Returns:
        0..1; 1 when neither text has a triplet.
    """
    if prediction is None:
        return 0.0
    said, true = list(_TRIPLET.finditer(prediction)), list(_TRIPLET.finditer(reference))
    if not said and not true:
        return 1.0
    by_names: dict[tuple[str, str, str], list[re.Match[str]]] = {}
    for triplet in true:
        by_names.setdefault(_names(triplet), []).append(triplet)
    distinct = {triplet[0]: triplet for triplet in said}
    earned = sum(
        max((_triplet_grade(triplet, other) for other in by_names.get(_names(triplet), ())), default=OTHER)
        for triplet in distinct.values()
    )
    return earned / max(len(said), len(true))


def non_repetition_reward(prediction: str | None, reference: str = "") -> float:
    """1 unless some complete span occurs more than three times."""
    del reference
    return 0.0 if prediction is None else _few_repeats(_SPAN.findall(prediction), MOST_REPEATS)


def triplet_non_repetition_reward(prediction: str | None, reference: str = "") -> float:
    """1 unless some triplet's text occurs more than twice."""
    del reference
    if prediction is None:
        return 0.0
    return _few_repeats([triplet[0] for triplet in _TRIPLET.finditer(prediction)], MOST_TRIPLET_REPEATS)


def format_reward(prediction: str | None, reference: str = "") -> float:
    """1 for `<think>...</think>`, blanks or nothing, `<answer>...</answer>` and nothing else.

    An end word behind it (`<|im_end|>`) breaks the form, as it does in the released code: strip it first.
    """
    del reference
    opening, closing = "<think>", "</answer>"
    if prediction is None or not (prediction.startswith(opening) and prediction.endswith(closing)):
        return 0.0
    inside = prediction[len(opening) : -len(closing)]
    return float(_TURN_OF_THOUGHT.search(inside) is not None)


def constant_reward(prediction: str | None, reference: str = "") -> float:
    """1. The released totals hold it; it changes no advantage."""
    del prediction, reference
    return 1.0


def of_final_answer(reward: Reward) -> Reward:
    """A reward of the answer part of a think/answer reply alone; 0 where no answer part can be told apart."""
    return lambda prediction, reference: reward(_parts(prediction)[1], reference)


def of_thinking(reward: Reward) -> Reward:
    """A reward of the reasoning of a think/answer reply alone; 0 where no answer part can be told apart."""
    return lambda prediction, reference: reward(_parts(prediction)[0], reference)


REWARDS: dict[str, Reward] = {
    "answer_matching": answer_matching_reward,
    "matched_answer": matched_answer_reward,
    "grounded_masks": grounded_masks_reward,
    "grounded_phrases": grounded_phrases_reward,
    "scene_graph": scene_graph_reward,
    "non_repetition": non_repetition_reward,
    "triplet_non_repetition": triplet_non_repetition_reward,
    "format": format_reward,
    "constant": constant_reward,
    "final_answer_matching": of_final_answer(answer_matching_reward),
    "final_non_repetition": of_final_answer(non_repetition_reward),
    "thinking_non_repetition": of_thinking(non_repetition_reward),
}
"""Every reward by name."""

_THINKING = {"final_answer_matching": 1.0, "format": 1.0, "thinking_non_repetition": 1.0, "final_non_repetition": 1.0}
_GROUNDED = {"grounded_masks": 1.0, "grounded_phrases": 1.0, "non_repetition": 1.0}
_PLAIN = {"answer_matching": 1.0, "non_repetition": 1.0, "constant": 1.0}
_GRAPH = {"scene_graph": 1.0, "triplet_non_repetition": 1.0, "constant": 1.0}
SOURCES: dict[str, dict[str, float]] = {
    **dict.fromkeys(("thinking_res", "thinking_gres", "thinking_ver", "reasonseg"), _THINKING),
    "glamm_gcg": _GROUNDED,
    **dict.fromkeys(("padt_gcg", "dw_gcg", "res", "gres", "ver", "coconut_seg"), _PLAIN),
    "psg": _GRAPH,
}
"""Released weights of the rewards by the `source` of a prompt: thinking sources reach 4, all others 3."""


def combined_reward(prediction: str | None, reference: str, weights: Mapping[str, float]) -> float:
    """Weighted sum of rewards.

    Args:
        prediction: the answer.
        reference: the right answer.
        weights: by reward name, e.g. one of `SOURCES`.

    Returns:
        Between 0 and the sum of the weights, where none is negative.

    Raises:
        UsageError: no reward has that name, whatever the texts.
    """
    check_weights(weights)
    return sum(weight * REWARDS[name](prediction, reference) for name, weight in weights.items())


def check_weights(weights: Mapping[str, float], further: Iterable[str] = ()) -> None:
    """Refuse weights of rewards that do not exist.

    Args:
        weights: by reward name.
        further: names of rewards that compare more than two texts.

    Raises:
        UsageError: the message offers near names.
    """
    known = [*REWARDS, *further]
    for name in weights:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4) or known
            raise UsageError(f"no reward is called {name!r}; expected a name such as {', '.join(near)}")


def span_grade(answer: str, truth: str) -> float:
    """How much two spans agree, as released.

    Returns:
        1 the same text; 0.8 the same words but for the last one, or text between them; 0.4 the same but for the last
        two, which in a complete span means the same first code; else 0. Complete spans never get 0.8.
    """
    if answer == truth:
        return SAME
    one, other = _WORD.findall(answer), _WORD.findall(truth)
    if one[:-1] == other[:-1]:
        return SAME_BUT_LAST
    return SAME_FIRST if one[:-2] == other[:-2] else OTHER


def _best_grades(said: Sequence[str], true: Sequence[str]) -> float:
    """`span_grade` of complete spans, the best for every distinct one, in time linear in their number."""
    if not said and not true:
        return 1.0
    known = set(true)
    firsts = {_WORD.findall(span)[1] for span in known}
    earned = sum(
        SAME if span in known else SAME_FIRST if _WORD.findall(span)[1] in firsts else OTHER for span in set(said)
    )
    return earned / max(len(said), len(true))


def _triplet_grade(triplet: re.Match[str], truth: re.Match[str]) -> float:
    if triplet[0] == truth[0]:
        return SAME
    grades = (span_grade(triplet[group], truth[group]) for group in ("subject_mask", "object_mask"))
    return LABELS_SHARE + NODE_SHARE * sum(grades)


def _names(triplet: re.Match[str]) -> tuple[str, str, str]:
    return triplet["subject_label"], triplet["predicate"], triplet["object_label"]


def _few_repeats(found: Sequence[str], most: int) -> float:
    counts: dict[str, int] = {}
    for text in found:
        counts[text] = counts.get(text, 0) + 1
    return float(max(counts.values(), default=0) <= most)


def _parts(prediction: str | None) -> tuple[str | None, str | None]:
    """Reasoning and answer; both None where no answer part can be told apart."""
    if prediction is None:
        return None, None
    thinking, final = split_thinking(prediction)
    return (None, None) if final is None else (thinking, final)
