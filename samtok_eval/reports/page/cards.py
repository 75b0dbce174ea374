"""One sample on a page: its picture, its masks in layers over it, and every text about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from samtok_eval.errors import DataError
from samtok_eval.images import read_image
from samtok_eval.metrics.cards import card
from samtok_eval.reports.format import points
from samtok_eval.reports.html import TEXT_SHOWN, shown
from samtok_eval.reports.page.galleries import Item
from samtok_eval.reports.page.pictures import difference_layer, fitted, instances_layer, photograph
from samtok_eval.run.slices import slices_of
from samtok_eval.sample import ImageRef, Region, Sample, Target

LABEL_SHOWN = 80


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
    panels: list[tuple[str, str | None]]
    """What is shown, and the data address of its layer."""
    facts: list[tuple[str, str]]
    prompt: str
    reference: str
    text: str | None
    """The answer."""
    before: str | None
    """The baseline's answer."""
    without: str | None
    """What cannot be seen, in words."""
    error: str | None


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
        label=shown(sample.phrase or item.id, LABEL_SHOWN),
        score=points(item.score),
        baseline=None if item.baseline is None else points(item.baseline),
        picture=pictures.name(sample.image),
        height=height,
        width=width,
        panels=_panels(item),
        facts=[(name, shown(value)) for name, value in facts_of(item, metric).items()],
        prompt=shown(conversation(sample), TEXT_SHOWN),
        reference=shown(_reference_text(sample), TEXT_SHOWN),
        text=None if prediction is None or prediction.text is None else shown(prediction.text, TEXT_SHOWN),
        before=None if item.before is None or item.before.text is None else shown(item.before.text, TEXT_SHOWN),
        without=_without(item),
        error=shown(prediction.error, TEXT_SHOWN) if prediction and prediction.error else None,
    )


def _without(item: Item) -> str | None:
    if item.prediction is None:
        return "There is no answer."
    if item.sample.target.masks and not item.answered:
        return "The answer has no mask."
    if item.sample.target == Target():
        return (
            "Nothing is meant, and something was marked."
            if item.answered
            else "Nothing is meant, and nothing was marked."
        )
    return None


def _panels(item: Item) -> list[tuple[str, str | None]]:
    size = (item.sample.image.height, item.sample.image.width)
    reference = item.sample.target.masks
    panels: list[tuple[str, str | None]] = [("picture", None)]
    layers = (
        ("regions in the question", item.asked),
        ("reference", reference),
        ("baseline", item.answered_before),
        ("prediction", item.answered),
    )
    panels += [(what, instances_layer(rles, *size)) for what, rles in layers if rles]
    if reference and item.answered:
        panels.append(("difference", difference_layer(reference, item.answered, *size)))
    if item.reconstructed:
        panels.append(("right codes, decoded", instances_layer(item.reconstructed, *size)))
    return panels


def facts_of(item: Item, metric: str | None) -> dict[str, str]:
    """What is known of a sample in a few words each, its slices at the end."""
    known = [
        ("sample", item.id),
        ("status", item.record.status),
        (card(metric or "").sample_title, None if metric is None or item.score is None else points(item.score)),
        ("baseline", None if item.baseline is None else points(item.baseline)),
        ("right codes", None if item.ceiling is None else points(item.ceiling)),
        ("codes", " ".join(f"({codes})" for codes in item.codes) or None),
    ]
    return {name: value for name, value in known if value is not None} | slices_of(item.record)


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
                words.append("[enlarged view]")
        lines.append(f"{turn.role}: {''.join(words)}")
    return "\n".join(lines)


def _reference_text(sample: Sample) -> str:
    target = sample.target
    triplets = [f"{t.subject} {t.predicate} {t.object}" for t in target.triplets]
    return "\n".join([*([target.choice] if target.choice else []), *target.texts, *target.labels, *triplets])
