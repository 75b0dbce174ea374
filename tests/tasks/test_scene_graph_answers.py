"""Scene graphs in the text of a language model: tolerant reading, the released rule, and plain names."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samtok_eval.mask_tokens import PolicyCrashError, masks_of
from samtok_eval.metrics.scene_graph import normalized_label, read_answer
from samtok_eval.metrics.scene_graph_samtok import entries as released_entries
from tests.support.scene_graphs import (
    TASK,
    WORDS,
    entry,
    fenced,
)
from tests.support.timing import LINEAR, growth

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
