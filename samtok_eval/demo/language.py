"""How the demo checkpoint is asked and what it is taught to answer.

An answer names each object, says where it is and gives its mask words: `The red circle at top left <span>.` Naming the
place before the codes turns one hard choice of 256 into two easier ones. Objects are ordered left to right, as the
released training data is.
"""

from __future__ import annotations

from samtok_eval.demo.scenes import COLORS, SHAPES, SIZES, Expression, Scene
from samtok_eval.mask_tokens import Codes, render
from samtok_eval.prompts import NO_TARGET_ANSWER, SEGMENT_PHRASE


def question(expression: Expression) -> str:
    """The user turn."""
    return SEGMENT_PHRASE(phrase=expression.text)


def answer(scene: Scene, expression: Expression, codes: list[Codes]) -> str:
    """The assistant turn; `codes` has one entry per object of the scene."""
    order = sorted(expression.targets, key=lambda i: (scene.objects[i].x, scene.objects[i].y))
    if not order:
        return NO_TARGET_ANSWER
    named = (f"the {scene.objects[i].name} at {scene.objects[i].place} {render([codes[i]])}" for i in order)
    # A capital first, so that colour and shape words are the same tokens in question and answer.
    return "T" + " and ".join(named)[1:] + "."


def vocabulary_lines() -> list[str]:
    """Text on which the demo checkpoint's byte-pair tokenizer is trained: every word of the grammar, often enough."""
    places = ["top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right"]
    names = [f"{color} {shape}" for color in COLORS for shape in SHAPES]
    lines = [SEGMENT_PHRASE(phrase=f"the {name}") for name in names]
    lines += [SEGMENT_PHRASE(phrase=f"the {size} {name}") for name in names for size in SIZES]
    lines += [f"The {name} at {place} and the {name} at {place} ." for name in names for place in places]
    for word in ("leftmost", "rightmost", "topmost", "bottommost", "largest", "smallest"):
        lines += [SEGMENT_PHRASE(phrase=f"the {word} object")] * 3
    for word in ("left of", "right of", "above", "below"):
        lines += [SEGMENT_PHRASE(phrase=f"the {shape} {word} the {name}") for shape in SHAPES for name in names[::5]]
    for plural in ("circles", "squares", "triangles", "crosses", "objects"):
        lines += [SEGMENT_PHRASE(phrase=f"all {color} {plural}") for color in COLORS]
    # The chat template's role names, as one token each.
    return [*lines, *[NO_TARGET_ANSWER] * 12, *["user", "assistant"] * 12]
