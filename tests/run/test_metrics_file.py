"""The numbers of a run: read from JSON of anybody, checked, and written as they were."""

from __future__ import annotations

import json
from typing import Any

import pytest

from samtok_eval.errors import DataError
from samtok_eval.run.metrics_file import Metrics, metrics_of, read_metrics

ENTRY = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 4}
WITHOUT_INTERVAL = {"value": 3, "low": None, "high": None, "n": 4}
CONTENT: dict[str, Any] = {
    "strict": {"giou": ENTRY, "triplets": WITHOUT_INTERVAL},
    "official": {},
    "slices": {"strict": {"targets": {"one": {"giou": WITHOUT_INTERVAL}}}},
    "counters": {"scored": 4, "missing": 1, "reference_crashes": {"official": 1}},
    "intervals": {"seed": 0, "draws": 1000, "confidence": 0.95, "method": "percentile bootstrap over pictures"},
    "absent": {"meteor": "no Java"},
    "stopped": {"official": "no answers"},
}


def changed(part: str, value: Any) -> dict[str, Any]:
    return CONTENT | {part: value}


@pytest.mark.parametrize(
    "content",
    [
        CONTENT,
        {name: CONTENT[name] for name in ("strict", "slices", "counters")},
        changed("strict", {"giou": ENTRY | {"median": 0.5}}),
        changed("counters", {"scored": 4, "skipped": 2}),
        {},
    ],
    ids=["whole", "of an older version", "a newer entry", "a newer counter", "nothing"],
)
def test_metrics_are_written_byte_by_byte_as_they_were_read(content):
    assert json.dumps(metrics_of(content).to_json()) == json.dumps(content)


def test_protocols_and_parts_are_read_by_name():
    metrics = metrics_of(CONTENT)
    assert metrics.protocols["strict"]["giou"].high == 0.75
    assert metrics.slices["strict"]["targets"]["one"]["giou"].value == 3
    assert (metrics.counters.missing, metrics.counters.open_prompts) == (1, 0)
    assert metrics.stopped == {"official": "no answers"}


def test_by_subscript_metrics_are_the_json_of_the_file():
    metrics = metrics_of(CONTENT)
    assert dict(**metrics) == CONTENT
    assert metrics["strict"]["giou"] == metrics.get("strict")["giou"] == ENTRY
    assert "official" in metrics
    assert "samtok" not in metrics
    assert metrics.get("samtok") is None
    with pytest.raises(KeyError):
        Metrics()["strict"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds no JSON object"),
        (changed("strict", 3), r"protocols\.strict: Input should be"),
        (changed("strict", {"giou": ENTRY | {"value": "0.5"}}), r"strict\.giou\.value.*, got '0\.5'"),
        (changed("strict", {"giou": {"value": 0.5}}), r"strict\.giou\.low: Field required"),
        (changed("strict", {"giou": ENTRY | {"n": -1}}), r"strict\.giou\.n: .*, got -1"),
        (changed("counters", {"scored": "4"}), r"counters\.scored: "),
        (changed("absent", ["meteor"]), "absent: Input should be"),
        (changed("absent", {"meteor": 3}), r"absent\.meteor: "),
        (changed("intervals", {"seed": 0}), r"intervals\.draws: Field required"),
        (changed("intervals", CONTENT["intervals"] | {"weights": 1}), r"intervals\.weights: Extra inputs"),
    ],
)
def test_another_shape_is_one_line_that_says_where(tmp_path, content, message):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"\A.*metrics\.json.*{message}.*; run `score` again\Z"):
        read_metrics(path)
