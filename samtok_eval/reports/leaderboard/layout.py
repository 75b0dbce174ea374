"""Which columns stand in which table, and in which order: that of the papers' own tables.

A layout joins a benchmark as `published.csv` names it with the task and splits that measure it here. What no layout
names still gets a table: every other published split one of its own, every other task all its metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from samtok_eval.metrics.cards import card
from samtok_eval.metrics.scene_graph import RANKS

UNRANKED = ("#tuples",)
"""Published columns of which neither more nor less is better."""


@dataclass(frozen=True)
class Group:
    """Published columns that the papers print side by side."""

    columns: tuple[tuple[str, str], ...]
    """(split, metric) as `published.csv` writes them."""
    title: str = ""
    """Empty for the benchmark's main table."""
    main: tuple[str, str] | None = None
    """The column that the benchmark is known by; the first ranked one where it is not named."""


@dataclass(frozen=True)
class Layout:
    """The tables of one benchmark."""

    name: str
    """As `published.csv` writes it, or the task's title."""
    groups: tuple[Group, ...] = ()
    task: str | None = None
    splits: tuple[str, ...] = ()
    """The task's splits that belong here, in order."""
    metrics: tuple[str, ...] = ()
    """The task's metrics, in the order of the papers' columns; empty for all that a result has."""
    notes: tuple[str, ...] = ()
    """What a reader must know before comparing."""
    main: str = ""
    """The task's metric that the benchmark is known by; the first ranked one where it is not named."""


def grid(splits: Sequence[str], metrics: Sequence[str], title: str = "", main: tuple[str, str] | None = None) -> Group:
    """Every metric of a split, then the next split."""
    return Group(tuple((split, metric) for split in splits for metric in metrics), title, main)


def ranked(metric: str) -> bool:
    """Whether the highest value of a column is the best one."""
    return metric not in UNRANKED and card(metric).better == "higher"


VAL_AND_TESTS = ("val", "testA", "testB")
ROUNDS = tuple(f"val round {number}" for number in range(2, 9))
MEAN_IOU = "mean IoU per expression"
PRESUMED_CIOU = "IoU (unlabelled; cIoU presumed)"
LLAMA, GPT = "Llama-3.1-8B judge, text only", "GPT-4o-2024-11-20 judge with crop+mask"
_ROUNDS_NOTE = (
    "Published by round; here all rounds are pooled. With history `gt` the model sees the true earlier masks, with "
    "`pred` its own."
)


def _referring(name: str, task: str) -> Layout:
    groups = (grid(VAL_AND_TESTS, ("cIoU",)), grid(VAL_AND_TESTS, ("mIoU",), MEAN_IOU))
    return Layout(name, groups, task, VAL_AND_TESTS, ("ciou",))


def _rounds(name: str, split: str, *, published: bool = True) -> Layout:
    groups = (grid(ROUNDS, (PRESUMED_CIOU,)),) if published else ()
    return Layout(name, groups, "interactive", (split,), ("ciou", "giou"), (_ROUNDS_NOTE,) if published else ())


