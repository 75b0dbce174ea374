"""Rewards on mask words: the released values, the corrected variant, and texts on which released code stops."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samtok_eval.errors import UsageError
from samtok_eval.mask_tokens import END, START, render
from samtok_eval.training.rewards import (
    REWARDS,
    SOURCES,
    answer_matching_reward,
    check_weights,
    closed_phrases_reward,
    format_reward,
    grounded_masks_reward,
    grounded_phrases_reward,
    matched_answer_reward,
    non_repetition_reward,
    scene_graph_reward,
    span_grade,
    triplet_non_repetition_reward,
)
from tests.support.timing import LINEAR, growth


def span(first, second):
    """A span by the numbers of its two words."""
    return f"{START}<|mt_{first:04d}|><|mt_{second:04d}|>{END}"


ONE, TWO = span(1, 300), span(2, 301)
PHRASE_START, PHRASE_END = "<|object_ref_start|>", "<|object_ref_end|>"
BOTH = ONE + TWO
# ---- values of the released reward, measured; right answer (1, 300), (2, 301) unless another is given ----
RELEASED = [
    (BOTH, BOTH, 1.0),
    (ONE, BOTH, 0.5),
    (span(1, 305) + TWO, BOTH, 0.7),
    (ONE * 2, ONE, 0.5),
    (ONE + span(1, 305), ONE, 0.7),
    (ONE + span(8, 308) + span(9, 309), ONE, 0.3333),
    (span(1, 305) + span(1, 306), ONE, 0.4),
    (span(300, 1), ONE, 0.0),
    (f"{START}<|mt_0001|>{END}", ONE, 0.0),
    (f"{START}<|mt_0001|><|mt_0300|>", ONE, 0.0),
    ("No target.", "No target.", 1.0),
    (ONE, "No target.", 0.0),
    ("No target.", ONE, 0.0),
    (None, ONE, 0.0),
    (ONE * 2, ONE * 2, 0.5),
]


@pytest.mark.parametrize(("said", "true", "value"), RELEASED)
def test_answer_matching_as_released(said, true, value):
    assert answer_matching_reward(said, true) == pytest.approx(value, abs=5e-5)


@pytest.mark.parametrize(
    ("said", "true", "value"),
    [
        (BOTH, BOTH, 1.0),
        (span(1, 305) + TWO, BOTH, 0.7),
        (ONE + span(1, 305), ONE, 0.5),
        (span(1, 305) + span(1, 306), ONE, 0.2),
        (ONE * 2, ONE * 2, 1.0),
        (f"{START}<|mt_0001|>", "No target.", 0.0),
        (f"{ONE}{START}<|mt_0001|>", ONE, 0.5),
        (None, "No target.", 0.0),
    ],
)
def test_the_matched_variant_pairs_one_to_one_and_counts_malformed_spans(said, true, value):
    assert matched_answer_reward(said, true) == pytest.approx(value)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (ONE, 1.0),
        (ONE.replace("<|mt_0300|>", " <|mt_0300|>"), 0.8),
        (ONE.replace(END, "<|im_end|>"), 0.8),
        (span(1, 305), 0.4),
        (span(2, 300), 0.0),
        ("", 0.0),
    ],
)
def test_grades_of_one_span(answer, value):
    assert span_grade(answer, ONE) == value


def grounded(*pairs):
    return "".join(f"a <|object_ref_start|>{phrase}<|object_ref_end|>{words} " for phrase, words in pairs)


TRUE_CAPTION = grounded(("red  Circle", ONE), ("square", f"\n {TWO}"))


@pytest.mark.parametrize(
    ("said", "masks", "phrases"),
    [
        (TRUE_CAPTION, 1.0, 1.0),
        (grounded(("dog", ONE), ("cat", TWO)), 1.0, 0.0),
        (grounded((" red circle ", span(1, 309))), 0.2, 0.5),
        (grounded(("square", ONE), ("square", ONE)), 0.5, 0.5),
        (f"no phrase {ONE}{TWO}", 0.0, 0.0),
        ("", 0.0, 0.0),
        (None, 0.0, 0.0),
    ],
)
def test_grounded_captions_earn_masks_and_phrases_apart(said, masks, phrases):
    assert grounded_masks_reward(said, TRUE_CAPTION) == pytest.approx(masks)
    assert grounded_phrases_reward(said, TRUE_CAPTION) == pytest.approx(phrases)


def triplet(subject=ONE, subject_label="dog", predicate="on", obj=TWO, object_label="grass"):
    return {
        "subject": {"mask_2d": subject, "label": subject_label},
        "predicate": predicate,
        "object": {"mask_2d": obj, "label": object_label},
    }


def graph(*triplets):
    return f"```json\n{json.dumps(list(triplets))}\n```"


OTHER = triplet(span(5, 400), "cat", "beside", span(6, 401), "dog")


@pytest.mark.parametrize(
    ("said", "true", "value"),
    [
        (graph(triplet(), OTHER), graph(triplet(), OTHER), 1.0),
        (graph(triplet()), graph(triplet(), OTHER), 0.5),
        (graph(triplet(subject=span(1, 305))), graph(triplet(), OTHER), 0.425),
        (graph(triplet(subject_label="cow")), graph(triplet()), 0.0),
        (graph(triplet(), triplet(), triplet()), graph(triplet()), 0.333),
        (graph(triplet(subject="x", obj="y")), graph(triplet()), 0.5),
        (None, graph(triplet()), 0.0),
    ],
)
def test_scene_graphs_as_released(said, true, value):
    assert scene_graph_reward(said, true) == pytest.approx(value, abs=5e-4)


def test_a_triplet_with_its_keys_in_another_order_is_not_read():
    swapped = {"predicate": "on", **{k: v for k, v in triplet().items() if k != "predicate"}}
    assert scene_graph_reward(graph(swapped), graph(triplet())) == 0


def test_more_than_three_equal_spans_or_two_equal_triplets_are_repetition():
    assert [non_repetition_reward(text) for text in (ONE * 3 + TWO, ONE * 4, "", None)] == [1, 0, 1, 0]
    thrice = graph(triplet(), triplet(), triplet())
    assert [triplet_non_repetition_reward(t) for t in (graph(triplet(), triplet()), thrice, None)] == [1, 0, 0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<think>a</think><answer>b</answer>", 1),
        ("<think></think>\n\n<answer>\nb\n</answer>", 1),
        ("<think>a</think><answer>b</answer><|im_end|>", 0),
        ("so <think>a</think><answer>b</answer>", 0),
        ("<think>a</think> so <answer>b</answer>", 0),
        ("<answer>b</answer>", 0),
        ("<think></answer>", 0),
        ("", 0),
        (None, 0),
    ],
)
def test_the_think_answer_form(text, value):
    assert format_reward(text) == value


def total(prediction, reference, weights):
    return sum(weight * REWARDS[name](prediction, reference) for name, weight in weights.items())


def test_released_totals_by_source():
    thinking = f"<think>{ONE}</think><answer>{ONE}</answer>"
    assert total(thinking, ONE, SOURCES["thinking_gres"]) == 4
    assert total(ONE, ONE, SOURCES["thinking_gres"]) == 0
    assert total(f"<think>{ONE * 4}</think><answer>{ONE}</answer>", ONE, SOURCES["reasonseg"]) == 3
    assert total(TRUE_CAPTION, TRUE_CAPTION, SOURCES["glamm_gcg"]) == 3
    assert total("No target.", "No target.", SOURCES["gres"]) == 3
    assert total(graph(triplet()), graph(triplet()), SOURCES["psg"]) == 3


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="no reward is called 'answer_maching'; expected a name such as answer_match"):
        check_weights({"answer_maching": 1})


@pytest.mark.parametrize("name", ["grounded_masks", "grounded_phrases", "scene_graph"])
def test_where_released_code_divides_by_zero_an_empty_pair_of_answers_earns_1(name):
    assert REWARDS[name]("nothing here", "nor here") == 1


PIECES = st.sampled_from(
    [START, END, "<|mt_0001|>", "<|mt_0300|>", "<|mt_9999|>", "<|mt_", ONE, TWO, "<|object_ref_start|>", "dog",
     "<|object_ref_end|>", "<think>", "</think>", "<answer>", "</answer>", '{"subject": {"mask_2d": "', '", "label": "',
     '"}, "predicate": "', '"}, "object": {', '"}}', "```json", "[", "]", "<|im_end|>", " ", "\n", "\ud800", "é"]
)  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=25).map("".join))


@pytest.mark.parametrize("name", list(REWARDS))
@given(said=st.none() | TEXTS, true=TEXTS)
def test_no_text_raises_and_every_reward_is_a_share(name, said, true):
    assert 0 <= REWARDS[name](said, true) <= 1


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=5), st.data())
def test_order_never_matters_and_equal_answers_earn_1(codes, data):
    shuffled = data.draw(st.permutations(codes))
    others = render(data.draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=5)))
    for reward in (answer_matching_reward, matched_answer_reward):
        assert reward(render(codes), others) == pytest.approx(reward(render(shuffled), others))
        assert reward(others, render(codes)) == pytest.approx(reward(others, render(shuffled)))
    assert matched_answer_reward(render(codes), render(shuffled)) == 1
    if len(set(codes)) == len(codes):
        assert answer_matching_reward(render(codes), render(shuffled)) == 1


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        # Over the marks of the next phrase, and into it.
        (f"{PHRASE_START} a {PHRASE_END} and {PHRASE_START} b {PHRASE_END} {ONE}", ["a <|object_ref_end|> and "
         "<|object_ref_start|> b"]),
        # Not over a line break, which does no harm right before the end mark.
        (f"{PHRASE_START} a\n{PHRASE_START} b \n {PHRASE_END} {ONE}", ["b"]),
        # An end mark that nothing opened, behind one that was.
        (f"\n{PHRASE_START}{PHRASE_END}{ONE}{PHRASE_END}{ONE}", []),
        (f"{PHRASE_START} A  \tDog {PHRASE_END}\n{ONE}", ["a dog"]),
    ],
)  # fmt: skip
def test_released_phrases_run_over_marks_but_not_over_line_breaks(text, phrases):
    reference = "".join(f"{PHRASE_START}{phrase}{PHRASE_END}{ONE}" for phrase in phrases)
    assert grounded_phrases_reward(text, reference) == 1
    assert grounded_phrases_reward(reference, text) == 1
    assert closed_phrases_reward(f"{PHRASE_START} a {PHRASE_END} and {PHRASE_START} b {PHRASE_END} {ONE}",
                                 f"{PHRASE_START}b{PHRASE_END}{ONE}") == 1  # fmt: skip


@pytest.mark.parametrize("name", [name for name in REWARDS if name != "constant"])
@pytest.mark.parametrize(
    "piece",
    [PHRASE_START, PHRASE_END, f"{PHRASE_START}\n", f"{PHRASE_START}a{PHRASE_END}{ONE}", f"{PHRASE_END} ", "\n", ONE],
)
def test_time_is_in_proportion_to_the_length_of_the_texts(name, piece):
    assert growth(lambda count: partial(REWARDS[name], piece * count, piece * count), 4_000) < LINEAR


@pytest.mark.parametrize(
    "piece", ["<|object_ref_start|>", '{"subject": {', "<think>", "<answer>", "</think>", START + "<|mt_0001|>"]
)
def test_long_nonsense_is_read_in_no_time(piece):
    text = piece * 5000
    assert all(0 <= reward(text, text) <= 1 for reward in REWARDS.values())


def test_rewards_need_no_torch():
    command = "import sys, samtok_eval.training.rewards; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0
