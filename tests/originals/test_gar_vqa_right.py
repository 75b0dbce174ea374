"""GAR-Bench's own scorer and protocol `official` call the same replies right."""

from __future__ import annotations

from samtok_eval.metrics.choices import official
from tests.support.originals import cases


def test_every_reply_is_right_or_wrong_as_in_the_original():
    differing = [
        case for case in cases("gar_vqa_right") if official(case["raw"], case["answer"]) != case["original_right"]
    ]
    assert differing == []
