"""One sample on a page: its picture, its masks in layers over it, and every text about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from samtok_eval.errors import DataError
from samtok_eval.images import read_image
from samtok_eval.masks import Rle, area, intersection_and_union
from samtok_eval.metrics.cards import card
from samtok_eval.passages import Side, in_short
from samtok_eval.prediction import Prediction
from samtok_eval.reports.format import points
from samtok_eval.reports.html import TEXT_SHOWN, shown
from samtok_eval.reports.page.galleries import Item
from samtok_eval.reports.page.pictures import (
    CHIP,
    OF_SIDE,
    Chip,
    chips,
    difference_layer,
    fitted,
    instances_layer,
    photograph,
)
from samtok_eval.run.slices import slices_of
from samtok_eval.sample import Crop, ImageRef, Region, Sample, Target

LABEL_SHOWN = 80
REFERENCE: Side = "reference"
PREDICTION: Side = "prediction"


@dataclass
class Pictures:
    """Photographs of a page, each inside it once, and what cannot be shown."""

    known: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Picture -> its name in the page and its data address."""
    missing: list[str] = field(default_factory=list)

    def name(self, image: ImageRef) -> str | None:
        """The name under which a picture stands in the page; None when its file cannot be read."""
        key = str(image.path)
        if key not in self.known and key not in self.missing:
            try:
                self.known[key] = (f"picture-{len(self.known)}", photograph(read_image(image)))
            except DataError:
                # The page says so; the numbers stand without pictures.
                self.missing.append(key)
        return self.known[key][0] if key in self.known else None


class Panel(NamedTuple):
    """One picture of a card."""

    what: str
    layer: str | None
    """Data address of what lies on the photograph."""
    chips: Sequence[Chip] = ()
    difference: bool = False
    """Whether the layer shows two sides against each other."""


class Told(NamedTuple):
    """A passage as pages show it."""

    title: str
    lines: Sequence[Sequence[tuple[str, int | None]]]
    """Texts, each with the number of the mask that it stands for."""


@dataclass(frozen=True)
class SampleCard:
    """What the template prints of a sample; texts are cut and shown as what they are."""

    id: str
    label: str
    score: str
    baseline: str | None
    """The baseline's score."""
    picture: str | None
    """Its name in the page."""
    height: int
    width: int
    panels: Sequence[Panel]
    told: Sequence[Told]
    facts: list[tuple[str, str]]
    prompt: str
    text: str | None
    """The answer."""
    before: str | None
    """The baseline's answer."""
    without: Sequence[str]
    """What cannot be seen, in words."""
    error: str | None

    @property
    def chip(self) -> float:
        """Radius of a number in the picture."""
        return CHIP * max(self.height, self.width)


def sample_card(item: Item, metric: str | None, pictures: Pictures) -> SampleCard:
    """The card of a sample in a gallery.

    Args:
        item: the sample.
        metric: what its score is of.
        pictures: where its picture is put.
    """
    sample, prediction = item.sample, item.prediction
    height, width = fitted(sample.image.height, sample.image.width)
    return SampleCard(
        id=item.id,
        label=shown(in_short(sample.phrase) or item.id, LABEL_SHOWN),
        score=points(item.score),
        baseline=None if item.baseline is None else points(item.baseline),
        picture=pictures.name(sample.image),
        height=height,
        width=width,
        panels=_panels(item),
        told=told(item, TEXT_SHOWN),
        facts=[(name, shown(value)) for name, value in facts_of(item, metric).items()],
        prompt=shown(conversation(sample), TEXT_SHOWN),
        text=None if prediction is None or prediction.text is None else shown(prediction.text, TEXT_SHOWN),
        before=None if item.before is None or item.before.text is None else shown(item.before.text, TEXT_SHOWN),
        without=without(item),
        error=shown(prediction.error, TEXT_SHOWN) if prediction and prediction.error else None,
    )


def told(item: Item, length: int) -> list[Told]:
    """What the task says of a sample, words that stand for a mask with its number.

    Args:
        item: the sample.
        length: characters of one piece of a line.
    """
    found = []
    for passage in item.passages:
        lines = []
        for line in passage.lines:
            numbers = [item.objects.get(words.side, ()) if words.side else () for words in line]
            lines.append(
                [
                    (shown(words.text, length), of_side[words.mask] if words.mask < len(of_side) else None)
                    for words, of_side in zip(line, numbers, strict=True)
                ]
            )
        found.append(Told(passage.title, lines))
    return found


