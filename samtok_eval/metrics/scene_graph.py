"""Scene graphs: reading triplets out of an answer, matching them with the truth, and the metrics over Records.

Answer format: the fenced JSON list of the released SAMTok training data and reward
(`rl/reward_function/text2mask.py`). Matching and recall: OpenPSG, `openpsg/evaluation/sgg_metrics.py`, mode `sgdet`
with `pan_seg` masks. Reading never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from samtok_eval import masks
from samtok_eval.masks import Rle
from samtok_eval.metrics.ratio import Array, Ratio, Sums, mean_of
from samtok_eval.metrics.referring import clusters
from samtok_eval.metrics.tolerant_json import read_list, unescaped
from samtok_eval.prediction import Prediction, Record
from samtok_eval.protocol import Protocol
from samtok_eval.sample import Sample

RANKS = (20, 50, 100)
"""The K of recall@K, as OpenPSG reports them."""
ALIASES = {
    # People are one class of COCO.
    "people": "person",
    "man": "person",
    "men": "person",
    "woman": "person",
    "women": "person",
    "boy": "person",
    "girl": "person",
    "child": "person",
    "children": "person",
    # Other common words for a COCO class.
    "aeroplane": "airplane",
    "plane": "airplane",
    "bike": "bicycle",
    "motorbike": "motorcycle",
    "television": "tv",
    "sofa": "couch",
    "cellphone": "cell phone",
    "mobile phone": "cell phone",
    "doughnut": "donut",
    # Stuff classes whose words COCO turns round.
    "brick wall": "wall brick",
    "stone wall": "wall stone",
    "tile wall": "wall tile",
    "tiled wall": "wall tile",
    "wooden wall": "wall wood",
    "wood floor": "floor wood",
    "wooden floor": "floor wood",
    "blinds": "window blind",
}
"""Other words for a class, both sides as `normalized_label` writes them before the look-up."""

Counts = Callable[[Record], bool]
"""Whether a picture enters recall."""
_ENDINGS = ("merged", "other", "stuff")


class Node(NamedTuple):
    """A subject or an object as an answer writes it."""

    words: str
    """The raw text of `mask_2d`."""
    label: str
    mention: int
    """How many nodes the answer names before this one, those of dropped entries included."""


class Said(NamedTuple):
    """A triplet as an answer writes it."""

    subject: Node
    predicate: str
    object: Node


@dataclass(frozen=True)
class Reading:
    """What an answer says."""

    triplets: tuple[Said, ...]
    dropped: int
    """Entries of the list that are no whole triplet."""
    well_formed: bool
    """A fenced JSON list and nothing else."""
    failed: bool
    """Nothing could be read, and the answer is not an empty list either."""


class Relation(NamedTuple):
    """A triplet to be matched."""

    subject: str
    predicate: str
    object: str
    subject_mask: Rle | None
    """None where an answer names no mask."""
    object_mask: Rle | None

    @property
    def names(self) -> tuple[str, str, str]:
        """The triplet without its masks."""
        return self[:3]


class Listed(NamedTuple):
    """What a scorer takes from an answer."""

    relations: list[Relation]
    """Triplets with their masks, best first."""
    values: Mapping[str, float]
    """What was repaired, dropped or changed, as values of a record."""
    crashed: bool = False
    """Whether the scorer would have stopped."""
    stages: Mapping[str, Sequence[Relation]] = {}
    """Triplets before the last of several stages, whose hits a record keeps, too."""


class Hits(NamedTuple):
    """Which triplets found each other."""

    first: list[int]
    """Per true triplet the rank, from 0, of the first prediction that hits it; -1 if none does."""
    predicted: list[bool]
    """Per prediction whether it hits a true triplet."""


def read_answer(text: str, masks_in_text: bool = True) -> Reading:
    """Triplets of an answer, in its order.

    Read after any reasoning, as `tolerant_json` reads a list; of one that is cut off, whole triplets are kept. Keys may
    stand in any order; unknown keys are ignored.

    Args:
        text: the whole answer.
        masks_in_text: whether a node needs `mask_2d`; otherwise the masks come beside the text.
    """
    said = text.rpartition("</think>")[2].rpartition("<answer>")[2].partition("</answer>")[0].strip()
    found = read_list(said)
    if found is None:
        return Reading((), 0, well_formed=False, failed=True)
    triplets, mention = [], 0
    for entry in found.entries:
        nodes: dict[str, Node] = {}
        fields = entry if isinstance(entry, dict) else {}
        for key, value in fields.items():
            if key in ("subject", "object") and isinstance(value, dict):
                node = _node(value, mention, masks_in_text)
                mention += 1
                if node is not None:
                    nodes[key] = node
        predicate = fields.get("predicate")
        if len(nodes) == 2 and isinstance(predicate, str):
            triplets.append(Said(nodes["subject"], unescaped(predicate), nodes["object"]))
    dropped = len(found.entries) - len(triplets)
    return Reading(tuple(triplets), dropped, found.well_formed, failed=bool(found.entries) and not triplets)


def repaired(sample: Sample, prediction: Prediction | None, protocol: Protocol) -> Listed:
    """Every triplet that can be read, however badly the answer is written; several masks of one node are united.

    Raises:
        DataError: the decoded mask of a node is not in the prediction, or broken.
    """
    if prediction is None:
        return Listed([], {"parse_failed": 1.0, "repaired": 0.0, "dropped": 0.0})
    reading = read_answer(prediction.text or "", masks_in_text=prediction.masks is None)
    height, width = sample.image.height, sample.image.width

    def mask(node: Node) -> Rle | None:
        if prediction.masks is not None:
            return given_mask(prediction, node)
        found = dict.fromkeys(protocol.codes_or_none(node.words) or [])
        return masks.union([*map(prediction.decoded_mask, found)], height, width) if found else None

    said = [Relation(s.label, predicate, o.label, mask(s), mask(o)) for s, predicate, o in reading.triplets]
    values = {
        "parse_failed": float(reading.failed),
        "repaired": float(bool(said) and not reading.well_formed),
        "dropped": float(reading.dropped),
    }
    return Listed(said, values)


def given_mask(prediction: Prediction, node: Node) -> Rle | None:
    """The mask that stands beside the text for a node; None where there are fewer masks than nodes."""
    return prediction.brought_mask(node.mention) if node.mention < len(prediction.masks or ()) else None


def normalized(relation: Relation) -> Relation:
    """A triplet with its names in their plain form."""
    return relation._replace(
        subject=normalized_label(relation.subject),
        predicate=normalized_predicate(relation.predicate),
        object=normalized_label(relation.object),
    )


def normalized_label(label: str) -> str:
    """A class name without case, without COCO's endings `-merged`, `-other` and `-stuff`, and by its usual word."""
    parts = label.strip().lower().split("-")
    while len(parts) > 1 and parts[-1] in _ENDINGS:
        parts.pop()
    short = _plain(" ".join(parts))
    return ALIASES.get(short, short)


