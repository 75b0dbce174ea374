"""What answers without looking would score on the demo benchmark, per kind of expression.

`random instance` answers with one object of the picture at random (its expected score is computed, not drawn); `all
instances` answers with the union of all objects. A checkpoint that does not beat both has not learned to refer.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from samtok_eval import masks
from samtok_eval.files import read_json
from samtok_eval.masks import Rle
from samtok_eval.reports.format import points
from samtok_eval.reports.table import Table, Writer, aligned_text, left, right
from samtok_eval.run.folder import Run
from samtok_eval.sample import Sample


def instance_masks(samples: Sequence[Sample]) -> dict[str, list[Rle]]:
    """All single objects of each picture, from the `instances.json` of the demo data root."""
    image = samples[0].image
    content = read_json(image.path.parents[2] / "grefcoco" / "instances.json")
    found: dict[str, list[Rle]] = {}
    for annotation in (row for row in content["annotations"] if not row["iscrowd"]):
        rle = masks.from_segmentation(annotation["segmentation"], image.height, image.width)
        found.setdefault(str(annotation["image_id"]), []).append(rle)
    return found


def blind_scores(samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """GIoU of both blind answers by kind of expression, and over `all`.

    Args:
        samples: of the demo GRES benchmark.
    """
    instances = instance_masks(samples)
    per_kind: dict[str, list[tuple[float, float]]] = {}
    for sample in samples:
        objects = instances[sample.image.id]
        reference = masks.union(sample.target.masks, sample.image.height, sample.image.width)
        single = fmean(_iou(rle, reference) for rle in objects)
        everything = _iou(masks.union(objects, sample.image.height, sample.image.width), reference)
        for kind in (sample.slices["kind"], "all"):
            per_kind.setdefault(kind, []).append((single, everything))
    return {
        kind: {
            "n": len(pairs),
            "random instance": fmean(pair[0] for pair in pairs),
            "all instances": fmean(pair[1] for pair in pairs),
        }
        for kind, pairs in per_kind.items()
    }


def kinds_table(samples: Sequence[Sample], runs: Sequence[Run], write: Writer = aligned_text) -> str:
    """GIoU by kind of expression: every run beside both blind answers, x 100."""
    blind = blind_scores(samples)
    rows = []
    for kind in [*sorted(set(blind) - {"all"}), "all"]:
        scores = []
        for run in runs:
            metrics = run.metrics["strict"] if kind == "all" else run.metrics["slices"]["strict"]["kind"][kind]
            scores.append(metrics["giou"]["value"])
        values = [*scores, blind[kind]["random instance"], blind[kind]["all instances"]]
        rows.append([kind, f"{blind[kind]['n']:.0f}", *map(points, values)])
    names = [run.manifest.model.name for run in runs]
    columns = [*left("kind"), *right("n", *names, "random instance", "all instances")]
    return write(Table(columns, rows, ["gIoU x 100 by kind of expression (protocol strict)"]))


def _iou(first: Rle, second: Rle) -> float:
    inter, union = masks.intersection_and_union(first, second)
    return inter / union if union else 0.0