def without(item: Item) -> list[str]:
    """What cannot be seen in the pictures, in words."""
    if item.prediction is None and item.record.status != "missing":
        # Masks of foreign predictions stay in their file.
        found = ["The answer was scored from a file, and is not in the run folder."]
    else:
        found = _without("The answer", item.prediction, item.answered, item)
    if item.compared:
        found += _without("The baseline's answer", item.before, item.answered_before, item)
    return found


def _without(whose: str, prediction: Prediction | None, answered: Sequence[Rle], item: Item) -> list[str]:
    target = item.sample.target
    if prediction is None:
        return [f"{whose} is missing."]
    if prediction.status == "error":
        return [f"{whose} is missing: a machine failed."]
    if target.masks and not answered:
        return [f"{whose} has no mask."]
    blank = sum(not area(rle) for rle in answered)
    if blank and blank == len(answered):
        return [f"{whose} has {'a mask' if blank == 1 else f'{blank} masks'} without a pixel."]
    if blank:
        return [f"{whose} has {len(answered)} masks, {blank} of them without a pixel."]
    if target == Target() and item.record.no_target:
        return [f"Nothing is meant. {whose} marks {'something' if answered else 'nothing'}."]
    return []


def _panels(item: Item) -> list[Panel]:
    size = (item.sample.image.height, item.sample.image.width)
    reference = item.sample.target.masks
    answer = "candidate" if item.compared else "prediction"
    sides: tuple[tuple[str, Side, Sequence[Rle]], ...] = (
        ("regions in the question", "asked", item.asked),
        ("reference", "reference", reference),
        ("baseline", "baseline", item.answered_before),
        (answer, "prediction", item.answered),
    )
    panels = [Panel("picture", None)]
    for what, side, rles in sides:
        numbers = item.objects.get(side)
        layer = instances_layer(rles, *size, numbers or [OF_SIDE[side]] * len(rles)) if rles else None
        if layer:
            panels.append(Panel(what, layer, chips(rles, *size, numbers) if numbers else ()))
    if reference and item.answered:
        panels.append(
            Panel(f"{answer} against reference", difference_layer(reference, item.answered, *size), difference=True)
        )
    if item.answered_before and item.answered:
        layer = difference_layer(item.answered_before, item.answered, *size)
        panels.append(Panel("candidate against baseline", layer, difference=True))
    if item.reconstructed:
        rles, numbers = item.reconstructed, item.objects.get("oracle")
        layer = instances_layer(rles, *size, numbers or [OF_SIDE["oracle"]] * len(rles))
        panels.append(Panel("right codes, decoded", layer, chips(rles, *size, numbers) if numbers else ()))
    return panels


def facts_of(item: Item, metric: str | None) -> dict[str, str]:
    """What is known of a sample in a few words each, its slices at the end."""
    known = [
        ("sample", item.id),
        ("status", item.record.status),
        (card(metric or "").sample_title, None if metric is None or item.score is None else points(item.score)),
        ("baseline", None if item.baseline is None else points(item.baseline)),
        ("right codes", None if item.ceiling is None else points(item.ceiling)),
        ("IoU of each object", _of_objects(item)),
        ("codes", " ".join(f"({codes})" for codes in item.codes) or None),
    ]
    return {name: value for name, value in known if value is not None} | slices_of(item.record)


def _of_objects(item: Item) -> str | None:
    """Which of several right masks were found, and how well."""
    reference, answered = (item.objects.get(side, ()) for side in (REFERENCE, PREDICTION))
    if len(set(reference)) < 2:
        return None
    given = dict(zip(answered, item.answered, strict=True))
    found = []
    for number, rle in dict(zip(reference, item.sample.target.masks, strict=True)).items():
        inter, union = intersection_and_union(rle, given[number]) if number in given else (0, 0)
        found.append(f"{number + 1}: {points(inter / union) if union else 'not found'}")
    surplus = len(set(answered) - set(reference))
    return ", ".join([*found, *([f"{surplus} more masks that fit none"] if surplus else [])])


def conversation(sample: Sample) -> str:
    """The question, with numbers for the regions that stand in it."""
    regions = 0
    lines = []
    for turn in sample.turns:
        words = []
        for part in turn.parts:
            if isinstance(part, str):
                words.append(part)
            elif isinstance(part, Region):
                regions += 1
                words.append(f"[region {regions}]")
            else:
                words.append("[enlarged view]" if isinstance(part, Crop) else "[further picture]")
        lines.append(f"{turn.role}: {''.join(words)}")
    return "\n".join(lines)
