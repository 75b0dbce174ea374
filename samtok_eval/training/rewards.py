"""Rewards of reinforcement learning on mask words, as pure functions of two texts.

In: an answer and the right answer. Out: a share 0..1. No picture, mask or model takes part, so nothing here imports
torch. The rules are those of SAMTok (arXiv 2601.16093, `rl/reward_function/text2mask.py`), quirks included;
`matched_answer_reward`, the rewards of closed phrases and `closed_no_target_reward` are corrected variants under names
of their own. `no_target_reward` and `whole_span_reward` are CycleGRPO's (arXiv 2607.11581, its own `text2mask.py`),
whose rewards of captions and of their grounding are in `cycle.py`.

Every function takes any text and never raises, in time linear in its length. The released code stops with a division by
zero where neither text has a grounded phrase or a triplet; here such an answer earns 1, as it does where neither text
has a mask. An answer that is None, as the released code hands on when it finds no answer part, earns 0.

Mask words are those of 256x2, for which the rules were released, unless a `layout` is given; `rewards_of` gives all
rewards for one. The grade of a span whose first code alone is right stays 0.4, however many codes follow.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import NamedTuple

from samtok_eval.errors import UsageError
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, QWEN_MARKS, SHORTEST_NUMBER, Layout, split_thinking
from samtok_eval.metrics.token_match import token_match
from samtok_eval.prompts import NO_TARGET_ANSWER

Reward = Callable[[str | None, str], float]
"""(answer, right answer) -> 0..1."""

SAME, SAME_BUT_LAST, SAME_FIRST, OTHER = 1.0, 0.8, 0.4, 0.0
MOST_REPEATS, MOST_TRIPLET_REPEATS = 3, 2
LABELS_SHARE, NODE_SHARE = 0.5, 0.25
"""What a triplet with the right three names earns, and what each of its two masks adds at most."""

_WORD = re.compile(r"<\|[^|]*\|>")
_NODE = r'\{\s*"mask_2d"\s*:\s*"[^"]*"\s*,\s*"label"\s*:\s*"[^"]*"\s*\}'
_TRIPLET = re.compile(
    rf'\{{\s*"subject"\s*:\s*{_NODE}\s*,\s*"predicate"\s*:\s*"[^"]*"\s*,\s*"object"\s*:\s*{_NODE}\s*\}}'
)
_BOX = re.compile(r"\[\d+,\s*\d+,\s*\d+,\s*\d+\]")
_MASK_WORD = re.compile(r"mt_(?:start|end|\d)")
"""A word of any layout, also one that is spelled out or cut off."""
NO_TARGET, OTHER_WORDS = 1.0, 0.2
"""What an answer earns that denies the target, and any other."""
_TURN_OF_THOUGHT = re.compile(r"</think>\s*<answer>")


class _Patterns(NamedTuple):
    """How the words of a layout are found in a text."""

    span: re.Pattern[str]
    """A complete span."""
    phrase_end: re.Pattern[str]
    """An end mark and the span behind it."""
    closed_phrase: re.Pattern[str]
    """A phrase up to its own end mark, and the span behind it."""


@cache
def _patterns(layout: Layout) -> _Patterns:
    """Digits of any script count in the released patterns, and words of any length behind a phrase."""
    longest = max(SHORTEST_NUMBER, len(str(layout.count - 1)))
    span, loose = (
        r"<\|mt_start\|>" + rf"<\|mt_\d{digits}\|>" * layout.depth + r"<\|mt_end\|>"
        for digits in (f"{{{SHORTEST_NUMBER},{longest}}}", "+")
    )
    phrase = r"<\|object_ref_start\|>((?:(?!<\|object_ref_).)*)<\|object_ref_end\|>"
    return _Patterns(
        re.compile(span),
        re.compile(rf"<\|object_ref_end\|>\s*({loose})"),
        re.compile(rf"{phrase}\s*({span})", re.DOTALL),
    )


def answer_matching_reward(prediction: str | None, reference: str, layout: Layout = DEFAULT_LAYOUT) -> float:
    """Graded agreement of the mask words, as released.

    Only complete spans count: start, a word of four digits per book, end. Every distinct span of the answer takes its
    best grade against the spans of the right answer: 1 the same, 0.4 the same first word, else 0; several may take the
    same one. The sum is divided by the larger number of spans, those that are repeated included.

    Args:
        prediction: the answer; None earns 0.
        reference: the right answer.
        layout: of the mask words.

    Returns:
        0..1; 1 when neither text has a complete span. A reference that holds a span twice cannot be matched fully: it
        gives 0.5 to itself.
    """
    if prediction is None:
        return 0.0
    return _best_grades(*(_patterns(layout).span.findall(text) for text in (prediction, reference)))


def matched_answer_reward(prediction: str | None, reference: str, layout: Layout = DEFAULT_LAYOUT) -> float:
    """Graded agreement of the mask words, one to one.

    Differs from `answer_matching_reward` in three ways. Spans are paired one to one, so that two spans of the answer
    cannot both live on one of the reference (1 span of 2 right plus a near copy: 0.5, not 0.7). Repeated spans of a
    reference can be matched, so that every text earns 1 against itself. A malformed span counts as a mask that is
    wrong, so that it is not free, and is no "no target" either.

    Args:
        prediction: the answer; None earns 0.
        reference: the right answer.
        layout: of the mask words.
    """
    return 0.0 if prediction is None else token_match(prediction, reference, layout)


def grounded_masks_reward(prediction: str | None, reference: str, layout: Layout = DEFAULT_LAYOUT) -> float:
    """`answer_matching_reward` over the spans that follow a marked phrase, as released.

    The words of the phrase do not matter. `_grounded` says what counts as one.
    """
    if prediction is None:
        return 0.0
    return _best_grades(*([span for _, span in _grounded(text, layout)] for text in (prediction, reference)))


def grounded_phrases_reward(prediction: str | None, reference: str, layout: Layout = DEFAULT_LAYOUT) -> float:
    """Distinct phrases of the answer that the reference has too / larger number of phrases, as released.

    `_grounded` says what counts as a phrase. Case and further blanks do not matter; a phrase without a word is none.

    Returns:
        0..1; 1 where the reference has none, whatever the answer says.
    """
    if prediction is None:
        return 0.0
    return _shared_phrases(
        *([words for words, _ in _grounded(text, layout) if words] for text in (prediction, reference))
    )


def closed_masks_reward(prediction: str | None, reference: str, layout: Layout = DEFAULT_LAYOUT) -> float:
    """`grounded_masks_reward` where a phrase ends at its own end mark and a complete span follows it."""
    if prediction is None:
        return 0.0
    closed = _patterns(layout).closed_phrase
    return _best_grades(*([span for _, span in closed.findall(text)] for text in (prediction, reference)))


def closed_phrases_reward(prediction: str | None, reference: str, layout: Layout = DEFAULT_LAYOUT) -> float:
    """`grounded_phrases_reward` where a phrase ends at its own end mark and a complete span follows it."""
    if prediction is None:
        return 0.0
    both = (_patterns(layout).closed_phrase.findall(text) for text in (prediction, reference))
    return _shared_phrases(*([" ".join(phrase.lower().split()) for phrase, _ in found] for found in both))


def scene_graph_reward(prediction: str | None, reference: str, layout: Layout = DEFAULT_LAYOUT) -> float:
    """Graded agreement of triplets written as JSON objects with the keys in the released order, as released.

    A triplet earns 1 when its text is the same as one of the reference, else, when its three names are those of a true
    triplet, 0.5 + 0.25 x `span_grade` of each node, the best of all such; else 0. Distinct triplets are summed and
    divided by the larger number of triplets. What is no valid JSON, such as a raw line break in a name, is no triplet;
    names are compared unescaped and joined by `#`.

    Returns:
        0..1; 1 when neither text has a triplet.
    """
    if prediction is None:
        return 0.0
    said, true = _triplets(prediction), _triplets(reference)
    if not said and not true:
        return 1.0
    by_names: dict[str, dict[str, _Triplet]] = {}
    for triplet in true:
        by_names.setdefault(triplet.names, {})[triplet.text] = triplet
    distinct = {triplet.text: triplet for triplet in said}
    earned = sum(
        max(
            (_triplet_grade(triplet, other, layout) for other in by_names.get(triplet.names, {}).values()),
            default=OTHER,
        )
        for triplet in distinct.values()
    )
    return earned / max(len(said), len(true))


def non_repetition_reward(prediction: str | None, reference: str = "", layout: Layout = DEFAULT_LAYOUT) -> float:
    """1 unless some complete span occurs more than three times."""
    del reference
    return 0.0 if prediction is None else _few_repeats(_patterns(layout).span.findall(prediction), MOST_REPEATS)


def triplet_non_repetition_reward(prediction: str | None, reference: str = "") -> float:
    """1 unless some triplet's text occurs more than twice."""
    del reference
    if prediction is None:
        return 0.0
    return _few_repeats([triplet.text for triplet in _triplets(prediction)], MOST_TRIPLET_REPEATS)


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