def normalized_predicate(predicate: str) -> str:
    """A predicate without case, outer blanks and underscores."""
    return _plain(predicate.lower())


def overlap(first: Rle, second: Rle) -> bool:
    """Whether the IoU is at least 0.5; no for two empty masks.

    Raises:
        ValueError: the sizes differ.
    """
    inter, union = masks.intersection_and_union(first, second)
    return union > 0 and 2 * inter >= union


def match(truth: Sequence[Relation], predicted: Sequence[Relation], *, once: bool, by_mask: bool = True) -> Hits:
    """Find predictions with the names of a true triplet and, for both nodes, a mask IoU of at least 0.5.

    Args:
        truth: true triplets.
        predicted: predicted triplets, best first.
        once: a prediction hits the first fitting triplet that is still free, and no other. Otherwise it hits every
            fitting triplet, as in OpenPSG. Going down the list keeps the hits of the first K those of a list of K.
        by_mask: compare masks; otherwise names alone.

    Raises:
        ValueError: masks of different sizes.
    """
    by_names: dict[tuple[str, str, str], list[int]] = {}
    for i, relation in enumerate(truth):
        by_names.setdefault(relation.names, []).append(i)
    known: dict[tuple[Rle, Rle], bool] = {}

    def fits(answered: Rle | None, true: Rle | None) -> bool:
        if answered is None or true is None:
            return False
        if (answered, true) not in known:
            known[answered, true] = overlap(answered, true)
        return known[answered, true]

    hits = Hits([-1] * len(truth), [False] * len(predicted))
    for rank, said in enumerate(predicted):
        for i in by_names.get(said.names, ()):
            if once and hits.first[i] >= 0:
                continue
            true = truth[i]
            if by_mask and not (
                fits(said.subject_mask, true.subject_mask) and fits(said.object_mask, true.object_mask)
            ):
                continue
            hits.predicted[rank] = True
            if hits.first[i] < 0:
                hits.first[i] = rank
            if once:
                break
    return hits


