"""Shared fixtures: the bundled checkpoint, a small demo data root, and folders that only some machines have."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

from samtok_eval.demo import benchmark

# A busy machine is no failure.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")

SHARED = Path(__file__).parents[2] / "shared"


def shared(*parts: str) -> Path:
    """A file of the reference data, or a skip with the reason."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"reference data {'/'.join(parts)} is not on this machine")
    return path


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo benchmark, built afresh by this code."""
    out = tmp_path_factory.mktemp("data") / "demo"
    benchmark.build_demo(out)
    return out


@pytest.fixture(scope="session")
def demo_tokenizer():
    """The bundled mask tokenizer."""
    from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
    from samtok_eval.tokenizer import MaskTokenizer

    return MaskTokenizer.from_pretrained(DEMO_CHECKPOINT)
