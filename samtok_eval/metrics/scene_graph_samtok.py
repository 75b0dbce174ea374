"""Scene graphs as the SAMTok scripts read and merge them before they count recall.

Facts: `psg/infer_qwen25vl.py` (which answers are kept, and what is read from them) and `psg/eval_output_of_qwen25vl.py`
(names, duplicates, merged nodes) of CycleGRPO's `projects/vlm/tokenmask/evaluation`. In: a text, then triplets with
masks in the order of the answer. Out: the triplets that those scripts hand to OpenPSG's recall.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from samtok_eval import masks
from samtok_eval.mask_tokens import PolicyCrashError
from samtok_eval.masks import Rle
from samtok_eval.metrics.ratio import Metric, Ratio, mean_of
from samtok_eval.metrics.referring import clusters
from samtok_eval.metrics.scene_graph import RANKS, Listed, Node, Relation, Said, mean_recall_at
from samtok_eval.prediction import Record

END_OF_TURN = "<|im_end|>"
"""The scripts keep it in the answer; back ends of this program may not."""
FENCE = "```"
_SCORE = math.exp(10) / (math.exp(10) + 133)
"""That of every node: softmax over 133 classes and none, of which one has logit 10 and the others 0."""
_SURE = 0.8
"""A pixel belongs to a merged node where the mean score of its members is above this."""
_BRACKET = re.compile(r"[\[\]{}]")
_CLOSING = {"[": "]", "{": "}"}


UNWRITTEN = Listed([], {"parse_failed": 1.0, "unwritten": 1.0})
"""An answer for which the scripts write no file, so that its picture does not count."""
STOPPED = Listed([], {"parse_failed": 1.0, "unwritten": 0.0}, crashed=True)
COUNTS = ("dropped_answers", "unknown_names", "duplicate_triplets", "changed_nodes")
"""Metrics that tell what separates these numbers from those of other protocols."""


class Merged(NamedTuple):
    """Triplets whose nodes share masks."""

    relations: list[Relation]
    changed: int
    """Nodes that got another mask than the answer gave them."""


def is_kept(text: str) -> bool:
    """Whether the scripts write anything for an answer: it must end with a fence, without a blank behind it."""
    return f"{FENCE}{END_OF_TURN}" in text if END_OF_TURN in text else text.endswith(FENCE)


def entries(text: str) -> list[Any]:
    """Entries of the first JSON block of an answer, else of the longest JSON list or object in it.

    A broken list thus loses all triplets but its longest one.

    Raises:
        PolicyCrashError: there is no JSON.
    """
    try:
        values = _parsed(_json_blocks(text)) or _parsed(_balanced(text))
    except RecursionError as error:
        raise PolicyCrashError("JSON that is nested too deeply; the script's parser stops") from error
    if not values:
        raise PolicyCrashError("no JSON in the answer; the script raises")
    return values[0] if isinstance(values[0], list) else values[:1]


def listed(
    text: str,
    classes: Collection[str],
    predicates: Collection[str],
    stuff: Collection[str],
    mask: Callable[[Node], Rle | None],
    masks_in_text: bool = True,
) -> Listed:
    """Triplets of a kept answer whose names are the file's, without duplicates and with merged nodes.

    Args:
        text: the whole answer.
        classes: class names of the file.
        predicates: of the file.
        stuff: those of the classes that are no countable things.
        mask: of a node; None where its text names none.
        masks_in_text: whether a node needs `mask_2d`; otherwise the masks come beside the text.

    Raises:
        PolicyCrashError: the scripts would stop at this answer.
    """
    found = entries(text)
    known = known_triplets(found, frozenset(classes), predicates, mask, masks_in_text)
    left = deduplicated(known)
    merging = merged(left, stuff)
    values = {
        "parse_failed": 0.0,
        "unwritten": 0.0,
        "listed": float(len(found)),
        "unknown": float(len(found) - len(known)),
        "duplicates": float(len(known) - len(left)),
        "nodes": 2.0 * len(left),
        "changed": float(merging.changed),
    }
    return Listed(merging.relations, values, stages={"known": known, "deduplicated": left})


def is_written(record: Record) -> bool:
    """Whether the scripts write a file for the picture."""
    return not record.values["unwritten"]


def changes(records: Sequence[Record]) -> dict[str, Metric]:
    """Mean recall over all predicates, as OpenPSG has it, and `COUNTS`."""
    found: dict[str, Metric] = {
        f"mean_recall_repaired@{rank}": mean_recall_at(records, rank, is_written, "all") for rank in RANKS
    }
    pictures = clusters(records)

    def total(name: str) -> list[float]:
        return [record.values.get(name, 0.0) for record in records]

    return found | {
        "dropped_answers": mean_of(total("unwritten"), pictures),
        "unknown_names": Ratio(total("unknown"), total("listed"), pictures),
        "duplicate_triplets": Ratio(total("duplicates"), total("listed"), pictures),
        "changed_nodes": Ratio(total("changed"), total("nodes"), pictures),
    }


def known_triplets(
    found: Sequence[Any],
    classes: Collection[str],
    predicates: Collection[str],
    mask: Callable[[Node], Rle | None],
    masks_in_text: bool = True,
) -> list[Relation]:
    """Triplets whose three names are the file's, outer blanks aside; see `listed`.

    Raises:
        PolicyCrashError: an entry is no triplet, a subject has no mask, or no triplet is left.
    """
    relations = []
    for i, entry in enumerate(found):
        try:
            said = _triplet(entry, 2 * i, masks_in_text)
        except (KeyError, TypeError, AttributeError) as error:
            raise PolicyCrashError("an entry is no triplet; the script looks its fields up") from error
        if said.subject.label in classes and said.object.label in classes and said.predicate in predicates:
            subject, other = mask(said.subject), mask(said.object)
            if subject is None:
                raise PolicyCrashError("a subject without a mask; the script then has more names than masks")
            relations.append(Relation(said.subject.label, said.predicate, said.object.label, subject, other))
    if not relations:
        raise PolicyCrashError("no triplet is left; the script stacks an empty list")
    return relations


def deduplicated(relations: Sequence[Relation]) -> list[Relation]:
    """Triplets but for those with the names of an earlier one whose masks both overlap its by more than half."""
    kept: dict[tuple[str, str, str], list[Relation]] = {}
    left = []
    for relation in relations:
        earlier = kept.setdefault(relation.names, [])
        if not any(
            _more_than_half(other.subject_mask, relation.subject_mask)
            and _more_than_half(other.object_mask, relation.object_mask)
            for other in earlier
        ):
            earlier.append(relation)
            left.append(relation)
    return left


def merged(relations: Sequence[Relation], stuff: Collection[str]) -> Merged:
    """Triplets with one mask per group of nodes: those of a stuff class, and overlapping ones of another class.

    Subjects come before objects. A node joins the first group of its class whose first member it overlaps by more than
    half. The mask of a group is nearly the intersection of its members, see `_common`.

    Args:
        relations: triplets without duplicates.
        stuff: names of classes whose nodes are always one.
    """
    nodes = [(r.subject, r.subject_mask) for r in relations] + [(r.object, r.object_mask) for r in relations]
    groups: dict[str, list[list[int]]] = {}
    for i, (label, mask) in enumerate(nodes):
        mine = groups.setdefault(label, [])
        group = next((g for g in mine if label in stuff or _more_than_half(nodes[g[0]][1], mask)), None)
        if group is None:
            mine.append([i])
        else:
            group.append(i)
    found = {i: _common([nodes[j][1] for j in group]) for mine in groups.values() for group in mine for i in group}
    count = len(relations)
    return Merged(
        [
            relation._replace(subject_mask=found[i], object_mask=found[count + i])
            for i, relation in enumerate(relations)
        ],
        sum(found[i] != mask for i, (_, mask) in enumerate(nodes)),
    )


def _json_blocks(text: str) -> Iterator[str]:
    """Texts between a fence of the name `json` and the next one."""
    lower, start = text.lower(), 0
    while (start := lower.find(f"{FENCE}json", start)) >= 0:
        start += len(FENCE) + len("json")
        end = text.find(FENCE, start)
        if end < 0:
            return
        yield text[start:end]
        start = end + len(FENCE)


def _balanced(text: str) -> Iterator[str]:
    """Lists and objects in a text by their brackets, the longest first."""
    opened: list[re.Match[str]] = []
    spans = []
    for bracket in _BRACKET.finditer(text):
        if bracket[0] in _CLOSING:
            opened.append(bracket)
        elif opened and _CLOSING[opened[-1][0]] == bracket[0]:
            spans.append((opened.pop().start(), bracket.end()))
    return (text[start:end] for start, end in sorted(spans, key=lambda span: span[0] - span[1]))


def _parsed(parts: Iterable[str]) -> list[Any]:
    """What the first part that is JSON says; none where none is."""
    for part in parts:
        with suppress(ValueError):
            return [json.loads(part)]
    return []


def _triplet(entry: Any, mention: int, masks_in_text: bool) -> Said:
    """An entry as a triplet; how it may fail is the caller's to see."""
    order = [key for key in entry if key in ("subject", "object")]
    subject, other = (
        Node(_words(node) if masks_in_text else "", node["label"].strip(), mention + order.index(key))
        for key, node in (("subject", entry["subject"]), ("object", entry["object"]))
    )
    return Said(subject, entry["predicate"].strip(), other)


def _words(node: Any) -> str:
    words = node["mask_2d"]
    if not isinstance(words, str):
        raise TypeError(f"mask words must be text, got {type(words).__name__}")
    return words


def _more_than_half(first: Rle | None, second: Rle | None) -> bool:
    if first is None or second is None:
        return False
    inter, union = masks.intersection_and_union(first, second)
    return 2 * inter > union


def _common(members: Sequence[Rle | None]) -> Rle | None:
    """Pixels in as many members as the mean score asks for: all of up to five, all but one of six."""
    if len(set(members)) == 1:
        return members[0]
    known = [member for member in members if member is not None]
    least = math.floor(_SURE * len(members) / _SCORE) + 1
    if len(known) < least:
        return None
    covered = np.zeros((known[0].height, known[0].width), dtype=np.int32)
    for member in known:
        covered += masks.decode(member)
    return masks.encode(covered >= least)
