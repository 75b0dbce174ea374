"""The next thing is made ready while the caller works on one."""

from __future__ import annotations

import threading

import pytest

from samtok_eval.ahead import ahead


def test_items_come_in_their_order_with_what_was_prepared():
    assert list(ahead(range(4), lambda item: item**2)) == [(0, 0), (1, 1), (2, 4), (3, 9)]
    assert list(ahead([], str)) == []


def test_the_next_item_is_prepared_while_the_caller_works_on_one():
    begun = {item: threading.Event() for item in range(3)}
    for item, _ in ahead(range(3), lambda item: begun[item].set()):
        assert item == 2 or begun[item + 1].wait(timeout=20)


def test_one_item_at_most_is_taken_before_its_time():
    taken = []
    for item, _ in ahead((taken.append(i) or i for i in range(5)), str):
        assert len(taken) == min(item + 2, 5)


def test_an_error_comes_where_its_item_would_come():
    found = ahead([1, 0, 2], lambda item: 1 / item)
    assert next(found) == (1, 1.0)
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_a_caller_that_stops_leaves_the_rest():
    taken = []
    found = ahead((taken.append(i) or i for i in range(5)), str)
    next(found)
    found.close()
    assert taken == [0, 1]
