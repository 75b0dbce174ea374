"""Questions of reinforcement learning that are drawn from demo scenes: prompts to learn from, and held-out ones."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samtok_eval import masks
from samtok_eval.demo.training.corpus import CorpusScene
from samtok_eval.demo.world.scenes import KINDS, draw_scene, expressions
from samtok_eval.errors import UsageError
from samtok_eval.mask_tokens import masks_of, render
from samtok_eval.prompts import DESCRIBE_WITH_MASKS, SEGMENT_PHRASE
from samtok_eval.training.grpo.held_out import HeldOutQuestion
from samtok_eval.training.grpo.prompts import GCG, GRES, GrpoPrompt, StoredPicture

TARGET_KINDS = {"attribute": 0.35, "relation": 0.25, "superlative": 0.15, "multi": 0.25}
"""How often each kind of question with a target is drawn."""
NO_TARGET, GROUNDED, REGION_CAPTION = "none", "grounded caption", "caption"
REGION, NO_TARGET_CYCLE = "denseworld_single", "gres_no_target"
"""Sources of CycleGRPO's prompts."""


def scene_prompts(
    scenes: Iterable[CorpusScene],
    per_scene: int,
    no_target_share: float,
    gcg_share: float,
    seed: int,
    region_share: float = 0.0,
    no_target_source: str = GRES,
) -> list[GrpoPrompt]:
    """Questions about demo scenes.

    "No target." is the cheapest full reward, so that a policy asked too often where it is right learns to say it
    everywhere; hence its share is set, not left to how many such questions a scene offers.

    Args:
        scenes: the scenes.
        per_scene: questions of each.
        no_target_share: of the referring questions, 0..1.
        gcg_share: of all questions, 0..1, that ask for a grounded caption.
        seed: of the choice.
        region_share: of all questions, 0..1, that ask for the caption of a region; its mask words are the right answer.
        no_target_source: of questions without a target, where their rewards are others than those of the rest.

    Raises:
        UsageError: a share outside 0..1.
    """
    shares = {"--no-target-share": no_target_share, "--gcg-share": gcg_share, "--region-share": region_share}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UsageError(f"{name} must lie between 0 and 1, got {share}")
    rng = np.random.default_rng([seed, 7])
    targets, weights = list(TARGET_KINDS), np.array(list(TARGET_KINDS.values()))
    prompts = []
    for scene in scenes:
        by_kind: dict[str, list[tuple[str, str]]] = {}
        for dialogue in scene.dialogues:
            if len(dialogue.turns) == 1:
                by_kind.setdefault(dialogue.kind, []).append(dialogue.turns[0])
        image = _stored(scene.image)
        for _ in range(per_scene):
            kind = GROUNDED
            # No draw where there is nothing to choose, so that recipes without regions keep their prompts.
            if region_share and rng.random() < region_share:
                kind = REGION_CAPTION
            elif rng.random() >= gcg_share:
                kind = NO_TARGET if rng.random() < no_target_share else str(rng.choice(targets, p=weights))
            if kind not in by_kind:
                kind = next(other for other in (*targets, GROUNDED) if other in by_kind)
            several = by_kind[kind]
            question, answer = several[int(rng.integers(len(several)))]
            if kind == REGION_CAPTION:
                answer = render(masks_of(question))
            source = {GROUNDED: GCG, REGION_CAPTION: REGION, NO_TARGET: no_target_source}.get(kind, GRES)
            prompts.append(GrpoPrompt((image,), question, answer, source))
    return prompts


def _stored(image: NDArray[np.uint8]) -> StoredPicture:
    content = BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return StoredPicture(None, content.getvalue())


QUESTIONS_PER_KIND = 1


def scene_questions(first_seed: int, scenes: int) -> list[HeldOutQuestion]:
    """One question of each referring kind and one grounded caption about each of so many scenes."""
    found = []
    for seed in range(first_seed, first_seed + scenes):
        scene = draw_scene(seed)
        rles = [masks.encode(item.mask) for item in scene.objects]
        asked = expressions(scene)
        for kind in KINDS:
            for expression in [e for e in asked if e.kind == kind][:QUESTIONS_PER_KIND]:
                truth = tuple(rles[i] for i in expression.targets)
                found.append(HeldOutQuestion(scene.image, SEGMENT_PHRASE(phrase=expression.text), truth, GRES))
        found.append(HeldOutQuestion(scene.image, DESCRIBE_WITH_MASKS(), tuple(rles), GCG))
    return found
