"""Back ends without a language model: what they know of a question is its id."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from samtok_eval.images import read_image
from samtok_eval.messages import Message, messages
from samtok_eval.models.backend import Request, request_of
from samtok_eval.models.fixed import Oracle, Random
from samtok_eval.registry import load_tasks
from samtok_eval.tokenizer.pictures import encoder


@pytest.fixture(scope="module")
def task():
    return load_tasks()["interactive"]


@pytest.fixture(scope="module")
def samples(task, demo_root):
    return task.read(demo_root, "refcoco")


@pytest.fixture(scope="module")
def conversation(samples, demo_tokenizer):
    """A question of a third round, as a run asks it."""
    sample = next(sample for sample in samples if len(sample.turns) == 5)
    picture = read_image(sample.image)
    return request_of(sample.id, picture, messages(sample.turns, picture, encoder(demo_tokenizer)))


def test_a_request_holds_what_a_model_may_see_and_nothing_else():
    assert [field.name for field in fields(Request)] == ["id", "images", "messages"]


def test_pictures_stand_in_the_order_of_the_messages():
    whole, view = np.zeros((4, 4, 3), np.uint8), np.ones((2, 2, 3), np.uint8)
    asked = request_of("1", whole, [Message("user", (whole, "This, enlarged: ", view, "What is it?"))])
    assert [id(image) for image in asked.images] == [id(whole), id(view)]
    assert request_of("1", whole, ()).images == (whole,)


def test_the_oracle_answers_an_earlier_round_as_the_later_question_shows_it(
    task, samples, conversation, demo_tokenizer
):
    oracle = Oracle(task, samples, demo_tokenizer)
    for turn in (1, 3):
        (right,) = conversation.messages[turn].parts
        earlier = request_of(conversation.id, conversation.images[0], conversation.messages[:turn])
        (answer,) = oracle.generate([earlier], 9)
        assert answer.text == right


def test_a_guess_rests_on_seed_and_id_alone(task, samples):
    asked = [Request(sample.id, (), ()) for sample in samples[:5]]
    one, other = Random(task, samples, 0), Random(task, samples, 1)
    assert one.generate(asked, 9) == one.generate(asked[::-1], 9)[::-1]
    assert one.generate(asked, 9) != other.generate(asked, 9)
