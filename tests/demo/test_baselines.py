"""Answers that do not look, beside which docs/demo.md shows the bundled checkpoint."""

from __future__ import annotations

from samtok_eval.demo.baselines import blind_scores
from samtok_eval.registry import load_tasks


def test_a_crowd_is_no_object_of_its_own(demo_root):
    """The column of docs/demo.md; with crowds among the objects `multi` would have 47.9."""
    blind = blind_scores(load_tasks()["gres"].read(demo_root, "val"))
    assert {kind: round(100 * scores["random instance"], 1) for kind, scores in blind.items()} == {
        "attribute": 36.7, "multi": 36.8, "none": 0.0, "relation": 36.7, "superlative": 37.0, "all": 30.6
    }  # fmt: skip
