"""Demo scenes as training material: pictures, codes of every object, questions and answers.

In: a seed range and a mask tokenizer. Out: arrays for the vision warm-up and text pairs for fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samtok_eval.demo.benchmark import HELD_OUT
from samtok_eval.demo.training.tiny_vlm import CELL
from samtok_eval.demo.world.language import Dialogue, dialogues
from samtok_eval.demo.world.scenes import COLORS, SHAPES, SIDE, SIZES, Scene, draw_scene
from samtok_eval.errors import UsageError
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Codes
from samtok_eval.tokenizer.model import MaskTokenizer, normalised_boxes
from samtok_eval.training.tokenizer.streams import MaskedPicture

DEVELOPMENT = HELD_OUT + 1_000_000
"""Seeds of held-out demo scenes for training reports; the benchmark's own held-out scenes stay unseen."""
MIN_COVER = 0.25
"""Share of a visual token's square that an object must cover to be the token's object."""
KIND_WEIGHTS = {
    "attribute": 0.16,
    "relation": 0.07,
    "superlative": 0.06,
    "multi": 0.08,
    "none": 0.05,
    "sentence": 0.05,
    "rounds": 0.08,
    "lookup": 0.08,
    **{f"choice {kind}": 0.05 for kind in ("color", "shape", "relation", "ordering")},
    **{f"word {kind}": 0.02 for kind in ("color", "shape", "relation", "ordering")},
    "caption": 0.03,
    "zoomed caption": 0.02,
    "grounded caption": 0.05,
    "scene graph": 0.05,
}
"""How often each kind of dialogue is drawn in training; attributes most, being the skill all others build on."""
CHOICE_KINDS = ("choice", "word", "lookup")
"""First words of the kinds that teach choice questions."""
NO_OBJECT = -1
OUTLINE = 8
"""Side of the small mask that each visual token learns to draw of its own square."""


@dataclass(frozen=True)
class CorpusScene:
    """One scene ready for training."""

    image: NDArray[np.uint8]
    """(SIDE, SIDE, 3)"""
    cells: NDArray[np.int8]
    """(SIDE/CELL, SIDE/CELL), index of the object under each visual token or -1"""
    labels: NDArray[np.int64]
    """(objects, 5): colour, shape, size, first code, second code"""
    boxes: NDArray[np.float32]
    """(objects, 4): x1 y1 x2 y2 as shares of the side"""
    outlines: NDArray[np.bool_]
    """(SIDE/CELL, SIDE/CELL, OUTLINE^2), the object's own mask inside each square, at OUTLINE pixels a side"""
    dialogues: tuple[Dialogue, ...]


def masked_picture(seed: int) -> MaskedPicture:
    """A scene as the mask tokenizer's training sees it."""
    scene = draw_scene(seed)
    return MaskedPicture(scene.image, np.stack([o.mask for o in scene.objects]))


def build_scene(seed: int, tokenizer: MaskTokenizer) -> CorpusScene:
    """Draw a scene, encode its masks and write its questions.

    Args:
        seed: of the scene.
        tokenizer: gives the codes of the answers.

    Raises:
        UsageError: it is of another layout than 256x2.
    """
    layout = tokenizer.config.layout
    if layout != DEFAULT_LAYOUT:
        raise UsageError(
            f"drawn scenes teach words of layout {DEFAULT_LAYOUT}, the mask tokenizer is of {layout}; give --data, or "
            "another --tokenizer"
        )
    scene = draw_scene(seed)
    masks = np.stack([o.mask for o in scene.objects])
    codes = tokenizer.encode(scene.image, masks).tolist()
    labels = [
        [list(COLORS).index(o.color), SHAPES.index(o.shape), list(SIZES).index(o.size), *code]
        for o, code in zip(scene.objects, codes, strict=True)
    ]
    pairs = [Codes(*code) for code in codes]
    taught = tuple(dialogues(scene, pairs))
    cells = _cells(scene)
    return CorpusScene(scene.image, cells, np.array(labels), normalised_boxes(masks), _outlines(masks, cells), taught)


def draw_dialogues(
    scene: CorpusScene, wanted: int, rng: np.random.Generator, choice_factor: float = 1.0
) -> list[Dialogue]:
    """Dialogues of one scene, kinds drawn by `KIND_WEIGHTS`, none twice.

    Args:
        scene: the scene.
        wanted: how many, fewer if the scene has fewer.
        rng: source of the choice.
        choice_factor: multiplies the weights of everything about choice questions.
    """
    factors = {kind: choice_factor if kind.startswith(CHOICE_KINDS) else 1.0 for kind in KIND_WEIGHTS}
    by_kind = {kind: [d for d in scene.dialogues if d.kind == kind] for kind in KIND_WEIGHTS}
    chosen: list[Dialogue] = []
    while len(chosen) < wanted and any(by_kind.values()):
        kinds = [kind for kind in KIND_WEIGHTS if by_kind[kind]]
        weights = np.array([KIND_WEIGHTS[kind] * factors[kind] for kind in kinds])
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        chosen.append(by_kind[kind].pop(int(rng.integers(len(by_kind[kind])))))
    return chosen


def _cells(scene: Scene) -> NDArray[np.int8]:
    side = SIDE // CELL
    cover = np.stack([o.mask.reshape(side, CELL, side, CELL).mean((1, 3)) for o in scene.objects])
    return np.where(cover.max(0) >= MIN_COVER, cover.argmax(0), NO_OBJECT).astype(np.int8)


def _outlines(masks: NDArray[np.bool_], cells: NDArray[np.int8]) -> NDArray[np.bool_]:
    side, step = SIDE // CELL, CELL // OUTLINE
    owned = np.take_along_axis(
        masks.reshape(len(masks), side, CELL, side, CELL).transpose(0, 1, 3, 2, 4),
        np.maximum(cells, 0)[None, :, :, None, None].astype(np.int64),
        axis=0,
    )[0]
    return np.ascontiguousarray(owned[:, :, ::step, ::step].reshape(side, side, OUTLINE**2))
