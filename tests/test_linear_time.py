"""Whatever reads a model's words takes time in proportion to their length, however many marks they hold.

Tried with 16,000 and 32,000 marks of many kinds; the reader of scene graphs, of captions and the rewards have tests of
their own beside them.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import numpy as np
import pytest

from samtok_eval import masks
from samtok_eval.mask_tokens import (
    DEFAULT_LAYOUT,
    END,
    POLICIES,
    START,
    PolicyCrashError,
    parse,
    render,
    split_thinking,
)
from samtok_eval.messages import Message, messages
from samtok_eval.metrics.choices import lenient_letter
from samtok_eval.metrics.token_match import token_match
from samtok_eval.models.backend import request_of
from samtok_eval.reports.markup import one_line
from samtok_eval.run.predict import _with_answer
from samtok_eval.sample import Region, Turn
from samtok_eval.text import visible
from tests.support.timing import LINEAR, growth

MARKS = 16_000
IMAGE = np.zeros((8, 8, 3), dtype=np.uint8)
PIECES = [
    START,
    END,
    "<|mt_0001|>",
    f"{START}<|mt_0001|>",
    f"{START} ",
    "<|mt_",
    "<",
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "answer is ",
    " ",
    "\n",
    "\u202e",
]


def distinct(count):
    """So many spans, as few as possible of them alike."""
    return render((i % 256, i // 256 % 256) for i in range(count))


def safely(policy):
    def read(text):
        with suppress(PolicyCrashError):
            policy(text)

    return read


READERS = {
    "parse": parse,
    "split_thinking": split_thinking,
    "lenient_letter": lambda text: lenient_letter(text, ["A. red", "B. blue"]),
    "token_match": lambda text: token_match(text, text),
    "visible": visible,
    "visible in tables": one_line,
    **{f"policy {name}": safely(policy) for name, policy in POLICIES.items()},
}


@pytest.mark.parametrize("reader", READERS)
def test_a_text_of_many_marks_is_read_in_linear_time(reader):
    read = READERS[reader]
    for piece in PIECES:
        assert growth(lambda count, piece=piece: partial(read, piece * count), MARKS // 4) < LINEAR, piece
    assert growth(lambda count: partial(read, distinct(count)), MARKS // 4) < LINEAR


@pytest.mark.parametrize("answer", ["", distinct(MARKS // 8), START * MARKS], ids=["nothing", "masks", "half masks"])
@pytest.mark.parametrize("right", [distinct, lambda count: START * count], ids=["masks", "half masks"])
def test_an_answer_takes_the_place_of_the_right_one_in_linear_time(answer, right):
    def work(count):
        turns = (
            Message("user", (IMAGE, "all of them")),
            Message("assistant", (right(count),)),
            Message("user", (f"left of {right(count)}",)),
        )
        request = request_of("1", IMAGE, turns)
        return lambda: _with_answer(request, 1, answer * 8, DEFAULT_LAYOUT)

    assert growth(work, MARKS // 8) < LINEAR


def test_a_conversation_of_many_regions_is_rendered_in_linear_time():
    regions = [Region(masks.encode(np.arange(64).reshape(8, 8) == i)) for i in range(64)]

    def work(count):
        parts = tuple(part for i in range(count) for part in (f"and {i} ", regions[i % 64]))
        turn = Turn("user", parts)
        return lambda: messages([turn], IMAGE, lambda image, found: [(1, 2)] * len(found))

    assert growth(work, MARKS // 8) < LINEAR