def whole_span_reward(prediction: str | None, reference: str = "", layout: Layout = DEFAULT_LAYOUT) -> float:
    """1 where some complete span stands in the answer, as released."""
    del reference
    return 0.0 if prediction is None else float(_patterns(layout).span.search(prediction) is not None)


def has_box(text: str) -> bool:
    """Whether a box is written out, `[x1, y1, x2, y2]` with whole numbers."""
    return _BOX.search(text) is not None


def has_mask_word(text: str) -> bool:
    """Whether a mask word of whatever layout is written out, complete or not."""
    return _MASK_WORD.search(text) is not None


def no_target_reward(prediction: str | None, reference: str = "") -> float:
    """How well an answer denies that anything matches, as released.

    Masks are not looked for: an answer that marks one earns as much as any other text, and one that denies the target
    and marks it all the same earns 1.

    Returns:
        1 where `No target.` stands in the answer, 0.2 for any other; 0 where a box is written out.
    """
    del reference
    if prediction is None or has_box(prediction):
        return 0.0
    return NO_TARGET if NO_TARGET_ANSWER in prediction else OTHER_WORDS


def closed_no_target_reward(prediction: str | None, reference: str = "") -> float:
    """`no_target_reward`, but 0 where any mask word is written out."""
    return 0.0 if prediction is None or has_mask_word(prediction) else no_target_reward(prediction, reference)


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


