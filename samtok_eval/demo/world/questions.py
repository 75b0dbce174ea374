"""What can be asked about a demo scene beyond referring expressions: facts in words, without any file format.

In: a scene. Out: region descriptions, a caption with phrases, relations, choice questions, rounds that refer to earlier
masks, and sentences that describe objects. The benchmark writers and the training corpus both draw from here, so that
what is asked is what was taught, on other scenes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from samtok_eval.demo.world.scenes import CLEAR_GAP, COLORS, DIRECTIONS, SHAPES, Scene, SceneObject, expressions

LETTERS = "ABCD"
PREDICATES = ("left of", "above", "below", "same color as", "same shape as")
"""Relations of the demo scene graphs; pairs are taken from left to right, so nothing is "right of"."""
PLACES_IN_ROW = ("first", "second", "third", "fourth")
ROUNDS = 3


class Choice(NamedTuple):
    """A question with one right option."""

    kind: str
    """`color`, `shape`, `relation` or `ordering`, as GAR-Bench names its types."""
    question: str
    """Regions are written `<Prompt0>`, `<Prompt1>`, ..."""
    regions: tuple[int, ...]
    """Objects that the marks stand for."""
    options: tuple[str, ...]
    right: int


class Round(NamedTuple):
    """One round of a conversation about masks."""

    phrase: str
    """What to segment; `{mask}` stands for the mask words of the round before."""
    target: int


class Relation(NamedTuple):
    """Two objects and what holds between them."""

    subject: int
    predicate: str
    object: int


class Sentence(NamedTuple):
    """A sentence that describes one or more objects."""

    text: str
    label: str
    targets: tuple[int, ...]


def left_to_right(scene: Scene) -> list[int]:
    """Objects in reading order of every list answer: by centre, left first."""
    return sorted(range(len(scene.objects)), key=lambda i: (scene.objects[i].x, scene.objects[i].y))


def description(item: SceneObject) -> str:
    """A region caption: `a large red circle at top left`."""
    return f"a {item.size} {item.name} at {item.place}"


def caption(scene: Scene) -> tuple[str, list[tuple[str, int]]]:
    """One sentence about the whole scene, and its phrases with the objects they name, in order."""
    phrases = [(description(scene.objects[i]), i) for i in left_to_right(scene)]
    names = [phrase for phrase, _ in phrases]
    return f"There is {', '.join(names[:-1])} and {names[-1]}.", phrases


def relations(scene: Scene) -> list[Relation]:
    """Where each object lies to its right-hand neighbour, then the first shared colour or shape."""
    order = left_to_right(scene)
    found = [Relation(i, side(scene.objects[i], scene.objects[j]), j) for i, j in itertools.pairwise(order)]
    for i, j in itertools.pairwise(order):
        one, other = scene.objects[i], scene.objects[j]
        if one.color == other.color:
            return [*found, Relation(i, "same color as", j)]
        if one.shape == other.shape:
            return [*found, Relation(i, "same shape as", j)]
    return found


def side(one: SceneObject, other: SceneObject) -> str:
    """On which side of the other the one lies, along the axis on which they are further apart."""
    right, down = one.x - other.x, one.y - other.y
    if abs(right) >= abs(down):
        return "right of" if right > 0 else "left of"
    return "below" if down > 0 else "above"


def choices(scene: Scene, rng: np.random.Generator) -> list[Choice]:
    """Choice questions of every kind that the scene can answer, options in random order."""
    found = []
    for i, item in enumerate(scene.objects):
        question = "What is the {} of <Prompt0>?"
        found.append(_choice("color", question.format("color"), (i,), item.color, list(COLORS), rng))
        found.append(_choice("shape", question.format("shape"), (i,), item.shape, list(SHAPES), rng))
    order = left_to_right(scene)
    gaps = [scene.objects[j].x - scene.objects[i].x for i, j in itertools.pairwise(order)]
    if min(gaps) > CLEAR_GAP / 2:
        for place, i in enumerate(order):
            text = "Counted from the left, which object is <Prompt0>?"
            found.append(_choice("ordering", text, (i,), PLACES_IN_ROW[place], list(PLACES_IN_ROW), rng))
    for i, one in enumerate(scene.objects):
        for j, other in enumerate(scene.objects):
            apart = sorted((abs(one.x - other.x), abs(one.y - other.y)))
            if i != j and apart[1] - apart[0] > CLEAR_GAP:
                text = "Where is <Prompt0> with respect to <Prompt1>?"
                found.append(_choice("relation", text, (i, j), side(one, other), list(DIRECTIONS), rng))
    return found


def _choice(
    kind: str, question: str, regions: tuple[int, ...], right: str, pool: list[str], rng: np.random.Generator
) -> Choice:
    wrong = [word for word in pool if word != right]
    options = [right, *(wrong[i] for i in rng.permutation(len(wrong))[: len(LETTERS) - 1])]
    order = rng.permutation(len(options)).tolist()
    return Choice(kind, question, regions, tuple(options[i] for i in order), order.index(0))


def conversations(scene: Scene, rng: np.random.Generator) -> list[tuple[Round, ...]]:
    """Conversations of up to `ROUNDS` rounds: an object by its attributes, then from mask to mask.

    Every later round means exactly one object, never the one whose mask it names.
    """
    starts = [e for e in expressions(scene) if e.kind == "attribute"]
    found = []
    for start in starts:
        rounds = [Round(start.text, start.targets[0])]
        while len(rounds) < ROUNDS:
            steps = _steps(scene, rounds[-1].target)
            if not steps:
                break
            rounds.append(steps[int(rng.integers(len(steps)))])
        if len(rounds) > 1:
            found.append(tuple(rounds))
    return found


def _steps(scene: Scene, anchor: int) -> list[Round]:
    here = scene.objects[anchor]
    others = [(j, o) for j, o in enumerate(scene.objects) if j != anchor]
    found = []
    for word, (right, down) in DIRECTIONS.items():
        gaps = [((o.x - here.x) * right + (o.y - here.y) * down, j) for j, o in others]
        beyond = [(gap, j) for gap, j in gaps if gap > 0]
        if len(beyond) == 1 and beyond[0][0] > CLEAR_GAP:
            found.append(Round(f"the object {word} {{mask}}", beyond[0][1]))
    for word, alike in (
        ("color", [j for j, o in others if o.color == here.color]),
        ("shape", [j for j, o in others if o.shape == here.shape]),
    ):
        if len(alike) == 1:
            found.append(Round(f"the other object with the {word} of {{mask}}", alike[0]))
    return found


def sentences(scene: Scene) -> list[Sentence]:
    """Sentences that describe exactly one object, or all objects of one colour or shape."""
    found = []
    for i, item in enumerate(scene.objects):
        words = description(item)
        if [description(o) for o in scene.objects].count(words) == 1:
            found.append(Sentence(f"There is {words}.", item.name, (i,)))
    for expression in expressions(scene):
        if expression.kind == "multi" and expression.text.startswith("all "):
            label = expression.text.removeprefix("all ")
            found.append(Sentence(f"There are {_number(expression.targets)} {label}.", label, expression.targets))
    return found


def _number(targets: Sequence[int]) -> str:
    return ("no", "one", "two", "three", "four")[len(targets)]