LAYOUTS = (
    Layout(
        "GRES (gRefCOCO)",
        (
            grid(VAL_AND_TESTS, ("gIoU", "cIoU", "N-acc")),
            grid(("avg of val/testA/testB",), ("gIoU", "cIoU", "N-acc"), "mean of the three splits"),
            grid(VAL_AND_TESTS, ("T-acc",), "T-acc"),
            grid(VAL_AND_TESTS, ("target mIoU",), "mean IoU of the expressions with a target"),
        ),
        "gres",
        VAL_AND_TESTS,
        ("giou", "ciou", "n_acc"),
    ),
    _referring("RefCOCO", "refcoco"),
    _referring("RefCOCO+", "refcoco+"),
    Layout(
        "RefCOCOg",
        tuple(grid(("val(U)", "test(U)"), (metric,), title) for metric, title in (("cIoU", ""), ("mIoU", MEAN_IOU))),
        "refcocog",
        ("val", "test"),
        ("ciou",),
    ),
    Layout(
        "GCG",
        (grid(("val", "test"), ("METEOR", "CIDEr", "AP50", "mIoU", "Recall"), main=("val", "AP50")),),
        "gcg",
        ("val", "test"),
        ("meteor", "cider", "ap50", "miou_gcg", "recall_gcg", "recall_gcg_minilm"),
        (
            "METEOR and CIDEr move strongly with the prompt: some models were asked for a detailed caption, some for a "
            "brief one.",
        ),
        "ap50",
    ),
    Layout(
        "GroundingSuite-Eval",
        (grid(("Stuff", "Part", "Multi", "Single", "All"), ("gIoU",), main=("All", "gIoU")),),
        "grounding_suite",
        ("eval",),
        ("giou_stuff", "giou_part", "giou_multi", "giou_single", "giou"),
        main="giou",
    ),
    _rounds("MR-RefCOCO", "refcoco"),
    _rounds("MR-RefCOCO+", "refcoco+"),
    _rounds("MR-RefCOCOg", "refcocog"),
    _rounds("MR-PACO", "paco", published=False),
    Layout(
        "DLC-Bench",
        tuple(
            grid((judge,), ("Pos", "Neg", "Avg"), judge, (judge, "Avg"))
            for judge in (LLAMA, GPT, f"{LLAMA} (judge inferred)")
        ),
        "region_caption",
        ("dlc",),
        ("dlc_pos", "dlc_neg", "dlc_avg"),
        ("Two judges give different scales; each has columns of its own.",),
        "dlc_avg",
    ),
    Layout(
        "Region captioning RefCOCOg",
        (grid(("val",), ("METEOR", "CIDEr")),),
        "region_caption",
        ("refcocog-val",),
        ("meteor", "cider"),
    ),
    Layout(
        "Region captioning VG",
        (grid(("test",), ("METEOR", "CIDEr")),),
        "region_caption",
        ("vg",),
        ("meteor", "cider"),
    ),
    Layout(
        "GAR-Bench-VQA",
        (
            grid(
                ("test(424)",),
                (
                    "acc Overall",
                    "acc Color",
                    "acc Shape",
                    "acc Texture",
                    "acc Material",
                    "acc Position(ordering)",
                    "acc Non-Entity(mirror)",
                    "acc Relation",
                ),
            ),
        ),
        "region_vqa",
        ("test",),
        ("accuracy",),
    ),
    Layout(
        "GAR-Bench-Cap",
        (grid(("Simple(97)", "Detailed(107)"), ("judge acc",)),),
        "region_caption",
        ("gar-simple", "gar-detail"),
        ("judge_accuracy",),
        ("Published numbers are those of gpt-4o-2024-11-20; each judge has columns of its own.",),
    ),
    Layout(
        "Ferret-Bench",
        (
            grid(("refer_desc, GPT-4o-2024-11-20 judge",), ("rel. score",), "GPT-4o-2024-11-20 judge"),
            grid(("refer_desc", "refer_reason"), ("rel. score",), "older GPT-4 judge"),
        ),
        "region_caption",
        ("ferret", "ferret-reason"),
        ("relative_score",),
        notes=("Two judges give different scales; each has a table of its own.",),
    ),
    Layout(
        "MDVP-Bench (GAR variant)",
        (grid(("detailed_caption_box",), ("Natural", "OCR", "Multi-Panel", "Screenshot")),),
        "region_caption",
        ("mdvp",),
        tuple(f"mdvp_{name}" for name in ("natural", "ocr", "multipanel", "screenshot")),
        notes=(
            "The scorer behind these numbers reads the answers to the first ten Android items for every domain, so the "
            "columns do not measure what they are named after.",
        ),
    ),
    Layout(
        "VideoRefer-Bench-D",
        (grid(("single-frame", "multi-frame"), ("SC", "AD", "TD", "HD", "Avg"), main=("single-frame", "Avg")),),
        "region_caption",
        ("videorefer", "videorefer-frames"),
        tuple(f"videorefer_{name}" for name in ("sc", "ad", "td", "hd", "avg")),
        notes=(
            "A judge's points from 0 to 5. Published models also see frames without a mark; here a model sees marked "
            "ones, one or several.",
        ),
    ),
    Layout(
        "VideoRefer-Bench-Q",
        (grid(("single-frame", "multi-frame"), ("acc",)),),
        "region_vqa",
        ("videorefer", "videorefer-frames"),
        ("accuracy",),
        notes=("Published models also see frames without a mark; here a model sees marked ones, one or several.",),
    ),
    Layout(
        "Region classification LVIS-1k",
        (grid(("val subset",), ("Semantic Similarity", "Semantic IoU")),),
        "region_class",
        ("lvis",),
        ("semantic_similarity", "semantic_iou"),
    ),
    Layout(
        "Region classification PACO-1k",
        (grid(("val subset",), ("Semantic Similarity", "Semantic IoU")),),
        "region_class",
        ("paco",),
        ("semantic_similarity", "semantic_iou"),
    ),
    Layout(
        "PSG",
        (grid(("test",), tuple(f"{name}@{rank}" for rank in RANKS for name in ("R", "mR"))),),
        "scene_graph",
        ("test",),
        tuple(f"{name}@{rank}" for rank in RANKS for name in ("recall", "mean_recall")),
        ("The published scorer skips pictures without a predicted relation.",),
    ),
    Layout("PSG (open-ended, text)", (grid(("test",), ("Recall", "mRecall", "#tuples", "Recall@50", "Recall@100")),)),
    Layout(
        "ReasonSeg",
        (grid(("val", "test"), ("gIoU", "cIoU")), grid(("val", "test"), ("mIoU",), MEAN_IOU)),
        "reasonseg",
        ("val", "test"),
        ("giou", "ciou"),
    ),
    Layout("RefCOCO-M", (grid(("all",), ("mIoU",)),), "refcoco-m", ("val",), ("giou",)),
    Layout(
        "Mask reconstruction (tokenizer alone)",
        task="reconstruction",
        splits=("refcoco-val", "gar", "folder"),
        notes=("The ceiling of every model that writes masks with this tokenizer.",),
    ),
)