def rewards_of(layout: Layout) -> dict[str, Reward]:
    """Every reward by name, on mask words of a layout."""
    matching, repetition = partial(answer_matching_reward, layout=layout), partial(non_repetition_reward, layout=layout)
    return {
        "answer_matching": matching,
        "matched_answer": partial(matched_answer_reward, layout=layout),
        "grounded_masks": partial(grounded_masks_reward, layout=layout),
        "grounded_phrases": partial(grounded_phrases_reward, layout=layout),
        "closed_masks": partial(closed_masks_reward, layout=layout),
        "closed_phrases": partial(closed_phrases_reward, layout=layout),
        "scene_graph": partial(scene_graph_reward, layout=layout),
        "non_repetition": repetition,
        "triplet_non_repetition": triplet_non_repetition_reward,
        "format": format_reward,
        "constant": constant_reward,
        "whole_span": partial(whole_span_reward, layout=layout),
        "no_target": no_target_reward,
        "closed_no_target": closed_no_target_reward,
        "final_answer_matching": of_final_answer(matching),
        "final_non_repetition": of_final_answer(repetition),
        "thinking_non_repetition": of_thinking(repetition),
    }


REWARDS = rewards_of(DEFAULT_LAYOUT)
"""Every reward by name, on mask words of 256x2."""

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


def span_grade(answer: str, truth: str, layout: Layout = DEFAULT_LAYOUT) -> float:
    """How much two spans agree, as released for 256x2.

    Returns:
        1 the same text; 0.8 the same words but for the last one, or text between them; 0.4 the same but for the end
        word and every code behind the first, of 256x2 the last two words; else 0. Complete spans never get 0.8.
    """
    if answer == truth:
        return SAME
    one, other = _WORD.findall(answer), _WORD.findall(truth)
    if one[:-1] == other[:-1]:
        return SAME_BUT_LAST
    return SAME_FIRST if one[: -layout.depth] == other[: -layout.depth] else OTHER


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


def _grounded(text: str, layout: Layout) -> list[tuple[str, str]]:
    """Words and span of every marked phrase, as the released pattern finds them.

    From a start mark a phrase reaches to the next end mark that a span follows, over whatever marks lie between, but
    not over a line break; blanks and line breaks right before the end mark do no harm. Words are what blanks part.
    """
    found = []
    start, last_break, floor = text.find(QWEN_MARKS[0]), -1, 0
    for end in _patterns(layout).phrase_end.finditer(text):
        stop = floor + len(text[floor : end.start()].rstrip())
        last_break = max(last_break, text.rfind("\n", floor, stop))
        floor = end.end()
        if 0 <= start < last_break:
            start = text.find(QWEN_MARKS[0], last_break)
        if start < 0:
            break
        begin = start + len(QWEN_MARKS[0])
        if begin <= end.start():
            words = (word.strip().lower() for word in text[begin:stop].split(" "))
            found.append((" ".join(filter(None, words)), end[1]))
            start = text.find(QWEN_MARKS[0], floor)
    return found


def _shared_phrases(said: Sequence[str], true: Sequence[str]) -> float:
    return len(set(said) & set(true)) / max(len(said), len(true)) if true else 1.0


class _Triplet(NamedTuple):
    text: str
    names: str
    subject_mask: str
    object_mask: str


def _triplets(text: str) -> list[_Triplet]:
    """Triplets in their order, those that a JSON parser refuses left out."""
    found = []
    for match in _TRIPLET.finditer(text):
        try:
            row = json.loads(match[0])
        except json.JSONDecodeError:
            continue
        subject, other = row["subject"], row["object"]
        names = "#".join((subject["label"], row["predicate"], other["label"]))
        found.append(_Triplet(match[0], names, subject["mask_2d"], other["mask_2d"]))
    return found


def _triplet_grade(triplet: _Triplet, truth: _Triplet, layout: Layout) -> float:
    if triplet.text == truth.text:
        return SAME
    masks = ((triplet.subject_mask, truth.subject_mask), (triplet.object_mask, truth.object_mask))
    return LABELS_SHARE + NODE_SHARE * sum(span_grade(answered, true, layout) for answered, true in masks)


def _few_repeats(found: Sequence[str], most: int) -> float:
    counts: dict[str, int] = {}
    for text in found:
        counts[text] = counts.get(text, 0) + 1
    return float(max(counts.values(), default=0) <= most)


def _parts(prediction: str | None) -> tuple[str | None, str | None]:
    """Reasoning and answer; both None where no answer part can be told apart."""
    return (None, None) if prediction is None else split_thinking(prediction)
