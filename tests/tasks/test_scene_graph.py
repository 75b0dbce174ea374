"""Scene graphs: the reader of PSG, tolerant reading of answers, and OpenPSG's recall with its quirks, by hand.

The picture of most cases is 4x4; each row is one segment: person, dog, grass, sky.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from samtok_eval import masks
from samtok_eval.datasets.psg import GraphTarget, read_psg
from samtok_eval.errors import DataError
from samtok_eval.mask_tokens import PolicyCrashError, masks_of, render
from samtok_eval.metrics.scene_graph import normalized_label, read_answer
from samtok_eval.metrics.scene_graph_samtok import entries as released_entries
from samtok_eval.prediction import CocoRle, Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from samtok_eval.sample import ImageRef, Sample, Target, Triplet
from tests.support.timing import LINEAR, growth

TASK = load_tasks()["scene_graph"]
LABELS = ("person", "dog", "grass-merged", "sky-other-merged")
PREDICATES = ("beside", "on", "over", "riding")
WORDS = [render([(row, row)]) for row in range(8)]
"""Codes (r, r) decode to row r for r < 4; (4, 4) to a half and (5, 5) to a quarter of row 0, (6, 6) to rows 0 and 1."""


def rows(*numbers: int) -> np.ndarray:
    mask = np.zeros((4, 4), dtype=bool)
    mask[list(numbers)] = True
    return mask


def part(pixels: int) -> np.ndarray:
    mask = np.zeros((4, 4), dtype=bool)
    mask[0, :pixels] = True
    return mask


DECODED = [rows(0), rows(1), rows(2), rows(3), part(2), part(1), rows(0, 1)]


def sample(*triplets: tuple[int, str, int], name: str = "1") -> Sample:
    target = GraphTarget(
        masks=tuple(masks.encode(rows(row)) for row in range(4)),
        labels=LABELS,
        triplets=tuple(Triplet(*triplet) for triplet in triplets),
        predicates=PREDICATES,
        classes=LABELS,
        stuff=frozenset(LABELS[2:]),
    )
    return Sample(name, ImageRef(name, Path("none.png"), 4, 4), (), target)


def entry(subject: int, predicate: str, other: int, labels: tuple[str, ...] = (*LABELS, *["person"] * 4)):
    return {
        "subject": {"mask_2d": WORDS[subject], "label": labels[subject]},
        "predicate": predicate,
        "object": {"mask_2d": WORDS[other], "label": labels[other]},
    }


def fenced(*entries: object) -> str:
    return f"```json\n{json.dumps(list(entries))}\n```"


def answer(text: str, name: str = "1") -> Prediction:
    decoded = {f"{row},{row}": CocoRle.model_validate(masks.encode(mask).to_coco()) for row, mask in enumerate(DECODED)}
    return Prediction(id=name, text=text, decoded=decoded, status=TASK.status(text))


def values(samples, answers, protocol="strict"):
    found = score(TASK, samples, answers, protocols=[protocol]).metrics[protocol]
    return {name: value["value"] for name, value in found.items()}


def records(samples, answers, protocol="strict"):
    return score(TASK, samples, answers, protocols=[protocol]).records


# ---- reading PSG ----


def test_masks_are_where_the_png_encodes_the_segment_id(tmp_path):
    write(tmp_path, [row()])
    graph = read_psg(tmp_path, "test")[0]
    assert graph.image == ImageRef("7", tmp_path / "coco" / "val2017" / "7.jpg", 4, 4)
    assert [masks.decode(mask).tolist() for mask in graph.target.masks] == [rows(r).tolist() for r in range(3)]
    assert graph.target.labels == ("person", "dog", "grass-merged")
    assert graph.target.predicates == PREDICATES


def test_exact_duplicates_are_dropped_and_several_predicates_of_a_pair_kept(tmp_path):
    write(tmp_path, [row(relations=[[0, 1, 0], [0, 1, 0], [0, 1, 2], [1, 0, 0]])])
    triplets = read_psg(tmp_path, "test")[0].target.triplets
    assert triplets == ((0, "beside", 1), (0, "over", 1), (1, "beside", 0))


def test_splits_follow_the_test_ids_and_pictures_without_relations_are_left_out(tmp_path):
    several = [row(image_id="7"), row(image_id="8"), row(image_id="9", relations=[]), row(image_id=10)]
    write(tmp_path, several, test_image_ids=["8", "9", "10"])
    assert [s.id for s in TASK.read(tmp_path, "test")] == ["8", "10"]
    assert [s.id for s in TASK.read(tmp_path, "train")] == ["7"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relations": [[0, 3, 0]]}, "names segment 3, but there are 3"),
        ({"relations": [[0, 1, 4]]}, "names predicate 4, but there are 4"),
        ({"relations": [[0, 1]]}, "not PSG's own file"),
        ({"relations": []}, "no picture with relations in split 'test'"),
        ({"segments_info": [{"id": 5, "category_id": 4}] * 2}, "names class 4, but there are 4"),
        ({"segments_info": [{"id": 5, "category_id": 0}] * 2}, "has no segment 5"),
        ({"segments_info": [{"id": 5}]}, "'category_id' is missing"),
        ({"height": 5}, "is 4x4, its annotations say 5x4"),
        ({"pan_seg_file_name": "panoptic_val2017/none.png"}, "none.png is missing; unpack COCO's panoptic"),
    ],
)
def test_broken_files_say_what_is_wrong(tmp_path, change, message):
    write(tmp_path, [row(**change)])
    with pytest.raises(DataError, match=message):
        read_psg(tmp_path, "test")


def test_a_broken_png_is_named(tmp_path):
    write(tmp_path, [row()])
    (tmp_path / "coco" / "panoptic_val2017" / "7.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DataError, match=r"7\.png cannot be read"):
        read_psg(tmp_path, "test")


# ---- reading answers ----

ONE = json.dumps([entry(0, "on", 1)])
TWO = json.dumps([entry(0, "on", 1), entry(1, "over", 2)])


@pytest.mark.parametrize(
    ("text", "count", "dropped", "status"),
    [
        pytest.param(fenced(entry(0, "on", 1)), 1, 0, "ok", id="as trained"),
        pytest.param(f"```json\n{json.dumps([entry(0, 'on', 1)], indent=2)}\n```", 1, 0, "ok", id="several lines"),
        pytest.param(f"<think>[1] or {{2}}?</think>\n<answer>{fenced(entry(0, 'on', 1))}</answer>", 1, 0, "ok",
                     id="after thinking"),
        pytest.param(ONE, 1, 0, "repaired", id="no fence"),
        pytest.param(f"Here's the graph [1]: {ONE} It's done.", 1, 0, "repaired", id="prose around"),
        pytest.param(f"```\n{ONE}\n```", 1, 0, "repaired", id="fence without name"),
        pytest.param(f"```json\n{ONE}", 1, 0, "repaired", id="fence not closed"),
        pytest.param(f'```json\n[{{"subject":\n```\n```json\n{ONE}\n```', 1, 0, "repaired", id="first block broken"),
        pytest.param(f"```json\n{ONE}\n```\n```json\n{TWO}\n```", 1, 0, "repaired", id="two blocks"),
        pytest.param(ONE[:-1] + ",]", 1, 0, "repaired", id="trailing comma"),
        pytest.param(ONE.replace('"', "'"), 1, 0, "repaired", id="single quotes"),
        pytest.param(repr([entry(0, "on", 1)]), 1, 0, "repaired", id="python"),
        pytest.param(TWO[:-1], 2, 0, "repaired", id="list not closed"),
        pytest.param(TWO[:-2], 2, 0, "repaired", id="last triplet not closed"),
        pytest.param(TWO[:-3], 1, 1, "repaired", id="last node not closed"),
        pytest.param(TWO[:-9], 1, 1, "repaired", id="cut inside a name"),
        pytest.param(TWO[: len(ONE) + 20], 1, 1, "repaired", id="cut inside the next triplet"),
        pytest.param(ONE.replace(f'"{WORDS[0]}"', WORDS[0]), 1, 0, "repaired", id="bare mask words"),
        pytest.param(ONE[1:-1], 1, 0, "repaired", id="one object, no list"),
        pytest.param(TWO[1:-1], 2, 0, "repaired", id="objects, no list"),
        pytest.param(TWO.replace("}}, {", "}} {"), 2, 0, "repaired", id="no comma between"),
        pytest.param(TWO.replace("}}, {", "}, {"), 1, 0, "repaired", id="no brace between"),
        pytest.param(TWO.replace("}}, {", "}}}, {"), 2, 0, "repaired", id="a brace too many"),
        pytest.param(fenced(dict(reversed(entry(0, "on", 1).items()))), 1, 0, "ok", id="reordered keys"),
        pytest.param(fenced({**entry(0, "on", 1), "score": [0.5, {"a": {}}]}), 1, 0, "ok", id="further keys"),
        pytest.param(fenced(entry(0, "on", 1), {"subject": entry(0, "on", 1)["subject"]}), 1, 1, "repaired",
                     id="fields lack"),
        pytest.param(fenced({**entry(0, "on", 1), "predicate": 3}, entry(0, "on", 1)), 1, 1, "repaired",
                     id="wrong type"),
        pytest.param(fenced({**entry(0, "on", 1), "subject": "person"}, entry(0, "on", 1)), 1, 1, "repaired",
                     id="node is text"),
        pytest.param(fenced(entry(0, "on", 1), "person on dog", None, [entry(0, "on", 1)]), 1, 3, "repaired",
                     id="not objects"),
        pytest.param(fenced(entry(0, "on", 1)).replace("<|mt_0256|>", ""), 1, 0, "repaired", id="code missing"),
        pytest.param(fenced(), 0, 0, "no_mask", id="empty list"),
        pytest.param("A person on a dog.", 0, 0, "no_mask", id="prose"),
        pytest.param("", 0, 0, "no_mask", id="nothing"),
        pytest.param(f"The person {WORDS[0]} is on the dog {WORDS[1]}.", 0, 0, "invalid", id="prose with masks"),
        pytest.param(fenced({"mask_2d": WORDS[0], "label": "person"}), 0, 1, "invalid", id="no triplets"),
    ],
)  # fmt: skip
def test_answers_are_read_with_repairs(text, count, dropped, status):
    reading = read_answer(text)
    assert (len(reading.triplets), reading.dropped) == (count, dropped)
    assert TASK.status(text) == status
    if count:
        first = reading.triplets[0]
        assert (first.subject.label, first.object.label) == ("person", "dog")
        assert masks_of(first.subject.words)[0].first == 0
        assert first.predicate in ("on", "over")


@pytest.mark.parametrize(
    ("text", "failed"), [("[]", False), (fenced(), False), ("", True), ("none", True), ("[1]", True), (ONE, False)]
)
def test_only_an_empty_list_may_say_nothing(text, failed):
    assert read_answer(text).failed == failed


def test_names_keep_apostrophes_and_escapes():
    text = "[{'subject': {'mask_2d': 'x', 'label': 'a man's \"hat\"'}, 'predicate': \"on\\u0020top\", 'object': "
    reading = read_answer(text + "{'mask_2d': 'y', 'label': 'the dog\\'s'}}]")
    triplet = reading.triplets[0]
    assert (triplet.subject.label, triplet.predicate, triplet.object.label) == ('a man\'s "hat"', "on top", "the dog's")


names = st.text(max_size=8)
nodes = st.fixed_dictionaries({"mask_2d": st.sampled_from(WORDS), "label": names})
entries = st.fixed_dictionaries({"subject": nodes, "predicate": names, "object": nodes})


@given(st.lists(st.one_of(entries, names, st.integers(), st.lists(entries, max_size=1)), max_size=5), st.booleans())
def test_json_is_read_as_json(content, plain):
    reading = read_answer(f"```json\n{json.dumps(content, ensure_ascii=plain)}\n```")
    right = [item for item in content if isinstance(item, dict)]
    assert [(t.subject.label, t.predicate, t.object.label) for t in reading.triplets] == [
        (item["subject"]["label"], item["predicate"], item["object"]["label"]) for item in right
    ]
    assert reading.dropped == len(content) - len(right)
    # A name that holds a fence ends the block; nothing else of JSON is a repair.
    assert reading.well_formed or "```" in json.dumps(content)


PIECES = ["[", "]", "{", "}", ",", ":", '"', "'", "\\", "```json", "```", "<think>", "</answer>", " ", "\n", "\ud800",
          '"subject"', '"object"', '"predicate"', '"mask_2d"', '"label"', *WORDS, "<|mt_start|>", "<|mt_0003|>", "null",
          "1e9", "dog", ONE, TWO]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text())
def test_reading_never_raises_and_asks_for_no_codes_but_the_answers(text):
    reading = read_answer(text)
    TASK.status(text)
    whole = set(masks_of(text))
    for triplet in reading.triplets:
        for node in (triplet.subject, triplet.object):
            assert set(masks_of(node.words)) <= whole


@pytest.mark.parametrize(
    "piece",
    ["[", "{", "[{", '{"subject":', "]", "}", '"', "'", "\\", '\\"', "' ", "<think>", "<answer>", "```", "a", "1",
     "-other", ONE[1:-1] + ", ", " ", "[ ", '"a", ', "'a"],
)  # fmt: skip
def test_anything_is_read_in_time_linear_in_it(piece):
    for start in ("", "[", '[{"subject": {"label": "'):
        grown = growth(lambda count, start=start: partial(read_answer, start + piece * count), 50_000 // len(piece))
        assert grown < LINEAR, start


@pytest.mark.parametrize("piece", ["[", "{", '{"a":', "]", '"', '\\"', "```json", "```", "[1,", ONE[1:-1] + ", ", "a"])
def test_the_released_rule_reads_anything_in_time_linear_in_it(piece):
    def read(count):
        with suppress(PolicyCrashError):
            released_entries(piece * count)

    assert growth(lambda count: partial(read, count), 20_000 // len(piece)) < LINEAR


@pytest.mark.parametrize("end", ["", "-x"])
def test_a_name_is_normalised_in_time_linear_in_it(end):
    assert growth(lambda count: partial(normalized_label, "x" + "-other" * count + end), 40_000) < LINEAR


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Person", "person"),
        (" sky-other-merged ", "sky"),
        ("grass-merged", "grass"),
        ("door-stuff", "door"),
        ("wall-brick", "wall brick"),
        ("brick wall", "wall brick"),
        ("potted_plant", "potted plant"),
        ("Woman", "person"),
        ("other", "other"),
        ("merged-cell", "merged cell"),
    ],
)
def test_class_names_are_compared_in_their_plain_form(label, name):
    assert normalized_label(label) == name


# ---- metrics ----

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


def row(**changes):
    item = {
        "file_name": "val2017/7.jpg",
        "pan_seg_file_name": "panoptic_val2017/7.png",
        "height": 4,
        "width": 4,
        "image_id": "7",
        "segments_info": [{"id": i, "category_id": c, "isthing": 1} for c, i in enumerate((1, 300, 70000))],
        "annotations": [{"bbox": [0, 0, 3, 0], "category_id": 0}],
        "relations": [[0, 1, 0]],
    }
    return {**item, **changes}


def write(root, data, test_image_ids=("7",)):
    content = {
        "data": data,
        "test_image_ids": list(test_image_ids),
        "thing_classes": ["person", "dog"],
        "stuff_classes": ["grass-merged", "sky-other-merged"],
        "predicate_classes": list(PREDICATES),
    }
    folder = root / "coco" / "panoptic_val2017"
    folder.mkdir(parents=True)
    (root / "psg").mkdir()
    (root / "psg" / "psg.json").write_text(json.dumps(content))
    # 1 = (1, 0, 0), 300 = 44 + 256, 70000 = 112 + 17 * 256 + 65536.
    colors = np.array([[1, 0, 0], [44, 1, 0], [112, 17, 1], [0, 0, 0]], dtype=np.uint8)
    Image.fromarray(np.repeat(colors[:, None], 4, axis=1)).save(folder / "7.png")
