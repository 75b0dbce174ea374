"""A line of predictions is read fast where nothing in it is odd, and means the same however it is read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from samtok_eval.prediction import Answers, CocoRle, Line, MaskLine, Prediction, read_answer

NUMBERS = st.integers(-2, 300) | st.floats(allow_nan=False) | st.booleans() | st.sampled_from(["1", "1.5", 2**70])
MASKS = st.fixed_dictionaries(
    {"size": st.lists(NUMBERS, min_size=1, max_size=3), "counts": st.text(max_size=3) | st.none()},
    optional={"other": NUMBERS},
)
GOOD_MASKS = st.builds(lambda a, b, c: {"size": [a, b], "counts": c}, *[st.integers(1, 9)] * 2, st.text(max_size=4))
KEYS = st.sampled_from(["1,2", "44,-", "1", "-", "1,2,3", "", "1,٣"])
FIELDS = {
    "text": st.text(max_size=5) | st.none() | NUMBERS,
    "decoded": st.dictionaries(KEYS, GOOD_MASKS | MASKS, max_size=2),
    "masks": st.lists(GOOD_MASKS | MASKS, max_size=2) | st.none(),
    "phrases": st.lists(st.text(max_size=3) | NUMBERS, max_size=2) | st.none(),
    "box": st.lists(NUMBERS, min_size=3, max_size=5) | st.none(),
    "status": st.sampled_from(["ok", "foreign", "fine", None]),
    "error": st.text(max_size=3) | st.none(),
    "seconds": st.dictionaries(st.text(max_size=2), NUMBERS, max_size=2),
    "further": st.none(),
}
LINES = st.fixed_dictionaries({"id": st.text(max_size=4) | NUMBERS}, optional=FIELDS)


def checked(line):
    """What the model makes of a line, or that it is refused."""
    try:
        return Prediction.model_validate_json(line)
    except ValidationError as error:
        return str(error)


def read(line):
    """The same as scoring reads it."""
    try:
        answer = read_answer(line)
    except ValidationError as error:
        return str(error)
    return Answers({"": answer})[""]


def test_lines_have_the_fields_of_predictions():
    for line, model in ((Line, Prediction), (MaskLine, CocoRle)):
        assert line.__struct_fields__ == tuple(model.model_fields)
    assert read(b'{"id": "a"}') == Prediction(id="a")


@given(LINES)
def test_a_line_means_what_the_model_makes_of_it(fields):
    line = json.dumps(fields).encode()
    assert read(line) == checked(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": "a", "id": "b"}', b'{"id": "a", "text": "\x01"}', b'{"id": "a", "text": "\\ud800"}', b'{"id": "\xff"}',
        b'{"id": "a", "seconds": {"generate": NaN}}', b'{"id": "a", "box": [1e999, 0, 0, 0]}', b'{"id": "a"} x', b"",
        b'[]', b'{"id": "a", "decoded": {"1,2": {"size": [2, 2], "counts": "4"}, "1,2": {"size": [1, 1]}}}',
        b'{"id": "a"}\r\n',
        b'{"id": "a", "decoded": {"x": {"size": [2, 2], "counts": "4"}}}', b'{"id": "a", "box": [1, 2, 3, 4.5]}',
    ],
)  # fmt: skip
def test_odd_lines_are_read_alike(line):
    assert str(read(line)) == str(checked(line))


def test_an_answer_is_read_without_the_model_until_it_is_asked_for():
    answers = Answers(
        {"a": read_answer(b'{"id": "a", "masks": [{"size": [2, 2], "counts": "04"}], "box": [1, 2, 3, 4]}')}
    )
    assert isinstance(answers.read["a"], Line)
    made = answers["a"]
    assert made == Prediction(id="a", masks=[CocoRle(size=(2, 2), counts="04")], box=(1, 2, 3, 4))
    assert answers["a"] is made
    assert (list(answers), len(answers), "b" in answers) == (["a"], 1, False)
    assert made.masks[0].rle() == MaskLine((2, 2), "04").rle()