def every(record: Record) -> bool:
    """Any picture."""
    del record
    return True


def answered(record: Record) -> bool:
    """Whether any triplet was predicted; OpenPSG skips pictures without one."""
    return len(record.series["prediction_hit"]) > 0


def recall_at(records: Sequence[Record], rank: int, counts: Counts = every) -> Ratio:
    """recall@K: mean over the pictures that count of true triplets hit by the first K predictions / true triplets."""
    values = [sum(0 <= hit < rank for hit in r.series["first_hit"]) / len(r.series["first_hit"]) for r in records]
    return mean_of(values, clusters(records), [counts(record) for record in records])


def mean_recall_at(
    records: Sequence[Record],
    rank: int,
    counts: Counts = every,
    over: Literal["occurring", "all", "later"] = "occurring",
) -> Sums:
    """mean_recall@K: recall per picture and predicate, averaged over pictures, then over predicates.

    Args:
        records: statistics of all pictures.
        rank: K.
        counts: whether a picture does.
        over: the predicates that occur; `all` of the file, those that occur nowhere as 0; or `later`, which leaves the
            file's first one out of the sum and not out of the number by which it is divided.
    """
    classes = max((int(record.values["predicates"]) for record in records), default=0)
    # Per predicate: the picture's recall, and whether the picture has it.
    statistics = np.zeros((len(records), 2 * classes))
    for row, record in enumerate(records):
        if not counts(record):
            continue
        predicates = np.asarray(record.series["gt_predicate"], dtype=np.intp)
        first = np.asarray(record.series["first_hit"])
        count = np.bincount(predicates, minlength=classes)
        hit = np.bincount(predicates, weights=(first >= 0) & (first < rank), minlength=classes)
        statistics[row] = np.concatenate([hit / np.maximum(count, 1), count > 0])

    def formula(sums: Array) -> Array:
        recalls, pictures = sums[:, :classes], sums[:, classes:]
        total: Array = (recalls / np.maximum(pictures, 1))[:, int(over == "later") :].sum(axis=1)
        divisor = (pictures > 0).sum(axis=1) if over == "occurring" else np.full(len(sums), classes)
        values: Array = np.where(divisor > 0, total / np.maximum(divisor, 1), np.nan)
        return values

    return Sums(statistics, clusters(records), formula)


def triplet_scores(records: Sequence[Record]) -> dict[str, Ratio]:
    """Precision, recall and F1 over all triplets of all pictures, whatever their rank.

    Needs one-to-one hits; F1 is then 2 x hits / (predictions + true triplets).
    """
    hit = [sum(first >= 0 for first in record.series["first_hit"]) for record in records]
    said = [len(record.series["prediction_hit"]) for record in records]
    true = [len(record.series["first_hit"]) for record in records]
    pictures = clusters(records)
    return {
        "triplet_precision": Ratio(hit, said, pictures),
        "triplet_recall": Ratio(hit, true, pictures),
        "triplet_f1": Ratio([2 * h for h in hit], [s + t for s, t in zip(said, true, strict=True)], pictures),
    }


def label_recall(records: Sequence[Record]) -> Ratio:
    """True triplets whose three names are predicted, masks not compared / true triplets, over all pictures."""
    hit = [sum(first >= 0 for first in record.series["label_first_hit"]) for record in records]
    return Ratio(hit, [len(record.series["label_first_hit"]) for record in records], clusters(records))


def parse_failure(records: Sequence[Record]) -> Ratio:
    """Share of pictures whose answer is missing or cannot be read."""
    return mean_of([record.values["parse_failed"] for record in records], clusters(records))


def _node(value: dict[str, object], mention: int, masks_in_text: bool) -> Node | None:
    words, label = value.get("mask_2d"), value.get("label")
    if not isinstance(label, str) or (masks_in_text and not isinstance(words, str)):
        return None
    # The raw words, so that a node's codes are always among the codes of the whole answer.
    return Node(words if isinstance(words, str) else "", unescaped(label), mention)


def _plain(text: str) -> str:
    return " ".join(text.replace("_", " ").split())
