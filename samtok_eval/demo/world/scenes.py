"""Synthetic scenes of the demo benchmark: textured coloured shapes on a textured ground, with exact masks.

In: a seed. Out: a picture, its objects with their visible masks, and referring expressions with the objects they mean.
The world is friendlier than photographs on purpose: two to four large objects of four clearly different shapes and six
clearly different colours on 128 x 128 pixels, so that a language model of 2.1 M parameters can learn it on a CPU.
Everything is a function of the seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 128
"""Width and height of a picture in pixels."""
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (215, 45, 45),
    "green": (50, 165, 65),
    "blue": (50, 85, 215),
    "yellow": (235, 215, 55),
    "purple": (150, 60, 180),
    "orange": (240, 140, 35),
}
SHAPES = ("circle", "square", "triangle", "cross")
SIZES: dict[str, tuple[float, float]] = {"small": (12.5, 15.0), "large": (20.0, 24.0)}
"""Range of radii in pixels per size word."""
TEXTURES = ("plain", "stripes", "dots")
MIN_OBJECTS, MAX_OBJECTS = 2, 4
MIN_VISIBLE = 0.65
"""Least visible share of an object; scenes with a more occluded object are drawn again."""
KINDS = ("attribute", "relation", "superlative", "multi", "none")
CLEAR_GAP = 10.0
"""Pixels by which two centres must differ before one is called left of or above the other."""
NO_GAP = 3.0
"""Objects between `NO_GAP` and `CLEAR_GAP` on the asked side make a relation unclear, so it is not asked."""


@dataclass(frozen=True)
class SceneObject:
    """One drawn object."""

    color: str
    shape: str
    size: str
    x: float
    """Centre column in pixels."""
    y: float
    """Centre row in pixels."""
    radius: float
    mask: NDArray[np.bool_]
    """bool (SIDE, SIDE), visible pixels only."""

    @property
    def name(self) -> str:
        """Colour and shape, e.g. `red circle`."""
        return f"{self.color} {self.shape}"

    @property
    def place(self) -> str:
        """Which of nine fields of the picture the centre lies in, e.g. `top left`."""
        row = ("top", "", "bottom")[min(int(self.y * 3 / SIDE), 2)]
        column = ("left", "", "right")[min(int(self.x * 3 / SIDE), 2)]
        return f"{row} {column}".strip() or "center"


@dataclass(frozen=True)
class Expression:
    """A referring expression and the objects it means."""

    text: str
    kind: str
    """One of `KINDS`."""
    targets: tuple[int, ...]
    """Indices into the scene's objects, empty for a no-target expression."""


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it."""

    seed: int
    image: NDArray[np.uint8]
    """uint8 (SIDE, SIDE, 3), RGB."""
    objects: tuple[SceneObject, ...]

    @cached_property
    def png(self) -> bytes:
        """The picture as a PNG file; several benchmarks hold it."""
        file = BytesIO()
        Image.fromarray(self.image).save(file, "PNG")
        return file.getvalue()


def draw_scene(seed: int) -> Scene:
    """Draw the scene of a seed.

    Args:
        seed: any non-negative integer; the same seed gives the same scene on every machine.
    """
    rng = np.random.default_rng(seed)
    while True:
        drafts = _place_objects(rng)
        masks = [_shape_mask(shape, x, y, radius, angle) for _, shape, _, x, y, radius, angle in drafts]
        visible = [mask.copy() for mask in masks]
        for i in range(len(masks)):
            for later in masks[i + 1 :]:
                visible[i] &= ~later
        if len(drafts) >= MIN_OBJECTS and all(
            seen.sum() >= MIN_VISIBLE * max(mask.sum(), 1) for seen, mask in zip(visible, masks, strict=True)
        ):
            break
    image = _ground(rng)
    for (color, _, _, x, y, radius, _), mask in zip(drafts, masks, strict=True):
        _paint(image, mask, COLORS[color], x, y, radius, rng)
    image += rng.normal(0, 4, image.shape)
    objects = tuple(
        SceneObject(color, shape, size, x, y, radius, seen)
        for (color, shape, size, x, y, radius, _), seen in zip(drafts, visible, strict=True)
    )
    return Scene(seed, np.clip(image, 0, 255).astype(np.uint8), objects)


def expressions(scene: Scene) -> list[Expression]:
    """Every expression of the grammar that is true and unambiguous in a scene, at most one per wording.

    No-target expressions name a colour and shape that do not occur together; about as many of them are given as there
    are objects.
    """
    found = [
        *_attributes(scene),
        *_relations(scene),
        *_superlatives(scene),
        *_multiples(scene),
        *_absent(scene, np.random.default_rng([scene.seed, 1])),
    ]
    return list({expression.text: expression for expression in found}.values())


def _place_objects(rng: np.random.Generator) -> list[tuple[str, str, str, float, float, float, float]]:
    drafts: list[tuple[str, str, str, float, float, float, float]] = []
    wanted = int(rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1))
    for _ in range(60):
        if len(drafts) == wanted:
            break
        color, shape = str(rng.choice(list(COLORS))), str(rng.choice(SHAPES))
        if drafts and rng.random() < 0.45:
            # Shared attributes make expressions need more than one word.
            if rng.random() < 0.5:
                color = drafts[-1][0]
            else:
                shape = drafts[-1][1]
        size = str(rng.choice(list(SIZES)))
        radius = float(rng.uniform(*SIZES[size]))
        x, y = (float(rng.uniform(radius + 1, SIDE - radius - 1)) for _ in range(2))
        angle = float(rng.uniform(-0.15, 0.15))
        if all(np.hypot(x - o[3], y - o[4]) > 0.85 * (radius + o[5]) for o in drafts):
            drafts.append((color, shape, size, x, y, radius, angle))
    return drafts


def _shape_mask(shape: str, x: float, y: float, radius: float, angle: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    dx, dy = columns - x, rows - y
    u, v = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    if shape == "circle":
        inside = u**2 + v**2 <= radius**2
    elif shape == "square":
        inside = np.maximum(abs(u), abs(v)) <= 0.86 * radius
    elif shape == "triangle":
        inside = (v <= 0.75 * radius) & (v >= -radius + 1.75 * abs(u))
    else:
        inside = (np.minimum(abs(u), abs(v)) <= 0.34 * radius) & (np.maximum(abs(u), abs(v)) <= radius)
    return np.asarray(inside)


def _ground(rng: np.random.Generator) -> NDArray[np.float64]:
    """Dark gradient with blocky clouds; every object is brighter in at least one channel."""
    base = rng.uniform(28, 60) + rng.uniform(-10, 10, 3)
    slope = rng.uniform(-20, 20, 2)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
    clouds = np.kron(rng.normal(0, 7, (8, 8)), np.ones((16, 16)))
    level = slope[0] * rows + slope[1] * columns + clouds
    return np.asarray(base[None, None, :] + level[:, :, None])


def _paint(
    image: NDArray[np.float64],
    mask: NDArray[np.bool_],
    color: tuple[int, int, int],
    x: float,
    y: float,
    radius: float,
    rng: np.random.Generator,
) -> None:
    tint = np.array(color) + rng.uniform(-14, 14, 3)
    rows, columns = np.nonzero(mask)
    shade = 1 + 0.12 * ((columns - x) + (rows - y)) / (2 * radius)
    texture = str(rng.choice(TEXTURES))
    if texture == "stripes":
        phase = rng.uniform(0, 2 * np.pi)
        shade = shade * (1 + 0.09 * np.sign(np.sin(2 * np.pi * (columns + rows) / 9 + phase)))
    elif texture == "dots":
        shade = shade * np.where((columns % 7 - 3) ** 2 + (rows % 7 - 3) ** 2 < 4, 0.82, 1.03)
    image[rows, columns] = tint * shade[:, None]


def _matches(
    scene: Scene, color: str | None = None, shape: str | None = None, size: str | None = None
) -> tuple[int, ...]:
    return tuple(
        i
        for i, o in enumerate(scene.objects)
        if color in (None, o.color) and shape in (None, o.shape) and size in (None, o.size)
    )


def _attributes(scene: Scene) -> list[Expression]:
    found = []
    for i, o in enumerate(scene.objects):
        wordings = [
            (f"the {o.color} {o.shape}", _matches(scene, o.color, o.shape)),
            (f"the {o.shape}", _matches(scene, shape=o.shape)),
            (f"the {o.color} object", _matches(scene, o.color)),
            (f"the {o.size} {o.shape}", _matches(scene, shape=o.shape, size=o.size)),
            (f"the {o.size} {o.color} {o.shape}", _matches(scene, o.color, o.shape, o.size)),
        ]
        found += [Expression(text, "attribute", (i,)) for text, matching in wordings if matching == (i,)]
    return found


DIRECTIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}


def _relations(scene: Scene) -> list[Expression]:
    found = []
    for i, anchor in enumerate(scene.objects):
        if _matches(scene, anchor.color, anchor.shape) != (i,):
            continue
        for word, (right, down) in DIRECTIONS.items():
            gaps = {
                j: (o.x - anchor.x) * right + (o.y - anchor.y) * down for j, o in enumerate(scene.objects) if j != i
            }
            clear = [j for j, gap in gaps.items() if gap > CLEAR_GAP]
            unclear = [j for j, gap in gaps.items() if NO_GAP < gap <= CLEAR_GAP]
            if len(clear) == 1 and not unclear:
                found.append(Expression(f"the object {word} the {anchor.name}", "relation", (clear[0],)))
            named: dict[str, list[int]] = {}
            for j in [*clear, *unclear]:
                named.setdefault(scene.objects[j].shape, []).append(j)
            for shape, several in named.items():
                if len(several) == 1 and several[0] in clear:
                    found.append(Expression(f"the {shape} {word} the {anchor.name}", "relation", (several[0],)))
    return found


SUPERLATIVES = {"leftmost": (-1, 0), "rightmost": (1, 0), "topmost": (0, -1), "bottommost": (0, 1)}


def _superlatives(scene: Scene) -> list[Expression]:
    found = []
    for word, (right, down) in SUPERLATIVES.items():
        order = sorted(
            range(len(scene.objects)), key=lambda j: -(scene.objects[j].x * right + scene.objects[j].y * down)
        )
        first, second = (scene.objects[j] for j in order[:2])
        if (first.x - second.x) * right + (first.y - second.y) * down > CLEAR_GAP:
            found.append(Expression(f"the {word} object", "superlative", (order[0],)))
    for word, size in (("largest", "large"), ("smallest", "small")):
        matching = _matches(scene, size=size)
        if len(matching) == 1:
            found.append(Expression(f"the {word} object", "superlative", matching))
    return found


def _multiples(scene: Scene) -> list[Expression]:
    found = []
    for color in COLORS:
        found.append(Expression(f"all {color} objects", "multi", _matches(scene, color)))
    for shape in SHAPES:
        plural = "crosses" if shape == "cross" else f"{shape}s"
        found.append(Expression(f"all {plural}", "multi", _matches(scene, shape=shape)))
    for size in SIZES:
        found.append(Expression(f"all {size} objects", "multi", _matches(scene, size=size)))
    alone = [i for i, o in enumerate(scene.objects) if _matches(scene, o.color, o.shape) == (i,)]
    for i in alone:
        for j in alone:
            if i != j:
                text = f"the {scene.objects[i].name} and the {scene.objects[j].name}"
                found.append(Expression(text, "multi", tuple(sorted((i, j)))))
    return [expression for expression in found if len(expression.targets) > 1]


def _absent(scene: Scene, rng: np.random.Generator) -> list[Expression]:
    present = {(o.color, o.shape) for o in scene.objects}
    near = [(c, s) for c, s in ((o.color, s) for o in scene.objects for s in SHAPES) if (c, s) not in present]
    far = [(c, s) for c in COLORS for s in SHAPES if not any(c == o.color or s == o.shape for o in scene.objects)]
    found = []
    for _ in scene.objects:
        pool = near if near and (not far or rng.random() < 0.6) else far
        if not pool:
            break
        color, shape = pool[int(rng.integers(len(pool)))]
        found.append(Expression(f"the {color} {shape}", "none", ()))
    for color in COLORS:
        if not _matches(scene, color) and rng.random() < 0.3:
            found.append(Expression(f"the {color} object", "none", ()))
    for shape in SHAPES:
        if not _matches(scene, shape=shape) and rng.random() < 0.3:
            found.append(Expression(f"the {shape}", "none", ()))
    return found
