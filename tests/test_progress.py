"""What a log tells of a command that goes on for long."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from samtok_eval import progress
from samtok_eval.progress import Progress


class Clock:
    """Seconds, as told."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def told(caplog, clock, seconds_each, total=593, done=0, console=None):
    """Lines of a run that answers one sample in so many seconds."""
    caplog.set_level(logging.INFO, "samtok_eval")
    with Progress("gres:val demo", console or Console(file=io.StringIO())) as shown:
        shown.start(total=total, done=done)
        for reached in range(done + 1, total + 1):
            clock.now += seconds_each
            shown.reach(reached)
    return [record.getMessage() for record in caplog.records]


def test_ten_minutes_of_a_redirected_run_are_told_every_half_minute(caplog, clock):
    lines = told(caplog, clock, 1.0, total=600)
    assert len(lines) == 21
    assert lines[0] == "gres:val demo: 600 samples"
    assert lines[1] == "gres:val demo: 30 of 600 samples (5%), 1.0 samples/s, 9 min 30 s left"
    assert lines[-1] == "gres:val demo: 600 of 600 samples after 10 min 0 s, 1.0 samples/s"


def test_a_short_run_is_told_at_its_beginning_and_its_end(caplog, clock):
    assert told(caplog, clock, 0.01) == [
        "gres:val demo: 593 samples",
        "gres:val demo: 593 of 593 samples after 6 s, 100.0 samples/s",
    ]


def test_what_was_done_before_counts_for_the_share_and_not_for_the_speed(caplog, clock):
    lines = told(caplog, clock, 31.0, total=10, done=8)
    assert lines == [
        "gres:val demo: 10 samples, 8 of them done before",
        "gres:val demo: 9 of 10 samples (90%), 0.0 samples/s, 31 s left",
        "gres:val demo: 10 of 10 samples after 1 min 2 s, 0.0 samples/s",
    ]


def test_a_run_that_stops_says_how_far_it_came(caplog, clock):
    caplog.set_level(logging.INFO, "samtok_eval")
    with pytest.raises(KeyboardInterrupt), Progress("x", Console(file=io.StringIO())) as shown:
        shown.start(total=10, done=0)
        clock.now += 2
        shown.reach(4)
        raise KeyboardInterrupt
    assert caplog.records[-1].getMessage() == "x: 4 of 10 samples after 2 s, 2.0 samples/s"


def test_a_quiet_console_is_told_nothing(caplog, clock):
    assert told(caplog, clock, 31.0, console=Console(quiet=True)) == []
    assert told(caplog, clock, 31.0, console=Console(file=io.StringIO(), force_terminal=True)) == []


def test_who_goes_on_does_not_say_again_how_much_there_is(caplog, clock):
    caplog.set_level(logging.INFO, "samtok_eval")
    with Progress("x", Console(file=io.StringIO()), goes_on=True) as shown:
        shown.start(total=10, done=4)
        clock.now += 2
        shown.reach(6)
    assert [record.getMessage() for record in caplog.records] == ["x: 6 of 10 samples after 2 s, 1.0 samples/s"]
