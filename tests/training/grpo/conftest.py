"""Scenes and prompts that several modules share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def scenes(demo_tokenizer):
    from samtok_eval.demo.training.corpus import build_scene

    return [build_scene(seed, demo_tokenizer) for seed in range(6)]


@pytest.fixture(scope="session")
def prompts(scenes):
    from samtok_eval.demo.training.grpo_questions import scene_prompts

    return scene_prompts(scenes, 2, 0.2, 0.25, 0)
