"""Shared prefixes: the same answers, whatever the questions of a batch have in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.images import read_image
from samtok_eval.messages import Message
from samtok_eval.models.backend import request_of
from samtok_eval.models.shared_prefix import cache_name, padded, prefix_ends, shared_inputs
from samtok_eval.models.transformers_backend import TransformersBackend
from samtok_eval.registry import load_tasks
from samtok_eval.run.settings import RunSettings
from tests.models.test_transformers_backend import qwen25

PICTURE = 9
"""Id of the tokens of a picture in the examples."""
QUESTIONS = ("What is left?", "What is right of the circle?", "Segment the red one.")


def backend_of(folder, dtype=torch.float32, **settings):
    return TransformersBackend(str(folder), "model", "cpu", dtype, settings=RunSettings(**settings))


@pytest.fixture(scope="module")
def demo():
    return backend_of(DEMO_CHECKPOINT)


@pytest.fixture(scope="module")
def pictures(demo_root):
    samples = load_tasks()["gres"].read(demo_root, "val")
    return [read_image(image) for image in list(dict.fromkeys(sample.image for sample in samples))[:3]]


def asked(picture, *parts, before=()):
    return request_of("q", picture, [Message("user", (*before, picture, *parts))])


def batch(pictures):
    """Three questions about the first picture, two about the second, one about the third."""
    return [asked(picture, text) for picture, count in zip(pictures, (3, 2, 1), strict=True)
            for text in QUESTIONS[:count]]  # fmt: skip


def rows(requests):
    order = list(dict.fromkeys(id(request.images[0]) for request in requests))
    return [order.index(id(request.images[0])) for request in requests]


def texts(backend, requests):
    return [answer.text for answer in backend.generate(requests, 40)]


@pytest.mark.parametrize(
    ("prompts", "pictures", "ends"),
    [
        ([[9, 9, 5, 6, 1], [9, 9, 5, 6, 2, 3]], [0, 0], [4, 4]),
        # The last token of the shorter one is left to be read, also where both are equal.
        ([[9, 5, 6], [9, 5, 6]], [0, 0], [2, 2]),
        ([[9, 5], [9, 5, 6]], [0, 0], [1, 1]),
        # Equal ids of another picture are another picture.
        ([[9, 5, 1], [9, 5, 2], [9, 5, 1, 4], [9, 5, 1, 7]], [0, 0, 1, 1], [2, 2, 3, 3]),
        # A question alone takes no more words behind its picture than the others.
        ([[9, 5, 1], [9, 5, 2], [9, 9, 9, 5, 6, 7, 8]], [0, 0, 1], [2, 2, 4]),
        # Words before the picture part.
        ([[1, 9, 5], [2, 9, 5]], [0, 0], [0, 0]),
    ],
)
def test_the_prefix_of_a_picture_is_what_its_questions_have_in_common(prompts, pictures, ends):
    assert prefix_ends(prompts, pictures, PICTURE) == ends


def test_rows_are_padded_on_the_left():
    ids, own = padded([[1, 2, 3], [4]], pad=7, device=torch.device("cpu"))
    assert ids.tolist() == [[1, 2, 3], [7, 7, 4]]
    assert own.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_every_picture_is_read_once_and_its_questions_hold_what_was_read(demo, pictures):
    requests = batch(pictures)
    inputs = demo.inputs(requests)
    read = []
    hook = demo.model.register_forward_pre_hook(
        lambda _, args, given: read.append(given["input_ids"]), with_kwargs=True
    )
    shared = shared_inputs(demo.model, inputs, rows(requests))
    hook.remove()
    (prefixes,) = read
    assert len(prefixes) == len(pictures)
    assert shared[cache_name(demo.model)].get_seq_length() == prefixes.shape[1]
    for before, own, after, kept in zip(
        inputs["input_ids"], inputs["attention_mask"], shared["input_ids"], shared["attention_mask"], strict=True
    ):
        assert before[own == 1].tolist() == after[kept == 1].tolist()


@pytest.mark.parametrize("constrained", [False, True])
def test_answers_of_the_demo_are_those_without_sharing(pictures, constrained):
    shared, plain = (
        backend_of(DEMO_CHECKPOINT, constrained=constrained, share_prefix=share) for share in (None, False)
    )
    assert texts(shared, batch(pictures)) == texts(plain, batch(pictures))


def test_answers_of_a_qwen25_are_those_without_sharing(tmp_path, pictures):
    qwen25(tmp_path)
    shared, plain = (backend_of(tmp_path, share_prefix=share) for share in (None, False))
    assert texts(shared, batch(pictures)) == texts(plain, batch(pictures))


def test_an_earlier_batch_leaves_nothing_behind(demo, pictures):
    first, later = batch(pictures), batch(pictures[::-1])
    expected = texts(backend_of(DEMO_CHECKPOINT, share_prefix=False), later)
    texts(demo, first)
    assert texts(demo, later) == expected


def alone(pictures):
    return [asked(picture, QUESTIONS[0]) for picture in pictures]


def with_second_picture(pictures):
    view = np.ascontiguousarray(pictures[0][:64, :64])
    return [asked(pictures[0], text, view) for text in QUESTIONS]


def with_words_before_the_picture(pictures):
    return [asked(pictures[0], "Segment it.", before=(text,)) for text in QUESTIONS]


@pytest.mark.parametrize("requests_of", [alone, with_second_picture, with_words_before_the_picture])
def test_batches_that_can_share_nothing_are_asked_as_they_are(demo, pictures, requests_of):
    requests = requests_of(pictures)
    inputs = demo.inputs(requests)
    assert shared_inputs(demo.model, inputs, demo._pictures(requests)[1]) is inputs
    assert texts(demo, requests) == texts(backend_of(DEMO_CHECKPOINT, share_prefix=False), requests)


@pytest.mark.parametrize(
    ("dtype", "settings", "shares"),
    [
        (torch.float32, {}, True),
        (torch.bfloat16, {}, False),
        (torch.bfloat16, {"share_prefix": True}, True),
        (torch.float32, {"share_prefix": False}, False),
        (torch.float32, {"group_pictures": False}, False),
    ],
)
def test_the_identity_names_sharing_only_where_it_happens(dtype, settings, shares):
    identity = backend_of(DEMO_CHECKPOINT, dtype, **settings).identity()
    assert identity.get("share_prefix", False) is shares
