"""How the demo checkpoint is asked and what it is taught to answer.

Questions are the tasks' own prompts. An answer to a referring question names each object, says where it is and gives
its mask words: `The red circle at top left <span>.` Naming the place before the codes turns one hard choice of 256 into
two easier ones. Objects are ordered left to right, as the released training data is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from samtok_eval.demo.world import questions
from samtok_eval.demo.world.questions import LETTERS, Choice, Round
from samtok_eval.demo.world.scenes import COLORS, SHAPES, SIZES, Expression, Scene, expressions
from samtok_eval.mask_tokens import Codes, marked_phrase, render
from samtok_eval.prompts import (
    CAPTION_REGION,
    CAPTION_REGION_ZOOM,
    CHOOSE_OPTION,
    DESCRIBE_WITH_MASKS,
    FIND_DESCRIBED,
    NO_TARGET_ANSWER,
    SCENE_GRAPH,
    SEGMENT_PHRASE,
)

VIEW = "<view>"
"""Stands for a second picture inside a question."""


class Dialogue(NamedTuple):
    """A conversation about one scene; every answer is to be learned."""

    kind: str
    turns: tuple[tuple[str, str], ...]
    """Questions with their answers."""


def question(expression: Expression) -> str:
    """The user turn."""
    return SEGMENT_PHRASE(phrase=expression.text)


def answer(scene: Scene, targets: Sequence[int], codes: Sequence[Codes]) -> str:
    """The assistant turn of a referring question; `codes` has one entry per object of the scene."""
    order = [i for i in questions.left_to_right(scene) if i in targets]
    if not order:
        return NO_TARGET_ANSWER
    named = (f"the {scene.objects[i].name} at {scene.objects[i].place} {render([codes[i]])}" for i in order)
    # A capital first, so that colour and shape words are the same tokens in question and answer.
    return "T" + " and ".join(named)[1:] + "."


def rounds(scene: Scene, asked: Sequence[Round], codes: Sequence[Codes]) -> tuple[tuple[str, str], ...]:
    """Questions and answers of a conversation from mask to mask."""
    turns = []
    words = ""
    for phrase, target in asked:
        turns.append((SEGMENT_PHRASE(phrase=phrase.format(mask=words)), answer(scene, [target], codes)))
        words = render([codes[target]])
    return tuple(turns)


def in_words(asked: Choice, codes: Sequence[Codes]) -> tuple[str, str]:
    """A choice question without its options, answered in words."""
    return _question(asked, codes), f"It is {asked.options[asked.right]}."


def choice(asked: Choice, codes: Sequence[Codes]) -> tuple[str, str]:
    """A choice question and its letter."""
    return CHOOSE_OPTION(question=_question(asked, codes), options=_options(asked)), LETTERS[asked.right]


def lookup(asked: Choice) -> tuple[str, str]:
    """A question that names its answer, so that only the letter is to be found."""
    question = f"Which option is {asked.options[asked.right]}?"
    return CHOOSE_OPTION(question=question, options=_options(asked)), LETTERS[asked.right]


def _question(asked: Choice, codes: Sequence[Codes]) -> str:
    text = asked.question
    for k, i in enumerate(asked.regions):
        text = text.replace(f"<Prompt{k}>", render([codes[i]]))
    return text


def _options(asked: Choice) -> str:
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, asked.options, strict=False))


def grounded_caption(scene: Scene, codes: Sequence[Codes]) -> str:
    """The scene's caption, each phrase marked and followed by its mask words."""
    text, phrases = questions.caption(scene)
    found, rest = "", text
    for phrase, i in phrases:
        before, _, rest = rest.partition(phrase)
        found += before + marked_phrase(phrase, render([codes[i]]))
    return found + rest


