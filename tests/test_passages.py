"""What cards say: texts whose words stand for masks, read out of answers as they come."""

from __future__ import annotations

from pathlib import Path

import pytest

from samtok_eval.mask_tokens import parse, render
from samtok_eval.passages import MASK, MOST_LINES, Answer, Words, captioned, in_short, in_words, plain, question
from samtok_eval.prediction import Prediction
from samtok_eval.reports.page.cards import conversation
from samtok_eval.sample import Crop, Frame, ImageRef, Region, Sample, Target, Turn
from tests.reports.page.test_page import rle

A, B = render([(1, 2)]), render([(3, 4)])
KEYS = tuple(span.codes.key for span in parse(A + B))


def answer(text, codes=KEYS):
    return Answer("prediction", Prediction(id="1", text=text), codes=codes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", ["plain"]),
        (f"a <p> red dog </p> {A} runs", ["a ", ("red dog", 0), " runs"]),
        (f"<|object_ref_start|>sky<|object_ref_end|>{A} over <p>sea</p>{B}", [("sky", 0), " over ", ("sea", 1)]),
        (f"it is {A}.", ["it is ", (MASK, 0), "."]),
        # A phrase that no mask follows is no phrase of a mask.
        (f"<p>one</p> and {A}", ["one and ", (MASK, 0)]),
        (f"{B}{A}", [(MASK, 1), f"[{MASK}]"]),
        ("<|mt_start|><|mt_9999|><|mt_end|> no mask", [f"[{MASK}]", " no mask"]),
        (f"<think>{A}</think><answer><p>a</p>{B}</answer>", [("a", 1)]),
        ("<b>bold</b> <p>never closed", ["<b>bold</b> never closed"]),
    ],
)
def test_phrases_take_the_place_of_their_masks(text, expected):
    found = [words.text if words.side is None else (words.text, words.mask) for words in in_words(answer(text))]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"left of {A} and {B}.", f"left of {MASK}(1, 2) and {MASK}(3, 4)."),
        ("<|mt_start|><|mt_9999|><|mt_end|>", "<|mt_start|><|mt_9999|><|mt_end|>"),
        ("no mask", "no mask"),
    ],
)
def test_mask_words_of_a_question_stand_as_their_codes(text, expected):
    assert in_short(text) == expected


def test_codes_that_a_protocol_filled_in_are_found():
    assert in_words(answer("<p>a</p><|mt_start|><|mt_0001|><|mt_end|>", ("1,0",)))[0].mask == 0
    assert in_words(answer(f"<p>a</p>{A}", ("1,-",)))[0] == Words("a", "prediction", 0)


def test_phrases_are_looked_for_one_after_another_and_lost_ones_stand_below():
    lines = captioned("a dog and a dog", ["a dog", "a dog", "a cat"], "reference")
    assert lines[0] == (Words("a dog", "reference", 0), Words(" and "), Words("a dog", "reference", 1))
    assert lines[1] == (Words("a cat", "reference", 2),)


def test_a_dialogue_is_told_round_by_round_and_a_region_keeps_its_place_in_an_enlarged_view():
    mask = rle(["##", ".."])
    turns = (
        Turn("user", ("which ", Region(mask), Crop((0, 0, 1, 1), 8, 8), Region(mask))),
        Turn("assistant", (Region(rle(["..", "##"])),)),
        Turn("user", ("and now?",)),
    )
    found = question(Sample("1", ImageRef("1", "/x", 2, 2), turns, Target()))
    assert [passage.title for passage in found] == ["round 1", "round 2, the question"]
    asked = [words.mask for line in found[0].lines for words in line if words.side == "asked"]
    assert asked == [0, 0, 2] and found[1].lines == ((Words("user: "), Words("and now?")),)


def test_very_long_lists_are_cut_and_empty_passages_left_out():
    assert plain("nothing", "", " ") == []
    [found] = plain("many", *map(str, range(MOST_LINES + 7)))
    assert len(found.lines) == MOST_LINES + 1 and found.lines[-1] == (Words("… 7 more lines"),)


def test_enlarged_views_and_further_pictures_are_told_apart():
    image = ImageRef("a", Path("a.png"), 4, 4)
    later = Frame(ImageRef("a 1", Path("b.png"), 4, 4))
    turn = Turn("user", (later, "See ", Crop((0, 0, 2, 2), 4, 4)))
    (asked,) = question(Sample("1", image, (turn,), Target()))
    assert [words.text for words in asked.lines[0]] == [" [further picture] ", "See ", " [enlarged view] "]
    assert conversation(Sample("1", image, (turn,), Target())) == "user: [further picture]See [enlarged view]"
