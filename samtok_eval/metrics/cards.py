"""What is known of a metric, once: title, unit, direction, bounds, and whether a mask tokenizer can lose it.

In: a metric's name as it stands in `metrics.json`, e.g. `pr@0.5`, `giou_stuff` or `dlc_pos|llama`. Out: its card, which
tables, reports, gates and leaderboards read. A name that no card knows, of a task file of somebody's own, is a share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

JUDGED = "|"
"""Stands between a metric and the judge that gave it in names of files; `MetricKey` alone splits and joins them."""
AT = "@"
"""Stands between a metric and its threshold or rank."""
Unit = Literal["share", "score", "count"]
Direction = Literal["higher", "lower", "none"]


@dataclass(frozen=True)
class MetricKey:
    """A metric and the judge that gave it, so that two judges never share a column."""

    metric: str
    judge: str = ""
    """Empty for a metric without a judge."""

    @classmethod
    def of(cls, name: str) -> MetricKey:
        """The key of a name in `metrics.json`, e.g. `giou` or `dlc_pos|llama`."""
        metric, _, judge = name.partition(JUDGED)
        return cls(metric, judge)

    def __str__(self) -> str:
        """The name in files."""
        return f"{self.metric}{JUDGED}{self.judge}" if self.judge else self.metric


@dataclass(frozen=True)
class MetricCard:
    """What is known of one metric."""

    title: str
    """Head of its column."""
    unit: Unit = "share"
    """`share` lies in 0..1; `score` has other bounds but is written x 100 like a share; `count` is written as it is."""
    better: Direction = "higher"
    """`none` where the value is not the model's, or neither more nor less of it is better."""
    highest: float | None = 1.0
    """The value that cannot be exceeded; None without one."""
    lowest: float = 0.0
    """The value below which none can be."""
    masks: bool = False
    """Whether decoded masks enter it, so that a mask tokenizer can lose some of it."""
    judged: bool = False
    """Whether it needs a judge model."""
    of_one_sample: str = ""
    """What its value for one sample is called, where that has a name of its own."""

    @property
    def is_share(self) -> bool:
        """Whether it lies in 0..1."""
        return self.unit == "share"

    @property
    def is_count(self) -> bool:
        """Whether it is written as it is."""
        return self.unit == "count"

    @property
    def scale(self) -> int:
        """By what it is multiplied in tables."""
        return 1 if self.is_count else 100

    @property
    def sample_title(self) -> str:
        """Head of a column of values of single samples."""
        return self.of_one_sample or self.title

    @property
    def splits_into_losses(self) -> bool:
        """Whether what is missing to 1 divides into the tokenizer's loss and the language model's."""
        return self.is_share and self.better == "higher" and self.masks


def _masks(title: str) -> MetricCard:
    return MetricCard(title, masks=True)


CARDS = {
    "ciou": MetricCard("cIoU", masks=True, of_one_sample="IoU"),
    "giou": MetricCard("gIoU", masks=True, of_one_sample="IoU"),
    "n_acc": _masks("N-acc"),
    "t_acc": _masks("T-acc"),
    "pr@": _masks("Pr"),
    "box_acc@": _masks("box acc"),
    "boundary_iou": _masks("boundary IoU"),
    "ap50": _masks("AP50"),
    "miou_gcg": _masks("mIoU"),
    "recall_gcg": _masks("recall"),
    "recall_gcg_minilm": _masks("recall (MiniLM)"),
    "recall@": _masks("recall"),
    "mean_recall@": _masks("mean recall"),
    "mean_recall_repaired@": _masks("repaired mean recall"),
    "triplet_precision": _masks("triplet precision"),
    "triplet_recall": _masks("triplet recall"),
    "triplet_f1": _masks("triplet f1"),
    "label_recall": MetricCard("label recall"),
    "parse_failure": MetricCard("parse failure", better="lower"),
    "dropped_answers": MetricCard("dropped answers", better="lower"),
    "unknown_names": MetricCard("unknown names", better="lower"),
    "duplicate_triplets": MetricCard("duplicate triplets", better="lower"),
    "changed_nodes": MetricCard("changed nodes", better="none"),
    "meteor": MetricCard("METEOR"),
    "cider": MetricCard("CIDEr", unit="score", highest=10.0),
    "judge_accuracy": MetricCard("judge accuracy", judged=True),
    "relative_score": MetricCard("relative score", unit="score", highest=None, judged=True),
    "empty": MetricCard("empty", better="lower"),
    "accuracy": MetricCard("accuracy"),
    "semantic_similarity": MetricCard("semantic similarity", unit="score", lowest=-1.0),
    "semantic_iou": MetricCard("semantic IoU"),
    "majority": MetricCard("majority", better="none"),
    "token_match": MetricCard("token match"),
}
"""By name; a name that ends in `@` is followed by a threshold or rank."""
FAMILIES = {
    "giou_": MetricCard("gIoU ", masks=True, of_one_sample="IoU"),
    "dlc_": MetricCard("dlc ", unit="score", lowest=-1.0, judged=True),
    "mdvp_": MetricCard("MDVP ", unit="score", highest=None, judged=True),
    "videorefer_": MetricCard("VideoRefer ", unit="count", highest=5.0, judged=True),
    "used_": MetricCard("codes used ", unit="count", better="none", highest=None),
    "perplexity_": MetricCard("perplexity ", unit="count", better="none", highest=None),
}
"""By beginning; what follows is added to the title."""


def card(metric: str) -> MetricCard:
    """The card of a metric; of an unknown one, that of a share about which nothing else is known.

    Args:
        metric: as in `metrics.json`; what follows `@` and the judge after `|` become part of the title.
    """
    key = MetricKey.of(metric)
    found = _known(key.metric) or MetricCard(key.metric.replace("_", " "))
    return replace(found, title=f"{found.title} ({key.judge})") if key.judge else found


def has_card(metric: str) -> bool:
    """Whether anything is known of a metric."""
    return _known(MetricKey.of(metric).metric) is not None


def _known(name: str) -> MetricCard | None:
    base, at, detail = name.partition(AT)
    if base + at in CARDS:
        found = CARDS[base + at]
        return replace(found, title=f"{found.title}{at}{detail}")
    for beginning, family in FAMILIES.items():
        if name.startswith(beginning):
            return replace(family, title=family.title + name.removeprefix(beginning).replace("_", " "))
    return None