def scene_graph(scene: Scene, codes: Sequence[Codes]) -> str:
    """The scene's relations as the fenced JSON list of the released scene graph data."""

    def node(i: int) -> dict[str, str]:
        return {"mask_2d": render([codes[i]]), "label": scene.objects[i].name}

    triplets = [
        {"subject": node(s), "predicate": predicate, "object": node(o)}
        for s, predicate, o in questions.relations(scene)
    ]
    return f"```json\n{json.dumps(triplets)}\n```"


def dialogues(scene: Scene, codes: Sequence[Codes]) -> list[Dialogue]:
    """Everything that is taught about one scene.

    Args:
        scene: the scene.
        codes: one pair per object.
    """
    rng = np.random.default_rng([scene.seed, 6])
    found = [Dialogue(e.kind, ((question(e), answer(scene, e.targets, codes)),)) for e in expressions(scene)]
    for sentence in questions.sentences(scene):
        turns = ((FIND_DESCRIBED(caption=sentence.text), answer(scene, sentence.targets, codes)),)
        found.append(Dialogue("sentence", turns))
    several = questions.conversations(scene, rng)
    for k in rng.permutation(len(several))[:4]:
        found.append(Dialogue("rounds", rounds(scene, several[k], codes)))
    for asked in questions.choices(scene, rng):
        lettered = choice(asked, codes)
        found.append(Dialogue(f"choice {asked.kind}", (lettered,)))
        # To see a fact and to find its letter are two easy steps; asked for at once they are one hard step.
        found.append(Dialogue(f"word {asked.kind}", (in_words(asked, codes), lettered)))
        found.append(Dialogue("lookup", (lookup(asked),)))
    for i, item in enumerate(scene.objects):
        words = render([codes[i]])
        said = questions.description(item)
        found.append(Dialogue("caption", ((CAPTION_REGION(region=words), said),)))
        # A demo picture is smaller than the zoom window, so the second view shows the whole picture again.
        zoomed = CAPTION_REGION_ZOOM(region=words, view=VIEW, region_in_view=words)
        found.append(Dialogue("zoomed caption", ((zoomed, said),)))
    found.append(Dialogue("grounded caption", ((DESCRIBE_WITH_MASKS(), grounded_caption(scene, codes)),)))
    found.append(Dialogue("scene graph", ((SCENE_GRAPH(), scene_graph(scene, codes)),)))
    return found


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
        lines += [f"A. {word}\nB. {word}\nC. {word}\nD. {word}"] * 6
    for plural in ("circles", "squares", "triangles", "crosses", "objects"):
        lines += [SEGMENT_PHRASE(phrase=f"all {color} {plural}") for color in COLORS]
        lines += [FIND_DESCRIBED(caption=f"There are {number} {plural}.") for number in ("two", "three", "four")]
    for word in (*COLORS, *SHAPES, *questions.PLACES_IN_ROW):
        lines += [f"A. {word}\nB. {word}\nC. {word}\nD. {word}", f"It is {word}.", f"Which option is {word}?"] * 6
    for text in ("What is the color of ?", "What is the shape of ?", "Where is with respect to ?",
                 "Counted from the left, which object is ?"):  # fmt: skip
        lines += [CHOOSE_OPTION(question=text, options="")] * 8
    lines += [CAPTION_REGION(region=""), CAPTION_REGION_ZOOM(region="", view="", region_in_view="")] * 8
    lines += [DESCRIBE_WITH_MASKS(), SCENE_GRAPH(), FIND_DESCRIBED(caption="There is a large red circle at left.")] * 8
    node = {"mask_2d": "", "label": "red circle"}
    for predicate in questions.PREDICATES:
        graph = json.dumps([{"subject": node, "predicate": predicate, "object": node}] * 2)
        lines += [f"```json\n{graph}\n```"] * 12
    lines += [f"the other object with the {word} of" for word in ("color", "shape")] * 6
    # The chat template's role names, as one token each.
    return [*lines, *[NO_TARGET_ANSWER] * 12, *["user", "assistant"] * 12]
