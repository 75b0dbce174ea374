"""Scene graph parsing on PSG: a list of triplets, subject and object each with a mask and a class name.

Paper: arXiv 2207.11247. Official scorer: OpenPSG, `openpsg/evaluation/{sgg_eval,sgg_metrics}.py`, mode `sgdet` with
panoptic masks. SAMTok's own scripts: `psg/infer_qwen25vl.py` and `psg/eval_output_of_qwen25vl.py` of CycleGRPO's
`projects/vlm/tokenmask/evaluation`. Panoptic PNGs are annotations, so scoring reads them; it opens no photograph.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from samtok_eval.datasets.psg import GraphTarget, read_psg
from samtok_eval.errors import DataError
from samtok_eval.mask_tokens import Codes, PolicyCrashError, render
from samtok_eval.masks import Rle
from samtok_eval.metrics import scene_graph_samtok as samtok
from samtok_eval.metrics.ratio import Metric
from samtok_eval.metrics.scene_graph import (
    RANKS,
    Counts,
    Listed,
    Node,
    Relation,
    answered,
    every,
    given_mask,
    label_recall,
    match,
    mean_recall_at,
    normalized,
    parse_failure,
    read_answer,
    recall_at,
    repaired,
    triplet_scores,
)
from samtok_eval.metrics.scene_graph_separation import separation
from samtok_eval.metrics.separation import Separation
from samtok_eval.passages import RIGHT, WRONG, Answer, Line, Passage, Side, Words, labelled, passage, plain
from samtok_eval.prediction import AnswerStatus, Prediction, Record, of_other_pictures
from samtok_eval.prompts import SCENE_GRAPH, SCENE_GRAPH_CANDIDATES, Prompt
from samtok_eval.protocol import Protocol
from samtok_eval.sample import Sample, Turn
from samtok_eval.task import Task, TaskMetadata, mask_status, random_codes


@dataclass(frozen=True)
class SceneGraphRules:
    """How the scorers of scene graphs differ."""

    listed: Callable[[Sample, Prediction | None, Protocol], Listed]
    """How an answer is read."""
    counts: Counts
    """Which pictures enter recall."""
    predicates: Literal["occurring", "all", "later"]
    """Over which of them recall is averaged."""
    normalized: bool = False
    """Whether class names and predicates are compared without case, endings and synonyms."""
    once: bool = False
    """Whether a prediction hits one true triplet at most."""
    further: Callable[[Sequence[Record]], Mapping[str, Metric]] = lambda records: {}
    """Metrics beside recall."""


def _released(sample: Sample, prediction: Prediction | None, protocol: Protocol) -> Listed:
    """What the SAMTok scripts keep, without duplicates and with merged nodes, in the order of the answer."""
    target, text = sample.target, (prediction.text or "") if prediction else ""
    if prediction is None or not samtok.is_kept(text) or not isinstance(target, GraphTarget):
        return samtok.UNWRITTEN
    whole = set(protocol.codes_or_none(text) or [])

    def mask(node: Node) -> Rle | None:
        if prediction.masks is not None:
            return given_mask(prediction, node)
        # Escapes of JSON may hide words from whoever reads the text; no mask was decoded for them.
        found = [codes for codes in protocol.codes(node.words) if codes in whole]
        return prediction.decoded_mask(found[-1]) if found else None

    try:
        return samtok.listed(text, target.classes, target.predicates, target.stuff, mask, prediction.masks is None)
    except PolicyCrashError:
        return samtok.STOPPED


def _over_all_triplets(records: Sequence[Record]) -> Mapping[str, Metric]:
    return triplet_scores(records) | {"label_recall": label_recall(records)}


OURS = SceneGraphRules(repaired, every, "occurring", normalized=True, once=True, further=_over_all_triplets)
OPENPSG = SceneGraphRules(repaired, answered, "all")
SAMTOK = SceneGraphRules(_released, samtok.is_written, "later", further=samtok.changes)


class SceneGraph(Task):
    """Recall of triplets whose class names agree and whose two masks overlap."""

    metadata = TaskMetadata(
        name="scene_graph",
        title="Scene graphs (PSG)",
        version=3,
        paper="arXiv 2207.11247",
        data="https://github.com/Jingkang50/OpenPSG",
        licence="code MIT, annotations without a licence of their own; images: COCO terms",
        splits=("test", "train", "val"),
        default_split="test",
        sizes={"test": "about 2,200 images", "train": "about 46,000 images", "val": "not published"},
        files=(
            "psg/psg.json",
            "psg/psg_val.json",
            "coco/panoptic_train2017",
            "coco/panoptic_val2017",
            "coco/train2017",
            "coco/val2017",
        ),
        main_metric="recall@20",
        metrics=(
            *(f"recall@{rank}" for rank in RANKS),
            *(f"mean_recall@{rank}" for rank in RANKS),
            *(f"mean_recall_repaired@{rank}" for rank in RANKS),
            "triplet_precision",
            "triplet_recall",
            "triplet_f1",
            "label_recall",
            "parse_failure",
            *samtok.COUNTS,
        ),
        lower_is_better=("parse_failure", "dropped_answers", "unknown_names", "duplicate_triplets"),
        max_new_tokens=1024,
        notes="The order of the answer is the rank: language models give no scores.",
    )
    prompt: Prompt = SCENE_GRAPH
    prompts = (SCENE_GRAPH_CANDIDATES,)
    prompt_tokens: ClassVar[Mapping[str, int]] = {SCENE_GRAPH_CANDIDATES.id: 2048}
    protocols = (
        Protocol("strict", policy="default", missing_second="skip", errors_fail=True, rules=OURS),
        Protocol("official", policy="default", missing_second="skip", errors_fail=False, rules=OPENPSG),
        Protocol("samtok", policy="ref_nodes", missing_second="zero", errors_fail=False, rules=SAMTOK),
    )

    def read(self, data_root: Path, split: str, limit: int | None = None) -> list[Sample]:
        """One sample per picture that has a relation."""
        graphs = read_psg(data_root, split, limit)
        # The names are the file's, the same in every picture.
        names = graphs[0].target
        question = self.prompt(categories=", ".join(names.classes), predicates=", ".join(names.predicates))
        turns = (Turn("user", (question,)),)
        return [Sample(graph.image.id, graph.image, turns, graph.target) for graph in graphs]

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
        truth = [
            Relation(target.labels[s], predicate, target.labels[o], target.masks[s], target.masks[o])
            for s, predicate, o in target.triplets
        ]
        try:
            listed = protocol.rules.listed(sample, None if status == "error" else prediction, protocol)
            said, values, crashed = listed.relations, listed.values, listed.crashed
            plain = tuple([normalized(relation) for relation in several] for several in (truth, said))
            hits = match(*(plain if protocol.rules.normalized else (truth, said)), once=protocol.rules.once)
            earlier = {
                f"first_hit_{stage}": match(truth, relations, once=protocol.rules.once).first
                for stage, relations in listed.stages.items()
            }
        except ValueError as error:
            raise of_other_pictures(sample.id, error) from error
        labels = match(*plain, once=True, by_mask=False)
        return Record(
            id=sample.id,
            image_id=sample.image.id,
            protocol=protocol.name,
            status=status,
            failed=protocol.errors_fail and status in ("missing", "error", "invalid"),
            crashed=crashed,
            values={
                "predicates": float(len(target.predicates)),
                "without_mask": float(sum(m is None for r in said for m in (r.subject_mask, r.object_mask))),
                **values,
            },
            series={
                "gt_predicate": [target.predicates.index(triplet.predicate) for triplet in target.triplets],
                "first_hit": hits.first,
                "label_first_hit": labels.first,
                "prediction_hit": [int(hit) for hit in hits.predicted],
                **earlier,
            },
            slices=sample.slices,
        )

    def passages(
        self, sample: Sample, answers: Sequence[Answer], record: Record, protocol: Protocol[SceneGraphRules]
    ) -> list[Passage]:
        """Names of the masks, right triplets hit and missed, and answered triplets with what they hit."""
        target = sample.target
        found = passage("reference masks", [labelled(target.labels, "reference")])
        own = [record, *(self.score(sample, answer.prediction, protocol) for answer in answers[1:])]
        truth = [_triplet("reference", s, p, o, target.labels[s], target.labels[o]) for s, p, o in target.triplets]
        for answer, scored in zip(answers, own, strict=True):
            hits = [first >= 0 for first in scored.series["first_hit"]]
            who = "" if answer.side == "prediction" else " by the baseline"
            found += passage(f"right triplets, {sum(hits)} of {len(hits)} hit{who}", _marked(truth, hits))
        for answer, scored in zip(answers, own, strict=True):
            if answer.prediction is None or answer.prediction.status == "error":
                continue
            relations = protocol.rules.listed(sample, answer.prediction, protocol).relations
            places: dict[Rle | None, int] = {}
            for place, mask in enumerate(answer.masks):
                places.setdefault(mask, place)
            lines = []
            for said in relations:
                subject, thing = (places.get(mask) for mask in (said.subject_mask, said.object_mask))
                lines.append(_triplet(answer.side, subject, said.predicate, thing, said.subject, said.object))
            hits = [bool(hit) for hit in scored.series["prediction_hit"]]
            found += passage(f"{answer.title}, in its order", _marked(lines, hits))
            if not relations:
                found += plain(answer.title, answer.text)
        return found

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """Recall at several ranks, and what is known of all triplets."""
        rules: SceneGraphRules = self.protocol(protocol).rules
        found: dict[str, Metric] = {f"recall@{rank}": recall_at(records, rank, rules.counts) for rank in RANKS}
        for rank in RANKS:
            found[f"mean_recall@{rank}"] = mean_recall_at(records, rank, rules.counts, rules.predicates)
        return {**found, **rules.further(records), "parse_failure": parse_failure(records)}

    def separation(self, records: Mapping[str, Sequence[Record]]) -> Separation | None:
        """What separates the three protocols, counted by the scorer."""
        return separation(records)


def _triplet(
    side: Side, subject: int | None, predicate: str, thing: int | None, subject_name: str, thing_name: str
) -> Line:
    """A triplet as a line; a node without a mask of its own is plain."""

    def node(name: str, place: int | None) -> Words:
        return Words(name or "?") if place is None else Words(name or "?", side, place)

    return (node(subject_name, subject), Words(f" {predicate} "), node(thing_name, thing))


def _marked(lines: Iterable[Line], right: Iterable[bool]) -> list[Line]:
    return [(Words(RIGHT if hit else WRONG), *line) for line, hit in zip(lines, right, strict=True)]


TASKS = (SceneGraph(),)
