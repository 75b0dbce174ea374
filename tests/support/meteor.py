"""Whether METEOR can be started here."""

from __future__ import annotations

import pytest

from samtok_eval.metrics import caption_programs


def _is_there() -> bool:
    try:
        caption_programs.probe()
    except caption_programs.CaptionToolsError:
        return False
    return True


IS_THERE = _is_there()
needs_meteor = pytest.mark.skipif(not IS_THERE, reason="METEOR and CIDEr need Java and pycocoevalcap")
