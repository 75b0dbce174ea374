"""Scene graph parsing on PSG: a list of triplets, subject and object each with a mask and a class name.

Paper: arXiv 2207.11247. Official scorer: OpenPSG, `openpsg/evaluation/{sgg_eval,sgg_metrics}.py`, mode `sgdet` with
panoptic masks. The released SAMTok code trains and rewards scene graphs but has no script that evaluates them; the
prompt is its demo's, the answer format its reward's. Panoptic PNGs are annotations, so scoring reads them; it opens no
photograph.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samtok_eval import masks
from samtok_eval.datasets.psg import GraphTarget, read_psg
from samtok_eval.errors import DataError
from samtok_eval.mask_tokens import Codes, render
from samtok_eval.masks import Rle
from samtok_eval.metrics.ratio import Metric
from samtok_eval.metrics.scene_graph import (
    RANKS,
    Node,
    Reading,
    Relation,
    label_recall,
    match,
    mean_recall_at,
    normalized_label,
    normalized_predicate,
    parse_failure,
    read_answer,
    recall_at,
    triplet_scores,
)
from samtok_eval.prediction import AnswerStatus, Prediction, Record
from samtok_eval.prompts import SCENE_GRAPH
from samtok_eval.protocol import Protocol
from samtok_eval.sample import Sample, Turn
from samtok_eval.task import Task, TaskMetadata, mask_status, random_codes


@dataclass(frozen=True)
class SceneGraphRules:
    """How the scorers of scene graphs differ."""

    normalized: bool
    """Whether class names and predicates are compared without case, endings and synonyms."""
    once: bool
    """Whether a prediction hits one true triplet at most."""
    as_openpsg: bool
    """Whether recall leaves pictures without a prediction out, and its mean counts predicates that occur nowhere."""
    all_triplets: bool
    """Whether scores over all triplets, whatever their rank, and recall of names alone are given."""


OURS = SceneGraphRules(normalized=True, once=True, as_openpsg=False, all_triplets=True)
OPENPSG = SceneGraphRules(normalized=False, once=False, as_openpsg=True, all_triplets=False)


class SceneGraph(Task):
    """Recall of triplets whose class names agree and whose two masks overlap."""

    metadata = TaskMetadata(
        name="scene_graph",
        title="Scene graphs (PSG)",
        version=1,
        paper="arXiv 2207.11247",
        data="https://github.com/Jingkang50/OpenPSG",
        licence="code MIT, annotations without a licence of their own; images: COCO terms",
        splits=("test", "train"),
        default_split="test",
        sizes={"test": "about 2,200 images", "train": "about 46,000 images"},
        files=("psg/psg.json", "coco/panoptic_train2017", "coco/panoptic_val2017", "coco/train2017", "coco/val2017"),
        main_metric="recall@20",
        metrics=(
            *(f"recall@{rank}" for rank in RANKS),
            *(f"mean_recall@{rank}" for rank in RANKS),
            "triplet_precision",
            "triplet_recall",
            "triplet_f1",
            "label_recall",
            "parse_failure",
        ),
        lower_is_better=("parse_failure",),
        max_new_tokens=1024,
        notes="The order of the answer is the rank: language models give no scores.",
    )
    prompt = SCENE_GRAPH
    protocols = (
        Protocol("strict", policy="default", missing_second="skip", errors_fail=True, rules=OURS),
        Protocol("official", policy="default", missing_second="skip", errors_fail=False, rules=OPENPSG),
    )

    def read(self, data_root: Path, split: str) -> list[Sample]:
        """One sample per picture that has a relation."""
        turns = (Turn("user", (SCENE_GRAPH(),)),)
        return [Sample(graph.image.id, graph.image, turns, graph.target) for graph in read_psg(data_root, split)]

    def answer(self, sample: Sample, codes: Sequence[Codes]) -> str:
        """All relations, in the order of the file, as a fenced JSON list in one line."""
        nodes = [
            {"mask_2d": render([entries], self.layout), "label": label}
            for entries, label in zip(codes, sample.target.labels, strict=True)
        ]
        triplets = [
            {"subject": nodes[s], "predicate": predicate, "object": nodes[o]}
            for s, predicate, o in sample.target.triplets
        ]
        return f"```json\n{json.dumps(triplets)}\n```"

    def guess(self, sample: Sample, samples: Sequence[Sample], rng: np.random.Generator) -> str:
        """The relations of another picture with random masks."""
        others = [other for other in samples if other.id != sample.id]
        if not others:
            return "```json\n[]\n```"
        other = others[int(rng.integers(len(others)))]
        return self.answer(other, [random_codes(rng, self.layout) for _ in other.target.masks])

    def status(self, text: str) -> AnswerStatus:
        """`ok` only for a fenced JSON list of whole triplets whose mask words are well formed."""
        words, reading = mask_status(text, self.layout), read_answer(text)
        if words in ("no_mask", "invalid"):
            return words
        if not reading.triplets:
            return "invalid"
        return "ok" if words == "ok" and reading.well_formed and not reading.dropped else "repaired"

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol[SceneGraphRules]) -> Record:
        """Which triplets are hit."""
        target = sample.target
        if not isinstance(target, GraphTarget):
            raise DataError(f"sample {sample.id} does not say which predicates there are; read it with `read_psg`")
        status = "missing" if prediction is None else prediction.status
        unanswered = prediction is None or status == "error"
        reading = Reading((), 0, well_formed=False, failed=True)
        said: list[Relation] = []
        truth = [
            Relation(target.labels[s], predicate, target.labels[o], target.masks[s], target.masks[o])
            for s, predicate, o in target.triplets
        ]
        try:
            if prediction is not None and not unanswered:
                reading = read_answer(prediction.text or "", masks_in_text=prediction.masks is None)
                said = _relations(reading, sample, prediction, protocol)
            plain = tuple([_normalized(relation) for relation in several] for several in (truth, said))
            hits = match(*(plain if protocol.rules.normalized else (truth, said)), once=protocol.rules.once)
        except ValueError as error:
            raise DataError(f"prediction {sample.id}: {error}; it was made for other pictures") from error
        labels = match(*plain, once=True, by_mask=False)
        return Record(
            id=sample.id,
            image_id=sample.image.id,
            protocol=protocol.name,
            status=status,
            failed=protocol.errors_fail and status in ("missing", "error", "invalid"),
            values={
                "predicates": float(len(target.predicates)),
                "parse_failed": float(reading.failed),
                "repaired": float(bool(said) and not reading.well_formed),
                "dropped": float(reading.dropped),
                "without_mask": float(sum(m is None for r in said for m in (r.subject_mask, r.object_mask))),
            },
            series={
                "gt_predicate": [target.predicates.index(triplet.predicate) for triplet in target.triplets],
                "first_hit": hits.first,
                "label_first_hit": labels.first,
                "prediction_hit": [int(hit) for hit in hits.predicted],
            },
            slices=sample.slices,
        )

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """Recall at several ranks, and what is known of all triplets."""
        rules: SceneGraphRules = self.protocol(protocol).rules
        found: dict[str, Metric] = {
            f"recall@{rank}": recall_at(records, rank, skip_unanswered=rules.as_openpsg) for rank in RANKS
        }
        found |= {f"mean_recall@{rank}": mean_recall_at(records, rank, rules.as_openpsg) for rank in RANKS}
        if rules.all_triplets:
            found |= triplet_scores(records) | {"label_recall": label_recall(records)}
        return found | {"parse_failure": parse_failure(records)}


def _normalized(relation: Relation) -> Relation:
    names = (normalized_label(relation.subject), normalized_predicate(relation.predicate))
    return Relation(*names, normalized_label(relation.object), relation.subject_mask, relation.object_mask)


def _relations(reading: Reading, sample: Sample, prediction: Prediction, protocol: Protocol) -> list[Relation]:
    """The answer's triplets with their masks; several masks of one node are united."""
    height, width = sample.image.height, sample.image.width
    known: dict[str, Rle] = {}

    def decoded(codes: Codes) -> Rle:
        if codes.key not in known:
            if codes.key not in prediction.decoded:
                raise DataError(
                    f"prediction {sample.id}: no decoded mask for the codes {codes.key}; run `predict` again, "
                    "or give masks"
                )
            known[codes.key] = prediction.decoded[codes.key].rle()
        return known[codes.key]

    def mask(node: Node) -> Rle | None:
        if prediction.masks is not None:
            return prediction.masks[node.mention].rle() if node.mention < len(prediction.masks) else None
        found = dict.fromkeys(protocol.codes_or_none(node.words) or [])
        return masks.union([decoded(codes) for codes in found], height, width) if found else None

    return [Relation(s.label, predicate, o.label, mask(s), mask(o)) for s, predicate, o in reading.triplets]


TASKS = (SceneGraph(),)
