"""Masks of one object have one number on either side of a card; what fits nothing has a number of its own."""

from __future__ import annotations

from samtok_eval.passages import Passage, Words
from samtok_eval.reports.page.objects import objects_of
from samtok_eval.reports.page.pictures import chips
from tests.reports.page.test_page import rle

LEFT, RIGHT = rle(["##..", "##..", "##..", "##.."]), rle(["..##", "..##", "..##", "..##"])
MOST_OF_LEFT, CORNER = rle(["##..", "##..", "##..", "...."]), rle(["...#", "....", "....", "...."])


def test_answers_take_the_numbers_of_what_they_are_matched_with():
    found = objects_of([], [LEFT, RIGHT], [CORNER, MOST_OF_LEFT, MOST_OF_LEFT], [RIGHT], [])
    assert found == {"reference": (0, 1), "prediction": (2, 0, 0), "baseline": (1,)}


def test_the_assignment_gives_each_reference_one_mask():
    # Both fit the left half; the better one has it.
    found = objects_of([], [LEFT], [MOST_OF_LEFT, LEFT], [], [])
    assert found["prediction"] == (1, 0)


def test_one_mask_a_side_needs_no_number_but_where_words_stand_for_it():
    assert objects_of([LEFT], [LEFT], [RIGHT], [], []) == {}
    said = [Passage("answer", ((Words("left", "prediction", 0),),))]
    assert objects_of([LEFT], [LEFT], [RIGHT], [], said) == {"reference": (0,), "prediction": (1,)}
    asked = [Passage("question", ((Words("region", "asked", 0),),))]
    assert objects_of([LEFT], [LEFT], [RIGHT], [], asked) == {"asked": (0,)}


def test_masks_of_another_size_or_without_a_counterpart_are_numbered_by_themselves():
    assert objects_of([], [LEFT], [rle(["#"]), rle(["."])], [], [])["prediction"] == (1, 2)
    assert objects_of([], [], [LEFT, RIGHT], [], [])["prediction"] == (0, 1)


def test_without_a_reference_answers_are_matched_with_the_regions_of_the_question():
    asked = [Passage("question", ((Words("region", "asked", 0),),))]
    said = [*asked, Passage("answer", ((Words("it", "prediction", 0),),))]
    assert objects_of([LEFT, RIGHT], [], [RIGHT, CORNER], [], said)["prediction"] == (1, 2)
    # An answer of several masks has numbers, and the region then has one, too.
    assert objects_of([LEFT], [], [MOST_OF_LEFT, CORNER], [], []) == {"asked": (0,), "prediction": (0, 1)}


def test_what_two_answers_mark_beside_the_reference_has_one_number_where_it_is_one_object():
    found = objects_of([], [LEFT], [CORNER], [RIGHT, CORNER], [], [MOST_OF_LEFT])
    assert found == {"reference": (0,), "prediction": (1,), "baseline": (2, 1), "oracle": (0,)}


def test_numbers_stand_inside_their_masks_and_apart():
    large = rle(["#" * 40] * 40)
    found = chips([large, large, rle(["." * 40] * 40)], 40, 40, [0, 4, 5])
    assert [chip.number for chip in found] == [1, 5]
    (first, second) = found
    assert (first.x - second.x) ** 2 + (first.y - second.y) ** 2 >= 16 and abs(first.x - 20) <= 1
