"""OpenPSG's recall of scene graphs with its quirks, and what SAMTok's script makes of the same answers, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from samtok_eval import masks
from samtok_eval.datasets.psg import GraphTarget
from samtok_eval.errors import DataError
from samtok_eval.mask_tokens import masks_of
from samtok_eval.metrics.scene_graph import read_answer
from samtok_eval.prediction import CocoRle, Prediction
from samtok_eval.run.score import score
from samtok_eval.sample import Sample, Target, Triplet
from tests.support.scene_graphs import (
    DECODED,
    LABELS,
    PREDICATES,
    TASK,
    WORDS,
    answer,
    entry,
    fenced,
    records,
    rows,
    sample,
    values,
)

TRUTH = sample((0, "beside", 1), (0, "on", 2), (1, "on", 2), (3, "over", 2))


def test_a_perfect_answer_scores_one_under_both_protocols():
    text = TASK.answer(TRUTH, masks_of("".join(WORDS[:4])))
    assert text.startswith(
        '```json\n[{"subject": {"mask_2d": "<|mt_start|><|mt_0000|><|mt_0256|><|mt_end|>", "label": '
    )
    assert "\n" not in text[8:-4]
    strict, official = (values([TRUTH], [answer(text)], name) for name in ("strict", "official"))
    assert strict["parse_failure"] == official["parse_failure"] == 0
    assert {value for name, value in strict.items() if name != "parse_failure"} == {1.0}
    assert official["recall@20"] == 1.0
    # Three of the four predicates occur; the absent one counts 0.
    assert official["mean_recall@20"] == 0.75


def test_both_masks_must_overlap_by_half():
    text = fenced(entry(4, "beside", 1), entry(5, "on", 2), entry(0, "on", 3, LABELS))
    found = records([TRUTH], [answer(text)])[0]
    assert found.series == {
        "gt_predicate": [0, 1, 1, 2],
        "first_hit": [0, -1, -1, -1],
        "label_first_hit": [0, 1, -1, -1],
        "prediction_hit": [1, 0, 0],
    }
    scores = values([TRUTH], [answer(text)])
    assert scores["recall@20"] == scores["triplet_recall"] == 1 / 4
    assert scores["triplet_precision"] == 1 / 3
    assert scores["triplet_f1"] == 2 / 7
    assert scores["label_recall"] == 2 / 4


def test_recall_counts_the_first_k_predictions():
    noise = [entry(3, "riding", 3)] * 20
    scores = values([TRUTH], [answer(fenced(entry(0, "beside", 1), *noise, entry(0, "on", 2), *noise, *noise))])
    assert (scores["recall@20"], scores["recall@50"], scores["recall@100"]) == (0.25, 0.5, 0.5)
    assert scores["mean_recall@20"] == pytest.approx((1 + 0 + 0) / 3)
    assert scores["mean_recall@50"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert scores["triplet_precision"] == 2 / 62


def test_recall_is_a_mean_over_pictures_and_mean_recall_over_pictures_and_predicates():
    first, second = sample((0, "on", 2), (1, "on", 2), (0, "beside", 1)), sample((0, "on", 2), name="2")
    answers = [answer(fenced(entry(0, "on", 2), entry(0, "beside", 1))), answer(fenced(entry(0, "on", 2)), "2")]
    scores = values([first, second], answers)
    assert scores["recall@20"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores["triplet_recall"] == 3 / 4
    # `on`: a half in the first picture, all in the second.
    assert scores["mean_recall@20"] == pytest.approx(((0.5 + 1) / 2 + 1) / 2)
    official = values([first, second], answers, "official")
    assert official["mean_recall@20"] == pytest.approx(((0.5 + 1) / 2 + 1 + 0 + 0) / 4)


def test_official_skips_pictures_without_predictions_and_strict_counts_them_as_zero():
    samples = [sample((0, "on", 2), name=name) for name in "12345"]
    answers = [
        answer(fenced(entry(0, "on", 2)), "1"),
        answer(fenced(), "2"),
        answer("a person on grass", "3"),
        Prediction(id="4", text="", status="error", error="boom"),
    ]
    strict, official = (values(samples, answers, name) for name in ("strict", "official"))
    assert (strict["recall@20"], official["recall@20"]) == (1 / 5, 1.0)
    assert (strict["mean_recall@20"], official["mean_recall@20"]) == (1 / 5, 1 / 4)
    # The empty list is read; prose, the error and the missing answer are not.
    assert strict["parse_failure"] == official["parse_failure"] == 3 / 5
    assert [record.failed for record in records(samples, answers)] == [False, False, False, True, True]
    assert score(TASK, samples, answers).metrics["official"]["recall@20"]["n"] == 1


def test_nothing_answered_is_zero_under_strict_and_no_value_under_official():
    strict, official = (values([TRUTH], [], name) for name in ("strict", "official"))
    assert (strict["recall@20"], strict["mean_recall@20"], strict["triplet_f1"]) == (0, 0, 0)
    assert strict["triplet_precision"] is None
    assert (official["recall@20"], official["mean_recall@20"]) == (None, 0)


def test_one_prediction_may_hit_several_triplets_under_official_only():
    # Rows 0 and 1 both are persons; one mask over both overlaps each by exactly a half.
    twins = GraphTarget(
        masks=TRUTH.target.masks,
        labels=("person", "person", "grass-merged", "sky-other-merged"),
        triplets=(Triplet(0, "on", 2), Triplet(1, "on", 2)),
        predicates=PREDICATES,
    )
    both = Sample("1", TRUTH.image, (), twins)
    text = fenced(entry(6, "on", 2))
    assert records([both], [answer(text)], "official")[0].series["first_hit"] == [0, 0]
    assert records([both], [answer(text)], "strict")[0].series["first_hit"] == [0, -1]
    assert values([both], [answer(text)], "official")["recall@20"] == 1.0
    assert values([both], [answer(text)])["recall@20"] == 0.5


def test_official_recall_agrees_with_a_plain_reading_of_its_rule():
    rng = np.random.default_rng(0)
    samples, answers, recalls = [], [], []
    by_predicate: dict[str, list[float]] = {predicate: [] for predicate in PREDICATES}
    for name in map(str, range(60)):
        drawn = {(int(rng.integers(4)), str(rng.choice(PREDICATES)), int(rng.integers(4))) for _ in range(5)}
        item = sample(*sorted(drawn), name=name)
        said = [(int(rng.integers(7)), str(rng.choice(PREDICATES)), int(rng.integers(7)))
                for _ in range(int(rng.integers(60)))]  # fmt: skip
        samples.append(item)
        answers.append(answer(fenced(*(entry(*triplet) for triplet in said)), name))
        if not said:
            continue
        names = [*LABELS, *["person"] * 3]
        found = {
            (s, p, o)
            for s, p, o in drawn
            for s2, p2, o2 in said[:20]
            if (LABELS[s], p, LABELS[o]) == (names[s2], p2, names[o2])
            and all((rows(a) & DECODED[b]).sum() / (rows(a) | DECODED[b]).sum() >= 0.5 for a, b in ((s, s2), (o, o2)))
        }
        recalls.append(len(found) / len(drawn))
        for predicate in {p for _, p, _ in drawn}:
            of_it = [triplet for triplet in drawn if triplet[1] == predicate]
            by_predicate[predicate].append(sum(triplet in found for triplet in of_it) / len(of_it))
    scores = values(samples, answers, "official")
    assert 0 < np.mean(recalls) < 1
    assert scores["recall@20"] == pytest.approx(np.mean(recalls))
    assert scores["mean_recall@20"] == pytest.approx(np.mean([np.mean(several) for several in by_predicate.values()]))


def test_samtok_leaves_answers_out_that_do_not_end_with_a_fence_and_counts_them():
    samples = [sample((0, "on", 2), name=name) for name in "123"]
    good = fenced(entry(0, "on", 2))
    answers = [answer(good, "1"), answer(f"{good} Done.", "2")]
    found = values(samples, answers, "samtok")
    assert (found["recall@20"], found["dropped_answers"]) == (1.0, 2 / 3)
    assert values(samples, answers)["recall@20"] == 2 / 3


def test_samtok_merges_nodes_and_says_how_many_changed():
    # Both dogs' masks overlap by half, which is not more; the mask of stuff is what its mentions have in common.
    text = fenced(entry(0, "on", 2), entry(1, "on", 6, (*LABELS, "", "", "grass-merged")), entry(0, "on", 2))
    found = values([TRUTH], [answer(text)], "samtok")
    assert (found["recall@20"], found["changed_nodes"]) == (0.0, 2 / 4)
    assert (found["duplicate_triplets"], found["unknown_names"]) == (1 / 3, 0.0)
    assert values([TRUTH], [answer(text)], "official")["recall@20"] == 1 / 4


def test_samtok_leaves_the_first_predicate_out_of_mean_recall_and_shows_the_repaired_one():
    found = values([sample((0, "beside", 1), (0, "on", 2))], [answer(fenced(entry(0, "beside", 1)))], "samtok")
    assert (found["mean_recall@20"], found["mean_recall_repaired@20"]) == (0.0, 1 / len(PREDICATES))


def test_samtok_stops_at_words_of_no_book_but_not_in_triplets_that_it_drops():
    wrong = fenced(entry(0, "on", 2), entry(1, "on", 2)).replace("<|mt_0257|>", "<|mt_0999|>")
    unknown = wrong.replace('"dog"', '"cow"')
    crashed = [records([TRUTH], [answer(text)], "samtok")[0].crashed for text in (wrong, unknown)]
    assert crashed == [True, False]
    assert values([TRUTH], [answer(unknown)], "samtok")["recall@20"] == 1 / 4


def test_samtok_takes_masks_beside_the_text():
    text = fenced({"subject": {"label": "person"}, "predicate": "on", "object": {"label": "grass-merged"}})
    rles = [CocoRle.model_validate(masks.encode(rows(r)).to_coco()) for r in (0, 2)]
    assert values([TRUTH], [Prediction(id="1", text=text, masks=rles)], "samtok")["recall@20"] == 1 / 4


def test_a_repeated_prediction_is_a_false_one_under_strict():
    text = fenced(entry(0, "on", 2), entry(0, "on", 2))
    assert records([TRUTH], [answer(text)])[0].series["prediction_hit"] == [1, 0]
    assert records([TRUTH], [answer(text)], "official")[0].series["prediction_hit"] == [1, 1]
    assert values([TRUTH], [answer(text)])["triplet_precision"] == 0.5


def test_official_compares_names_as_written_and_strict_their_plain_forms():
    text = fenced(entry(0, "On", 2, ("Man", "dog", "grass")))
    assert values([TRUTH], [answer(text)])["recall@20"] == 0.25
    assert values([TRUTH], [answer(text)], "official")["recall@20"] == 0


def test_nodes_without_mask_words_hit_nothing_and_are_counted():
    text = fenced(entry(0, "beside", 1)).replace(WORDS[1], "")
    found = records([TRUTH], [answer(text)])[0]
    assert found.series["first_hit"] == [-1] * 4
    assert found.series["label_first_hit"][0] == 0
    assert found.values["without_mask"] == 1


def test_several_masks_of_a_node_are_united():
    text = fenced(entry(4, "beside", 1)).replace(WORDS[4], WORDS[5] + WORDS[4])
    assert records([TRUTH], [answer(text)])[0].series["first_hit"][0] == 0


def test_repairs_and_drops_are_counted():
    found = records([TRUTH], [answer(json.dumps([entry(0, "beside", 1), 3]))])[0]
    assert (found.values["repaired"], found.values["dropped"], found.values["parse_failed"]) == (1, 1, 0)
    assert found.values["predicates"] == 4


def test_foreign_masks_follow_the_order_of_mention():
    text = json.dumps([
        {"subject": {"label": "dog"}, "predicate": "on"},
        {"object": {"label": "dog"}, "predicate": "beside", "subject": {"label": "person"}},
        {"subject": {"label": "person"}, "predicate": "on", "object": {"label": "grass"}},
    ])  # fmt: skip
    rles = [CocoRle.model_validate(masks.encode(rows(r)).to_coco()) for r in (3, 1, 0, 0)]
    found = records([TRUTH], [Prediction(id="1", text=text, masks=rles)])[0]
    assert found.series["first_hit"] == [0, -1, -1, -1]
    assert (found.values["dropped"], found.values["without_mask"]) == (1, 1)


def test_masks_of_other_pictures_and_missing_ones_are_clear_errors():
    small = CocoRle.model_validate(masks.encode(np.ones((2, 2), dtype=bool)).to_coco())
    text = fenced(entry(0, "beside", 1))
    with pytest.raises(DataError, match="prediction 1: masks of different sizes"):
        score(TASK, [TRUTH], [Prediction(id="1", text=text, decoded={"0,0": small, "1,1": small})])
    with pytest.raises(DataError, match="no decoded mask for the codes 0,0"):
        score(TASK, [TRUTH], [Prediction(id="1", text=text)])


def test_samples_must_carry_their_predicates():
    bare = Sample("1", TRUTH.image, (), Target(triplets=(Triplet(0, "on", 0),)))
    with pytest.raises(DataError, match="does not say which predicates"):
        score(TASK, [bare], [])


def test_slices_and_whole_come_from_records_alone():
    samples = [sample((0, "on", 2), name="1"), sample((0, "over", 2), name="2")]
    answers = [answer(fenced(entry(0, "on", 2)), "1"), answer(fenced(entry(0, "on", 2)), "2")]
    found = records(samples, answers)
    assert TASK.metrics(found, "strict")["recall@20"].value == 0.5
    assert TASK.metrics(found[:1], "strict")["recall@20"].value == 1
    assert TASK.metrics(found, "strict")["mean_recall@20"].value == 0.5
    assert TASK.metrics([], "strict")["mean_recall@20"].value is None


def test_guesses_are_the_relations_of_another_picture():
    samples = [sample((0, "on", 2), name="1"), sample((0, "over", 2), name="2")]
    text = TASK.guess(samples[0], samples, np.random.default_rng(0))
    assert [triplet.predicate for triplet in read_answer(text).triplets] == ["over"]
    assert TASK.status(text) == "ok"
    assert TASK.guess(samples[0], samples[:1], np.random.default_rng(0)) == fenced()


def test_the_demo_benchmark_is_read_and_its_answers_are_right(demo_root):
    samples = TASK.read(demo_root, "test")
    codes = [(row, row) for row in range(16)]
    predictions = []
    for item in samples:
        text = TASK.answer(item, codes[: len(item.target.masks)])
        rles = {f"{r},{r}": CocoRle.model_validate(m.to_coco()) for r, m in enumerate(item.target.masks)}
        predictions.append(Prediction(id=item.id, text=text, decoded=rles, status=TASK.status(text)))
    assert {p.status for p in predictions} == {"ok"}
    assert values(samples, predictions)["recall@20"] == 1.0
    assert all(item.target.labels[-1] == "ground-other-merged" for item in samples)