TABS = (
    (
        "Referring segmentation",
        ("GRES (gRefCOCO)", "RefCOCO", "RefCOCO+", "RefCOCOg", "RefCOCO-M", "GroundingSuite-Eval", "ReasonSeg"),
    ),
    ("Interactive segmentation", ("MR-RefCOCO", "MR-RefCOCO+", "MR-RefCOCOg", "MR-PACO")),
    ("Captions with masks", ("GCG",)),
    (
        "Region captions",
        (
            "DLC-Bench",
            "Region captioning RefCOCOg",
            "Region captioning VG",
            "GAR-Bench-Cap",
            "Ferret-Bench",
            "MDVP-Bench (GAR variant)",
            "VideoRefer-Bench-D",
        ),
    ),
    (
        "Region questions",
        (
            "GAR-Bench-VQA",
            "VideoRefer-Bench-Q",
            "Region classification LVIS-1k",
            "Region classification PACO-1k",
        ),
    ),
    ("Scene graphs", ("PSG", "PSG (open-ended, text)")),
    ("Mask tokenizer", ("Mask reconstruction (tokenizer alone)",)),
)
"""Tabs of the page: what a model is asked to do, and the benchmarks of it."""
OTHER_TAB, DEMO_TAB = "Other", "Demo"


def tab_of(name: str) -> str:
    """The tab of a benchmark."""
    return next((tab for tab, names in TABS if name in names), OTHER_TAB)


def layouts_for(benchmarks: Sequence[str], tasks: Mapping[str, str]) -> tuple[Layout, ...]:
    """The known layouts, then one for each benchmark and task that they do not name.

    Args:
        benchmarks: names in `published.csv`, in its order.
        tasks: names of the tasks that have results, with their titles.
    """
    named = {layout.name for layout in LAYOUTS}
    measured = {layout.task for layout in LAYOUTS}
    more = [Layout(name) for name in dict.fromkeys(benchmarks) if name not in named]
    more += [Layout(title, task=task) for task, title in tasks.items() if task not in measured]
    return (*LAYOUTS, *more)
