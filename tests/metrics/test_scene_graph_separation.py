"""What separates the three protocols of scene graphs: each rule alone, by hand, and the sum of all.

Pictures and words are those of `tests.support.scene_graphs`: each of four rows of a 4x4 picture is one segment.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samtok_eval.metrics.scene_graph_separation import separation
from samtok_eval.run.score import score
from tests.support.scene_graphs import TASK, answer, entry, fenced, sample

PROTOCOLS = ["strict", "official", "samtok"]
CAUSES = {
    "pictures without a predicted triplet are left out": "skipped",
    "names as written, and every fitting triplet is hit": "names",
    "dropped answers": "dropped",
    "answers without a triplet count as 0": "empty",
    "answers that stop the scripts count as 0": "stopped",
    "names that the file does not have, and other reading": "unknown",
    "duplicate triplets": "duplicates",
    "merged nodes": "merged",
}
GOOD, TWO = fenced(entry(0, "beside", 1)), [(0, "beside", 1), (0, "on", 2)]


def told(texts, triplets=TWO, rank=20):
    """(count, of, points) by cause, and the value of each protocol."""
    samples = [sample(*triplets, name=str(i)) for i in range(len(texts))]
    answers = {str(i): answer(text, str(i)) for i, text in enumerate(texts) if text is not None}
    done = score(TASK, samples, answers, protocols=PROTOCOLS)
    records = {name: [r for r in done.records if r.protocol == name] for name in PROTOCOLS}
    found = separation(records, rank)
    steps = {CAUSES[step.cause]: (step.count, step.of, step.added) for step in found.steps}
    values = {name: done.metrics[name][f"recall@{rank}"]["value"] for name in PROTOCOLS}
    return steps, values, found


def moved(steps):
    return {name: step for name, step in steps.items() if abs(step[2]) > 1e-12}


def test_equal_numbers_have_no_cause():
    steps, values, found = told([GOOD])
    assert moved(steps) == {}
    assert set(values.values()) == {1 / 2}
    assert found.pictures == {"strict": 1, "official": 1, "samtok": 1}
    assert (steps["duplicates"], steps["merged"]) == ((0, 1, 0), (0, 2, 0))


def test_an_answer_without_a_fence_is_dropped_by_the_scripts_alone():
    steps, values, found = told([GOOD, GOOD.strip("`").removeprefix("json") + " "])
    # Both answers hit one of two; only one of them is in the mean.
    assert steps["dropped"] == (1, 2, 0)
    assert values["samtok"] == 1 / 2
    steps, values, found = told([GOOD, "no list at all, and no fence"])
    assert moved(steps) == {"skipped": (1, 2, 1 / 4)}
    assert found.pictures == {"strict": 2, "official": 1, "samtok": 1}
    steps, values, _ = told([fenced(), GOOD + " "])
    # The good answer is dropped, the empty one stops the scripts and is all that is left.
    assert values == {"strict": 1 / 4, "official": 1 / 2, "samtok": 0}
    assert moved(steps) == {"skipped": (1, 2, 1 / 4), "dropped": (1, 2, -1 / 2)}
    assert steps["empty"][:2] == (1, 1)


def test_an_empty_list_is_skipped_by_openpsg_and_counts_as_0_for_the_scripts():
    steps, values, _ = told([GOOD, fenced()])
    assert values == {"strict": 1 / 4, "official": 1 / 2, "samtok": 1 / 4}
    assert moved(steps) == {"skipped": (1, 2, 1 / 4), "empty": (1, 2, -1 / 4)}


def test_names_in_plain_form_help_strict_alone():
    # The class is written without COCO's ending.
    plain = entry(0, "on", 2)
    plain["object"]["label"] = "grass"
    steps, values, _ = told([fenced(entry(0, "beside", 1), plain)])
    assert values == {"strict": 1, "official": 1 / 2, "samtok": 1 / 2}
    assert moved(steps) == {"names": (1, 1, -1 / 2)}
    assert steps["unknown"] == (1, 2, 0)


def test_a_triplet_of_an_unknown_name_takes_no_rank_in_the_scripts():
    unknown = entry(0, "flies like", 1)
    steps, values, _ = told([fenced(unknown, entry(0, "beside", 1))], rank=20)
    assert moved(steps) == {}
    many = fenced(*[unknown] * 20, entry(0, "beside", 1))
    steps, values, _ = told([many])
    assert values == {"strict": 0, "official": 0, "samtok": 1 / 2}
    assert moved(steps) == {"unknown": (20, 21, 1 / 2)}


def test_a_duplicate_takes_no_rank_in_the_scripts():
    many = fenced(*[entry(0, "beside", 1)] * 20, entry(0, "on", 2))
    steps, values, _ = told([many])
    assert values == {"strict": 1 / 2, "official": 1 / 2, "samtok": 1}
    assert moved(steps) == {"duplicates": (19, 21, 1 / 2)}


def test_merging_nodes_may_lose_a_hit():
    # Two masks of grass, one right and one wrong, have nothing in common.
    text = fenced(entry(0, "on", 2), entry(1, "over", 3, labels=("person", "dog", "", "grass-merged")))
    steps, values, _ = told([text])
    assert values == {"strict": 1 / 2, "official": 1 / 2, "samtok": 0}
    assert moved(steps) == {"merged": (2, 4, -1 / 2)}


def test_an_answer_that_stops_the_scripts_loses_its_hits():
    broken = entry(0, "on", 2)
    del broken["subject"]["label"]
    steps, values, _ = told([fenced(entry(0, "beside", 1), broken)])
    assert values == {"strict": 1 / 2, "official": 1 / 2, "samtok": 0}
    assert moved(steps) == {"stopped": (1, 1, -1 / 2)}


ENTRIES = st.builds(entry, st.integers(0, 3), st.sampled_from(["beside", "on", "over", "Beside", "eats"]),
                    st.integers(0, 3))  # fmt: skip
TEXTS = st.one_of(
    st.lists(ENTRIES, max_size=6).map(lambda entries: fenced(*entries)),
    st.lists(ENTRIES, min_size=1, max_size=2).map(lambda entries: fenced(*entries) + " "),
    st.sampled_from(["", "nothing", "```json\n[1]\n```", None]),
)


@settings(max_examples=40)
@given(st.lists(TEXTS, min_size=1, max_size=5), st.sampled_from([20, 50]))
def test_steps_always_add_up_to_the_difference_of_the_numbers(texts, rank):
    _, values, found = told(texts, [(0, "beside", 1), (0, "on", 2), (1, "over", 3)], rank)
    for baseline, candidate in (("strict", "official"), ("official", "samtok")):
        added = sum(step.added for step in found.steps if (step.baseline, step.candidate) == (baseline, candidate))
        first, second = (values[name] or 0.0 for name in (baseline, candidate))
        assert added == pytest.approx(second - first, abs=1e-9)
    assert all(0 <= step.count <= step.of for step in found.steps)
    assert sum(step.candidate == "samtok" for step in found.steps) == 6


def test_one_protocol_alone_is_separated_from_nothing():
    done = score(TASK, [sample(*TWO, name="0")], {"0": answer(GOOD, "0")}, protocols=["strict"])
    assert separation({"strict": done.records}) is None


def test_records_of_before_say_nothing_of_the_stages():
    done = score(TASK, [sample(*TWO, name="0")], {"0": answer(GOOD, "0")}, protocols=PROTOCOLS)
    records = {name: [r for r in done.records if r.protocol == name] for name in PROTOCOLS}
    for record in records["samtok"]:
        del record.series["first_hit_known"]
    assert separation(records) is None
    assert np.isfinite(done.metrics["samtok"]["recall@20"]["value"])
