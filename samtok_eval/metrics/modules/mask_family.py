"""What the modules over one mask per sample share: the schema, and the way from its rows to Records.

In: the rows that `evaluate` hands to a metric, each a COCO compressed run-length encoding. Out: `Record`s for the
functions of `samtok_eval.metrics`. The modules share one schema because `evaluate.combine` asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.masks import Rle
from samtok_eval.metrics.ratio import Metric
from samtok_eval.metrics.scoring import region_counts
from samtok_eval.prediction import Record

Row = dict[str, Any]

NO_ANSWER: Row = {"size": [], "counts": ""}
"""A prediction that does not exist, which `strict` counts as a failure; an empty mask is an answer.

Not None: `evaluate` takes None in every row of a batch but the first.
"""

INPUTS = """
Args:
    predictions: one mask per sample, `{"size": [height, width], "counts": text}`, COCO's compressed run lengths; an
        empty mask is one run of background; `{"size": [], "counts": ""}` stands for an answer that does not exist.
    references: one mask per sample, of the same size as its prediction.
"""


def info(description: str, *papers: str) -> Any:
    """The `evaluate.MetricInfo` of a module of this family.

    Args:
        description: what the values are.
        papers: arXiv numbers, e.g. `2306.00968`.
    """
    import datasets
    import evaluate

    mask = {"size": datasets.Sequence(datasets.Value("int32")), "counts": datasets.Value("string")}
    return evaluate.MetricInfo(
        description=description,
        citation=", ".join(f"arXiv {paper}" for paper in papers),
        inputs_description=INPUTS,
        features=datasets.Features({"predictions": mask, "references": mask}),
        reference_urls=[f"https://arxiv.org/abs/{paper}" for paper in papers],
    )


def region_records(predictions: Sequence[Row], references: Sequence[Row]) -> list[Record]:
    """Pixels of each prediction against its reference, under `strict`.

    Args:
        predictions: N rows of the schema.
        references: N rows of the schema.

    Returns:
        N records. Every sample is a picture of its own.

    Raises:
        DataError: a mask is broken, or the two masks of a sample have different sizes.
    """
    return _records(predictions, references, lambda rle: rle)


def boundary_records(predictions: Sequence[Row], references: Sequence[Row]) -> list[Record]:
    """As `region_records`, over the pixels of `masks.boundary` only.

    Raises:
        DataError: a mask is broken, or the two masks of a sample have different sizes.
    """
    return _records(predictions, references, lambda rle: masks.encode(masks.boundary(masks.decode(rle))))


def values(metrics: Mapping[str, Metric]) -> dict[str, float | None]:
    """Values between 0 and 1 by metric name, None where no sample counts."""
    return {name: metric.value for name, metric in metrics.items()}


def _records(
    predictions: Sequence[Row],
    references: Sequence[Row],
    part: Callable[[Rle], Rle],
) -> list[Record]:
    rows = enumerate(zip(predictions, references, strict=True))
    return [_record(row, prediction, reference, part) for row, (prediction, reference) in rows]


def _record(row: int, prediction: Row, reference: Row, part: Callable[[Rle], Rle]) -> Record:
    truth = _rle(reference, f"sample {row}, reference")
    missing = prediction == NO_ANSWER
    answer = () if missing else (_rle(prediction, f"sample {row}, prediction"),)
    for rle in answer:
        if (rle.height, rle.width) != (truth.height, truth.width):
            raise DataError(
                f"sample {row}: expected a prediction of the reference's size {truth.height}x{truth.width}, got "
                f"{rle.height}x{rle.width}; bring the mask to the picture's size, and check the order of the samples"
            )
    counts = region_counts([part(rle) for rle in answer], [part(truth)], truth.height, truth.width)
    return Record(
        id=str(row),
        image_id=str(row),
        protocol="strict",
        status="missing" if missing else "foreign",
        inter=counts.inter,
        union=counts.union,
        gt_area=counts.gt_area,
        pred_area=counts.pred_area,
        no_target=counts.gt_area == 0,
        failed=missing,
    )


def _rle(value: Row, place: str) -> Rle:
    try:
        return Rle.from_coco(value)
    except ValueError as error:
        raise DataError(
            f"{place}: {error}; give COCO's compressed run lengths {{'size': [height, width], 'counts': text}} "
            "(pycocotools writes bytes: counts.decode())"
        ) from error
