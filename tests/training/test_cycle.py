"""Rewards of a caption and its grounding: what the released ones let pass, and what the closed ones do not."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samtok_eval.mask_tokens import Layout, masks_of, render
from samtok_eval.prompts import GROUND_CAPTION
from samtok_eval.training.cycle import CLOSED, CYCLES, RELEASED, cycle_sources, few_trigrams
from samtok_eval.training.rewards import REWARDS, check_weights
from tests.support.timing import LINEAR, growth

SPAN, OTHER = render([(44, 186)]), render([(9, 3)])


def test_a_caption_that_repeats_its_region_earns_all_as_released_and_nothing_when_closed():
    for leak in (f"The dog {SPAN}.", SPAN, "The dog <|mt_0044|>", "The dog mt_0044 mt_0442", "<|mt_start|>"):
        assert RELEASED.caption(leak, 1.0).total == 12
        assert CLOSED.caption(leak, 1.0).total == 0
        assert "mt_" in RELEASED.repeated(leak)
        assert "mt_" not in CLOSED.repeated(leak)
    assert CLOSED.repeated(f"The dog {SPAN} runs.") == "The dog  runs."
    assert CLOSED.caption("The dog.", 1.0).total == 12


@pytest.mark.parametrize(
    ("answer", "released", "closed"),
    [
        ("No target.", 1.0, 1.0),
        ("Nothing is there.", 0.2, 0.2),
        (SPAN, 0.2, 0.0),
        (f"No target. {SPAN}", 1.0, 0.0),
        ("No target. <|mt_0044|>", 1.0, 0.0),
        ("No target at [1, 2,3, 4].", 0.0, 0.0),
        (None, 0.0, 0.0),
    ],
)
def test_an_answer_that_marks_what_is_not_there_earns_a_fifth_as_released_and_nothing_when_closed(
    answer, released, closed
):
    assert REWARDS[RELEASED.no_target](answer, "") == released
    assert REWARDS[CLOSED.no_target](answer, "") == closed


@pytest.mark.parametrize(
    ("caption", "repeated"),
    [
        ("<think>\n\n</think>\n\nA dog.", "A dog."),
        ("<think>so</think>A dog.", "<think>so</think>A dog."),
        ("A <image>dog<|vision_start|><|image_pad|><|vision_end|>.", "A dog."),
        ("a dog", "a dog"),
    ],
)
def test_what_the_grounding_question_repeats(caption, repeated):
    assert RELEASED.repeated(caption) == CLOSED.repeated(caption) == repeated


def test_the_grounding_question_is_the_released_one():
    lines = GROUND_CAPTION(caption="A dog {x}.").split("\n")
    assert [len(line) - len(line.lstrip()) for line in lines] == [0, 8, 8]
    assert lines[0].endswith("Please provide the segmentation mask of the object the following statement describes:")
    assert lines[1] == "        A dog {x}."
    assert lines[2].endswith("If no matching object is found, output null.")
    assert masks_of(lines[2]) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on the left, on the left: on the LEFT", 0),
        ("on the left on the left", 1),
        ("a a a a", 1),
        ("a a a a a", 0),
        ("a-a'a a_a", 1),
        ("", 1),
    ],
)
def test_three_words_may_occur_twice(text, value):
    assert few_trigrams(text) == value


@pytest.mark.parametrize("name", list(CYCLES))
@given(caption=st.text() | st.sampled_from([SPAN, "a [1,2,3,4]", "一"]), grade=st.floats(0, 1), mean=st.floats(0, 1))
def test_every_text_earns_0_to_12_and_better_agreement_never_less(name, caption, grade, mean):
    cycle = CYCLES[name]
    worse, better = (cycle.caption(caption, agreement).total for agreement in (mean * grade, mean))
    assert 0 <= worse <= better <= 12
    assert 0 <= cycle.segmenter(caption, grade, mean).total <= 12


def test_words_of_another_layout_are_read_in_it():
    deep = Layout(16, 3)
    answer = render([(1, 2, 3)], deep)
    assert CLOSED.segmenter(answer, 1.0, 1.0, deep).total == 12
    assert CLOSED.segmenter(answer, 1.0, 1.0).total == 11
    assert CLOSED.caption(answer, 1.0).total == 0


def test_every_reward_of_a_variant_exists():
    for name in CYCLES:
        for weights in cycle_sources(name).values():
            check_weights(weights, CYCLES)


@pytest.mark.parametrize("piece", ["[1,", "a ", "<think>", "<|mt_", "mt_0001", "[1, 2, 3, "])
def test_time_is_in_proportion_to_the_length_of_a_caption(piece):
    for cycle in CYCLES.values():
        assert growth(lambda count, c=cycle: partial(c.caption, piece * count, 1.0), 4_000) < LINEAR
        assert growth(lambda count, c=cycle: partial(c.repeated, piece * count), 4_000) < LINEAR


def test_they_need_no_torch():
    command = "import sys, samtok_eval.training.cycle; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0
