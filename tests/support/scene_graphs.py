"""Scene graphs of a 4x4 picture, each row of which is one segment: person, dog, grass, sky."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from samtok_eval import masks
from samtok_eval.datasets.psg import GraphTarget
from samtok_eval.mask_tokens import render
from samtok_eval.prediction import CocoRle, Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from samtok_eval.sample import ImageRef, Sample, Triplet

TASK = load_tasks()["scene_graph"]
LABELS = ("person", "dog", "grass-merged", "sky-other-merged")
PREDICATES = ("beside", "on", "over", "riding")
WORDS = [render([(row, row)]) for row in range(8)]
"""Codes (r, r) decode to row r for r < 4; (4, 4) to a half and (5, 5) to a quarter of row 0, (6, 6) to rows 0 and 1."""


def rows(*numbers: int) -> np.ndarray:
    mask = np.zeros((4, 4), dtype=bool)
    mask[list(numbers)] = True
    return mask


def part(pixels: int) -> np.ndarray:
    mask = np.zeros((4, 4), dtype=bool)
    mask[0, :pixels] = True
    return mask


DECODED = [rows(0), rows(1), rows(2), rows(3), part(2), part(1), rows(0, 1)]


def sample(*triplets: tuple[int, str, int], name: str = "1") -> Sample:
    target = GraphTarget(
        masks=tuple(masks.encode(rows(row)) for row in range(4)),
        labels=LABELS,
        triplets=tuple(Triplet(*triplet) for triplet in triplets),
        predicates=PREDICATES,
        classes=LABELS,
        stuff=frozenset(LABELS[2:]),
    )
    return Sample(name, ImageRef(name, Path("none.png"), 4, 4), (), target)


def entry(subject: int, predicate: str, other: int, labels: tuple[str, ...] = (*LABELS, *["person"] * 4)):
    return {
        "subject": {"mask_2d": WORDS[subject], "label": labels[subject]},
        "predicate": predicate,
        "object": {"mask_2d": WORDS[other], "label": labels[other]},
    }


def fenced(*entries: object) -> str:
    return f"```json\n{json.dumps(list(entries))}\n```"


def answer(text: str, name: str = "1") -> Prediction:
    decoded = {f"{row},{row}": CocoRle.model_validate(masks.encode(mask).to_coco()) for row, mask in enumerate(DECODED)}
    return Prediction(id=name, text=text, decoded=decoded, status=TASK.status(text))


def values(samples, answers, protocol="strict"):
    found = score(TASK, samples, answers, protocols=[protocol]).metrics[protocol]
    return {name: value["value"] for name, value in found.items()}


def records(samples, answers, protocol="strict"):
    return score(TASK, samples, answers, protocols=[protocol]).records
