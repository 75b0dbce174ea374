"""Cases of the original scorers, parsers, readers and rewards: inputs, and what the original code returned for them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samtok_eval.mask_tokens import PolicyCrashError, masks_of
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.samples import read_samples
from samtok_eval.run.score import score
from samtok_eval.task import Task

ORIGINALS = Path(__file__).parents[1] / "golden" / "originals"


def cases(name: str) -> list[dict[str, Any]]:
    """All cases of one golden file."""
    content = json.loads((ORIGINALS / f"{name}.json").read_text())
    return content if isinstance(content, list) else content["cases"]


def codes_of(answer: str, policy: str) -> list[list[int]] | str:
    """Codes of an answer as the decoder of the original looks them up (absent: entry 0), or `"crash"`."""
    try:
        return looked_up(masks_of(answer, policy))
    except PolicyCrashError:
        return "crash"


def looked_up(codes: Sequence[Sequence[int]] | str) -> list[list[int]] | str:
    """Codes with entry 0 for an absent one."""
    return codes if isinstance(codes, str) else [[max(code, 0) for code in pair] for pair in codes]


def task(name: str) -> Task:
    """A bundled task."""
    return load_tasks()[name]


def write_json(path: Path, content: Any) -> None:
    """Write a benchmark's JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def paint_pictures(folder: Path, pictures: Mapping[str, Mapping[str, int]]) -> None:
    """Write the made-up pictures of MDVP-Bench's golden files, whose colors follow from a few numbers."""
    for name, made in pictures.items():
        ys, xs = np.mgrid[: made["height"], : made["width"]]
        colors = (xs * 5 + made["k"] * 40, ys * 7 + made["letters"] * 9, xs * ys)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((np.stack(colors, 2) % 256).astype(np.uint8)).save(path)


def write_pickle(path: Path, content: Any) -> None:
    """Write a benchmark's pickle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


def values_of(
    name: str, root: Path, split: str, predictions: Sequence[Prediction] | Mapping[str, Any], protocol: str
) -> dict[str, float]:
    """Metric values of one protocol.

    Args:
        name: task.
        root: data root.
        split: of the task.
        predictions: answers, or masks (RLE dictionaries) by sample id.
        protocol: the rules.
    """
    found = task(name)
    samples = read_samples(found, split, str(root), None)
    if isinstance(predictions, Mapping):
        predictions = [Prediction.model_validate({"id": key, "masks": rles}) for key, rles in predictions.items()]
    scored = score(found, samples, predictions, protocols=[protocol])
    return {metric: entry["value"] for metric, entry in scored.metrics[protocol].items()}


def released(name: str) -> dict[str, Any]:
    """What the SAMTok evaluation scripts of CycleGRPO returned, one file of `tests/golden/cyclegrpo`."""
    content: dict[str, Any] = json.loads((ORIGINALS.parent / "cyclegrpo" / f"{name}.json").read_text())
    return content
