"""Files of results of the benchmarks that are answered in words about regions.

In: what a JSON file of one holds, or samples and their answers. Out: predictions, or what such a file holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from samtok_eval.datasets.region_captions import (
    FERRET,
    FERRET_REASON,
    GAR_DETAIL,
    GAR_SIMPLE,
    MDVP,
    MDVP_QUESTIONS,
    VG,
    VIDEOREFER,
    VIDEOREFER_FRAMES,
)
from samtok_eval.prediction import Prediction, text_predictions
from samtok_eval.sample import CaptionTarget, Sample

DAM_QUESTION = "query"
"""The entry of DAM's caption files that holds what the model was asked; no region has such an id."""
RESULTS = (
    ("image_id", "caption"),
    ("image", "model_output"),
    ("image_name", "prediction"),
    ("question_id", "caption"),
    ("id", "pred"),
)
"""In lists of results, the keys of the sample and of its answer: GLaMM's, GAR's, MDVP-Bench's, Ferret-Bench's,
VideoRefer's."""
MDVP_KEYS = {"image_path", "caption", "gt"}
"""Of Grasp-Any-Region's results on MDVP-Bench, which count by their place."""


def read_results(content: Any) -> list[Prediction] | None:
    """The predictions of a file of results; None where it is of none of these benchmarks.

    DLC-Bench's is `{annotation id: caption}`, in which DAM also keeps its question.

    Raises:
        DataError: no row has an answer, or one is no text.
    """
    if isinstance(content, list):
        for name, said in RESULTS:
            if content and all(isinstance(row, dict) and name in row for row in content):
                return text_predictions([(str(row[name]), row.get(said)) for row in content], said)
        if content and all(isinstance(row, dict) and set(row) >= MDVP_KEYS for row in content):
            return text_predictions([(str(i), row["caption"]) for i, row in enumerate(content, start=1)], "caption")
    if not isinstance(content, dict):
        return None
    return text_predictions([(name, text) for name, text in content.items() if name != DAM_QUESTION], "caption")


def results_of(answered: Sequence[tuple[Sample, str]]) -> Any:
    """What a benchmark's own file of results holds.

    Args:
        answered: samples of one benchmark, and their answers.
    """
    row = ROWS.get(CaptionTarget.of(answered[0][0]).benchmark) if answered else None
    if row is not None:
        return [row(sample, text) for sample, text in answered]
    return {sample.id: text for sample, text in answered}


def _gar_row(sample: Sample, text: str) -> dict[str, Any]:
    """What GAR-Bench's scorers read of an answer."""
    target = CaptionTarget.of(sample)
    rles = [rle.to_coco() for rle in target.shown]
    return {"image": sample.id, **target.words, "mask_rles": rles, "model_output": text}


def _ferret_row(sample: Sample, text: str) -> dict[str, Any]:
    """What Ferret-Bench's scorers read of an answer, and its number."""
    return {"question_id": int(sample.id), "image_path": sample.image.id, "caption": text}


def _videorefer_row(sample: Sample, text: str) -> dict[str, Any]:
    """What VideoRefer-Bench-D's scorers read of an answer; they call the right description by two names."""
    right = CaptionTarget.of(sample).words["caption"]
    return {"id": int(sample.id), "video": sample.image.id, "caption": right, "Answer": right, "pred": text}


def _mdvp_row(sample: Sample, text: str) -> dict[str, Any]:
    """What MDVP-Bench's scorers read of an answer, and its place, by which it is known where others are missing."""
    right = CaptionTarget.of(sample).words["caption"]
    return {"question_id": int(sample.id), "image_path": sample.image.id, "caption": text, "gt": right}


def _mdvp_answer(sample: Sample, text: str) -> dict[str, Any]:
    """What Draw-and-Understand's scripts write of an answer, and its domain, of which they have a file each."""
    words = CaptionTarget.of(sample).words
    return {
        "dataset_name": f"{words['domain']}_box",
        "image_name": sample.id,
        "question_id": int(words["number"]),
        "question": words["question"],
        "prediction": text,
        "answer": words["answer"],
    }


ROWS: Mapping[str, Callable[[Sample, str], dict[str, Any]]] = {
    VG: lambda sample, text: {"image_id": int(sample.id), "caption": text},
    GAR_DETAIL: _gar_row,
    GAR_SIMPLE: _gar_row,
    **dict.fromkeys((FERRET, FERRET_REASON), _ferret_row),
    **dict.fromkeys((VIDEOREFER, VIDEOREFER_FRAMES), _videorefer_row),
    MDVP: _mdvp_row,
    **dict.fromkeys(MDVP_QUESTIONS, _mdvp_answer),
}
"""Rows of result files, where they are no dictionary by id."""
