"""What is asked about demo scenes is true and has one right answer; the committed codes are the tokenizer's."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from samtok_eval.demo.benchmark import HELD_OUT, multi_round_scenes
from samtok_eval.demo.codes import scene_codes
from samtok_eval.demo.formats import CODES_FILE, seeds
from samtok_eval.demo.world import language, questions
from samtok_eval.demo.world.scenes import CLEAR_GAP, Scene, SceneObject, draw_scene
from samtok_eval.mask_tokens import Codes
from samtok_eval.registry import load_tasks

EMPTY = np.zeros((128, 128), dtype=bool)


def item(color, shape, x, y, size="small"):
    return SceneObject(color, shape, size, x, y, 14.0, EMPTY)


@pytest.fixture(scope="module")
def scene():
    objects = (item("red", "circle", 100, 70), item("blue", "cross", 20, 64), item("red", "square", 60, 20, "large"))
    return Scene(1, np.zeros((128, 128, 3), np.uint8), objects)


def test_captions_name_every_object_from_left_to_right(scene):
    text, phrases = questions.caption(scene)
    assert text == ("There is a small blue cross at left, a large red square at top and a small red circle at right.")
    assert [i for _, i in phrases] == [1, 2, 0]


def test_relations_follow_the_longer_axis_and_end_with_what_two_neighbours_share(scene):
    assert questions.relations(scene) == [(1, "below", 2), (2, "above", 0), (2, "same color as", 0)]


def test_choices_have_their_right_answer_among_distinct_options(scene):
    asked = questions.choices(scene, np.random.default_rng(0))
    assert {question.kind for question in asked} == {"color", "shape", "ordering", "relation"}
    for question in asked:
        assert len(set(question.options)) == len(question.options) == 4
    shapes = [question.options[question.right] for question in asked if question.kind == "shape"]
    assert shapes == ["circle", "cross", "square"]
    places = {q.regions[0]: q.options[q.right] for q in asked if q.kind == "ordering"}
    assert places == {1: "first", 2: "second", 0: "third"}


def test_later_rounds_mean_one_other_object():
    for seed in range(60):
        scene = draw_scene(HELD_OUT + seed)
        for rounds in questions.conversations(scene, np.random.default_rng(seed)):
            assert 2 <= len(rounds) <= questions.ROUNDS
            for before, now in itertools.pairwise(rounds):
                assert before.target != now.target
                anchor, found = scene.objects[before.target], scene.objects[now.target]
                if "left of" in now.phrase:
                    assert anchor.x - found.x > CLEAR_GAP
                    assert [o.x < anchor.x for o in scene.objects].count(True) == 1
                if "color" in now.phrase:
                    assert [o.color for o in scene.objects].count(anchor.color) == 2


def test_sentences_mean_exactly_their_objects(scene):
    found = {sentence.text: sentence.targets for sentence in questions.sentences(scene)}
    assert found["There is a large red square at top."] == (2,)
    assert found["There are two red objects."] == (0, 2)


def test_committed_codes_are_those_of_the_shipped_tokenizer(demo_tokenizer):
    committed = json.loads(CODES_FILE.read_text())
    assert list(committed) == [str(seed) for seed in seeds(multi_round_scenes())]
    for scene in multi_round_scenes()[0][:10]:
        assert committed[str(scene.seed)] == scene_codes(scene, demo_tokenizer)


def test_the_checkpoint_is_taught_the_scene_graph_task_s_own_answers(demo_root):
    task = load_tasks()["scene_graph"]
    for sample in task.read(demo_root, "test")[:10]:
        codes = [Codes(i, i) for i in range(len(sample.target.masks))]
        assert task.answer(sample, codes) == language.scene_graph(draw_scene(int(sample.id)), codes)
