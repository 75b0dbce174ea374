"""Reconstruction: the mask tokenizer alone. Every mask is encoded to codes and decoded again.

No language model takes part, so this is the ceiling of every other task, on the same masks. Boundary IoU follows arXiv
2103.16562 (band of 2 % of the diagonal). Protocol `first_code` decodes the first code alone. On EntitySeg gIoU is what
`ablation/eval_samtok_*_mask_reconstruction.py` of CycleGRPO's `projects/vlm/tokenmask/evaluation` calls rMaskIoU.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from samtok_eval import masks
from samtok_eval.datasets.entityseg import read_entityseg
from samtok_eval.datasets.gar import each_gar
from samtok_eval.datasets.refer import each_expression
from samtok_eval.errors import DataError
from samtok_eval.files import inside, numbered_json_lines, reading, text
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout
from samtok_eval.masks import Rle
from samtok_eval.metrics.codebooks import perplexity
from samtok_eval.metrics.ratio import Description, Metric, Ratio
from samtok_eval.metrics.referring import ciou, clusters, giou, precisions
from samtok_eval.metrics.scoring import score_region
from samtok_eval.passages import Answer, Passage, plain
from samtok_eval.prediction import Prediction, Record
from samtok_eval.protocol import Protocol
from samtok_eval.sample import ImageRef, Sample, Target
from samtok_eval.task import Task, TaskMetadata

SMALL, MEDIUM = 32**2, 96**2
"""COCO's area limits in pixels."""
MASKS_FILE = "masks.jsonl"


def _of_books(layout: Layout) -> list[str]:
    """Names of the metrics that each codebook has."""
    return [f"{metric}_{book}" for metric in ("used", "perplexity") for book in range(1, layout.depth + 1)]


class Reconstruction(Task):
    """Mean IoU, cIoU, boundary IoU and use of the codebooks, one sample per mask."""

    metadata = TaskMetadata(
        name="reconstruction",
        title="Mask reconstruction (tokenizer alone)",
        version=1,
        paper="arXiv 2601.16093 (tokenizer), 2103.16562 (boundary IoU)",
        data="masks of RefCOCO val, of GAR-Bench, of EntitySeg val, or of any folder",
        licence="that of the masks",
        splits=("refcoco-val", "gar", "entityseg", "folder"),
        default_split="refcoco-val",
        sizes={
            "refcoco-val": "distinct objects of RefCOCO val",
            "gar": "regions of the GAR-Bench pictures that are on disk",
            "entityseg": "every annotation of EntitySeg val in low resolution",
            "folder": f"every mask of {MASKS_FILE}",
        },
        files=(
            "refcoco/refs(unc).p",
            "gar_bench/GAR-Bench-VQA.json",
            "entityseg/entitysef_val_lr.json",
            "entityseg/entity_lr",
            MASKS_FILE,
        ),
        main_metric="giou",
        metrics=(
            "giou",
            "ciou",
            "boundary_iou",
            "pr@0.5",
            "pr@0.9",
            *_of_books(DEFAULT_LAYOUT),
        ),
        notes=f"Split folder reads lines {{'image': relative path, 'masks': [RLE]}} of <data root>/{MASKS_FILE}.",
    )
    prompt = None
    needs_language_model = False
    protocols = (
        Protocol("strict", policy="default", missing_second="skip", errors_fail=True),
        Protocol("first_code", policy="first_code", missing_second="skip", errors_fail=True),
    )

    def with_layout(self, layout: Layout) -> Task:
        """The task with the metrics of as many codebooks."""
        other = super().with_layout(layout)
        if other is not self:
            shared = [name for name in self.metadata.metrics if name not in _of_books(self.layout)]
            other.metadata = self.metadata.model_copy(update={"metrics": (*shared, *_of_books(layout))})
        return other

    def read(self, data_root: Path, split: str, limit: int | None = None) -> list[Sample]:
        """One sample per mask."""
        if split == "refcoco-val":
            return list(islice(_refcoco(data_root), limit))
        if split == "gar":
            folder = data_root / "gar_bench"
            rows = ((item.image.id, item.regions) for item in each_gar(folder))
            present = ((image, rles) for image, rles in rows if (folder / image).is_file())
            samples = list(islice(_from_rows(present, folder), limit))
            if not samples:
                raise DataError(f"{folder} holds none of the benchmark's images; put them under {folder / 'images'}")
            return samples
        if split == "entityseg":
            entities = read_entityseg(data_root / "entityseg", limit)
            return [_sample(found.id, found.image, found.mask) for found in entities]
        path = data_root / MASKS_FILE
        with reading(f"{path}: every line must be {{'image': path, 'masks': [RLE]}}"):
            lines = ((text(row["image"]), list(row["masks"])) for _, row in numbered_json_lines(path))
            return list(islice(_from_rows(lines, data_root), limit))

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol) -> Record:
        """Pixels, and pixels near the edges, of the decoded mask against the mask itself."""
        record = score_region(sample, prediction, protocol)
        values: dict[str, float] = dict(_boundary_counts(sample, prediction, protocol))
        if prediction is not None and prediction.text:
            codes = protocol.codes_or_none(prediction.text)
            if codes:
                values |= {f"code_{book}": code for book, code in enumerate(codes[0], 1)}
        return Record(**{**record.__dict__, "values": values})

    def passages(self, sample: Sample, answers: Sequence[Answer], record: Record, protocol: Protocol) -> list[Passage]:
        """The codes between the mask and its reconstruction, and how much of it they keep."""
        found: list[Passage] = []
        for answer in answers:
            codes = " ".join(f"({code.replace(',', ', ')})" for code in answer.codes)
            found += plain("codes" if answer.side == "prediction" else "the baseline's codes", codes)
        edge = record.values["boundary_inter"] / max(record.values["boundary_union"], 1)
        return [*found, *plain("kept", f"IoU {100 * record.iou:.1f}, boundary IoU {100 * edge:.1f}")]

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """The same under both protocols; perplexity is 2 to the entropy in bits."""
        boundary = Ratio(
            [record.values["boundary_inter"] / max(record.values["boundary_union"], 1) for record in records],
            [1.0] * len(records),
            clusters(records),
        )
        found: dict[str, Metric] = {
            "giou": giou(records),
            "ciou": ciou(records),
            "boundary_iou": boundary,
            **precisions(records, (0.5, 0.9)),
        }
        for book in range(1, self.layout.depth + 1):
            codes = [int(r.values[f"code_{book}"]) for r in records if r.values.get(f"code_{book}", -1) >= 0]
            if codes:
                counts = np.bincount(codes)
                found[f"used_{book}"] = Description(float((counts > 0).sum()), len(codes))
                found[f"perplexity_{book}"] = Description(perplexity(counts), len(codes))
        return found


