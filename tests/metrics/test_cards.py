"""What is known of a metric stands once, and every metric of a task has a card that agrees with the task."""

from __future__ import annotations

import pytest

from samtok_eval.metrics.cards import CARDS, MetricKey, card, has_card
from samtok_eval.registry import load_tasks

TASKS = load_tasks()


@pytest.mark.parametrize(
    ("metric", "title", "unit", "better", "splits"),
    [
        ("ciou", "cIoU", "share", "higher", True),
        ("giou_stuff", "gIoU stuff", "share", "higher", True),
        ("giou_by_phrase", "gIoU by phrase", "share", "higher", True),
        ("pr@0.5", "Pr@0.5", "share", "higher", True),
        ("box_acc@0.5", "box acc@0.5", "share", "higher", True),
        ("recall@20", "recall@20", "share", "higher", True),
        ("mean_recall@100", "mean recall@100", "share", "higher", True),
        ("recall_gcg_minilm", "recall (MiniLM)", "share", "higher", True),
        ("label_recall", "label recall", "share", "higher", False),
        ("accuracy", "accuracy", "share", "higher", False),
        ("meteor", "METEOR", "share", "higher", False),
        ("token_match", "token match", "share", "higher", False),
        ("parse_failure", "parse failure", "share", "lower", False),
        ("empty", "empty", "share", "lower", False),
        ("majority", "majority", "share", "none", False),
        ("cider", "CIDEr", "score", "higher", False),
        ("dlc_pos|llama 3", "dlc pos (llama 3)", "score", "higher", False),
        ("perplexity_2", "perplexity 2", "count", "none", False),
        ("used_1", "codes used 1", "count", "none", False),
        ("somebodys_own", "somebodys own", "share", "higher", False),
        ("recall", "recall", "share", "higher", False),
        ("", "", "share", "higher", False),
    ],
)
def test_a_name_finds_its_card(metric, title, unit, better, splits):
    found = card(metric)
    assert (found.title, found.unit, found.better, found.splits_into_losses) == (title, unit, better, splits)


def test_only_counts_are_written_as_they_are():
    assert [card(metric).scale for metric in ("giou", "cider", "used_1", "somebodys_own")] == [100, 100, 1, 100]


def test_what_a_metric_cannot_exceed():
    assert {found.highest for found in CARDS.values() if found.is_share} == {1.0}
    assert (card("cider").highest, card("dlc_avg").highest, card("used_1").highest) == (10.0, 1.0, None)


@pytest.mark.parametrize("name", TASKS)
def test_every_metric_of_a_task_has_a_card(name):
    card_of_task = TASKS[name].metadata
    assert [metric for metric in card_of_task.metrics if not has_card(metric)] == []
    assert not has_card("somebodys_own") and not has_card("recall")


@pytest.mark.parametrize("name", TASKS)
def test_cards_and_tasks_agree_on_what_counts_failures(name):
    metadata = TASKS[name].metadata
    assert {metric for metric in metadata.metrics if card(metric).better == "lower"} == set(metadata.lower_is_better)


@pytest.mark.parametrize("name", TASKS)
def test_only_a_task_with_a_judge_has_judged_metrics(name):
    judged = any(card(metric).judged for metric in TASKS[name].metadata.metrics)
    assert judged == TASKS[name].judged


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("ciou", "IoU"), ("giou", "IoU"), ("giou_stuff", "IoU"), ("miou_gcg", "mIoU"), ("accuracy", "accuracy")],
)
def test_the_value_of_one_sample_is_called_what_it_is(metric, expected):
    assert card(metric).sample_title == expected


@pytest.mark.parametrize(
    ("name", "key"), [("giou", MetricKey("giou")), ("dlc_pos|llama|3", MetricKey("dlc_pos", "llama|3"))]
)
def test_a_name_is_a_metric_and_the_judge_that_gave_it(name, key):
    assert MetricKey.of(name) == key
    assert str(key) == name
