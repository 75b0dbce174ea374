"""Back ends of a user's own: an example that works, what tells their runs apart, and one line for each mistake."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from samtok_eval import evaluate, load_run
from samtok_eval.errors import TooManyErrorsError, UsageError
from samtok_eval.masks import encode
from samtok_eval.models.backend import Answer
from samtok_eval.prediction_log import read_predictions
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.settings import RunOptions

EXAMPLE = Path(__file__).parents[2] / "examples" / "toy_segmenter.py"


class Square:
    """Answers with the same mask in every form that is allowed."""

    name = "square"

    def __init__(self, answers=None, seed=0):
        self.answers, self.seed = answers or self.right, seed

    def identity(self):
        return {"seed": self.seed}

    def right(self, requests):
        shapes = [request.images[0].shape[:2] for request in requests]
        masks = [np.pad(np.ones((9, 9), bool), ((0, h - 9), (0, w - 9))) for h, w in shapes]
        return [Answer("", masks=[encode(mask) if i % 2 else mask]) for i, mask in enumerate(masks)]

    def generate(self, requests, max_new_tokens):
        return self.answers(requests)


@pytest.fixture
def run(demo_root, tmp_path):
    """A function that evaluates a back end on a few questions."""

    def call(model, task="gres", limit=6, **options):
        where = {"data_root": str(demo_root), "out": tmp_path / "runs", "device": "cpu"}
        return evaluate(task, model=model, limit=limit, **{**where, **options})

    return call


def lines(run):
    return list(read_predictions([run.path / "predictions" / "part-0.jsonl"]))


def test_the_example_segments_by_color_without_a_mask_tokenizer(run, demo_root, tmp_path):
    done = run(f"python:{EXAMPLE}", limit=60)
    assert done.values("strict")["giou"]["value"] > 0.3
    assert {line.status for line in lines(done)} == {"foreign"}
    assert any(line.masks for line in lines(done))
    assert done.manifest.tokenizer_sha256 is None
    assert load_run(done.path).metrics == done.metrics
    options = RunOptions(task="gres", data_root=str(demo_root), out=tmp_path / "scored")
    assert score_file(options, done.path).metrics.protocols == done.metrics.protocols


@pytest.mark.parametrize("task", ["refcoco", "grounding_suite"])
def test_every_task_whose_answer_is_masks_scores_them(run, task):
    done = run(Square(), task, limit=4)
    assert all(line.masks for line in lines(done))
    assert done.metrics.counters.scored == 4


def test_phrases_of_masks_are_kept_where_the_text_does_not_mark_them(run):
    def two(requests):
        return [Answer("A cat.", masks=[*answer.masks] * 2, phrases=["a", "b"]) for answer in Square().right(requests)]

    done = run(Square(two), "gcg", limit=2, protocols=("strict",))
    assert {tuple(line.phrases) for line in lines(done)} == {("a", "b")}
    assert done.metrics.counters.scored == 2


def test_arrays_and_run_lengths_are_the_same_masks(run):
    first, second, *_ = lines(run(Square()))
    assert first.masks == second.masks


def test_a_run_goes_on_only_with_the_same_file_and_the_same_identity(run, tmp_path):
    file = shutil.copy(EXAMPLE, tmp_path / "mine.py")
    first = run(f"python:{file}", limit=2)
    assert run(f"python:{file}", limit=2).path == first.path
    file.write_text(file.read_text() + "\n# changed\n")
    assert run(f"python:{file}", limit=2).path != first.path
    assert run(Square(seed=1), limit=2).path != run(Square(seed=2), limit=2).path


def test_an_error_of_an_answer_is_asked_again_by_the_same_command(run):
    fails = [True]

    def once(requests):
        found = Square().right(requests)
        return [Answer("", error="lost"), *found[1:]] if fails.pop() else found

    with pytest.raises(TooManyErrorsError, match="lost"):
        run(Square(once))
    fails[:] = [False]
    assert run(Square(once)).metrics.counters.errored == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "must define BACKEND"),
        ("BACKEND = 3", "must define BACKEND"),
        ("import no_such_module", "cannot be run: ModuleNotFoundError"),
        ("def (", "cannot be run: SyntaxError"),
        ("BACKEND = lambda: 1", r"BACKEND\(settings\) raises TypeError"),
        ("BACKEND = lambda settings: 1", "needs name, identity.* and generate.*; identity is missing"),
    ],
)
def test_a_broken_file_is_one_line(run, tmp_path, content, message):
    path = tmp_path / "broken.py"
    path.write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        run(f"python:{path}")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(run):
    with pytest.raises(UsageError, match=r"--model python:none\.py cannot be read"):
        run("python:none.py")


def plain(**fields):
    return lambda requests: [Answer(**{"text": "", **fields}) for _ in requests]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (lambda requests: None, "must return a list of 6 answers, got NoneType"),
        (lambda requests: [], "must return a list of 6 answers, got 0 answers"),
        (lambda requests: ["text"] * len(requests), "must be an Answer, got str"),
        (plain(text=None), "has a text that is no text but NoneType"),
        (plain(masks=[np.zeros((3, 4), bool)]), r"has a mask of 3x4, the picture is \d+x\d+"),
        (plain(masks=[np.zeros((3, 4), np.uint8)]), "neither a bool array nor an Rle but an array of uint8"),
        (plain(masks=[{"size": [3, 4]}]), "neither a bool array nor an Rle but dict"),
        (plain(masks=3), "has masks that are no list but int"),
        (plain(masks=[], phrases=["a"]), "has 1 phrases for 0 masks"),
        (plain(text="<|mt_start|><|mt_0001|><|mt_0300|><|mt_end|>"), "answers in mask words; name the mask tokenizer"),
    ],
)
def test_an_answer_that_is_none_is_one_line(run, answers, message):
    with pytest.raises(UsageError, match=message):
        run(Square(answers))


def test_mask_words_are_decoded_where_a_mask_tokenizer_is_named(run):
    words = plain(text="<|mt_start|><|mt_0001|><|mt_0300|><|mt_end|>")
    assert all(line.decoded for line in lines(run(Square(words), tokenizer="demo", limit=2)))


def test_questions_that_hold_masks_need_a_mask_tokenizer(run):
    with pytest.raises(UsageError, match="writes masks into its questions"):
        run(Square(), "region_vqa", limit=2)


def test_a_task_of_the_mask_tokenizer_alone_needs_one(run):
    with pytest.raises(UsageError, match="reconstruction asks a mask tokenizer alone"):
        run(Square(), "reconstruction", limit=2)


def test_an_identity_that_cannot_be_written_down_is_refused(run):
    own = Square()
    own.identity = lambda: {"weights": np.zeros(3)}
    with pytest.raises(UsageError, match="plain values"):
        run(own)


def test_what_a_run_holds_of_its_back_end_is_plain(run):
    identity = run(f"python:{EXAMPLE}", limit=1).manifest.model.identity
    assert set(identity) == {"model", "file_sha256", "own"}
    assert json.loads(json.dumps(identity)) == identity