def _refcoco(data_root: Path) -> Iterator[Sample]:
    folder = data_root / "refcoco"
    expressions = each_expression(
        folder / "refs(unc).p", folder / "instances.json", data_root / "coco" / "train2014", "val"
    )
    seen: set[tuple[str, str]] = set()
    for e in expressions:
        key = (e.image.id, e.instances[0].counts)
        if key not in seen:
            yield _sample(f"{e.image.id}-{len(seen)}", e.image, e.instances[0])
            seen.add(key)


def _from_rows(rows: Iterable[tuple[str, Sequence[Any]]], folder: Path) -> Iterator[Sample]:
    for image, rles in rows:
        for i, value in enumerate(rles):
            with reading(f"mask {i} of {image}"):
                rle = value if isinstance(value, Rle) else Rle.from_coco(value)
            reference = ImageRef(str(Path(image).with_suffix("")), inside(folder, image), rle.height, rle.width)
            yield _sample(f"{reference.id}-{i}", reference, rle)


def _sample(sample_id: str, image: ImageRef, rle: Rle) -> Sample:
    area = masks.area(rle)
    size = "small" if area < SMALL else "medium" if area < MEDIUM else "large"
    return Sample(sample_id, image, (), Target((rle,)), slices={"size": size})


def _boundary_counts(sample: Sample, prediction: Prediction | None, protocol: Protocol) -> dict[str, float]:
    truth = masks.boundary(masks.decode(sample.target.masks[0]))
    codes = protocol.codes_or_none(prediction.text or "") if prediction is not None else None
    if prediction is None or not (codes or prediction.masks):
        return {"boundary_inter": 0, "boundary_union": int(truth.sum())}
    rle = prediction.decoded_mask(codes[0]) if codes and not prediction.masks else prediction.brought_mask(0)
    found = masks.boundary(masks.decode(rle))
    return {"boundary_inter": int((truth & found).sum()), "boundary_union": int((truth | found).sum())}


TASKS = (Reconstruction(),)
