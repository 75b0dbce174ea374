"""A judge's reply means the choice that DLC-Bench's own scorer reads in it; its real questions stay outside."""

from __future__ import annotations

import json

from samtok_eval.metrics.dlc import read_choice, stops_at
from tests.conftest import shared


def test_every_reply_is_read_or_stops_the_scorer_as_in_the_original():
    cases = json.loads(shared("goldens", "originals", "dlc_read_choice.json").read_text())
    differing = [case for case in cases if read(case["reply"], case["choices"]) != case["original"]]
    assert differing == []


def read(reply, choices):
    return "crash" if stops_at(reply, choices) else read_choice(reply, choices)
