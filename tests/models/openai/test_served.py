"""`transformers serve` and the same checkpoint in this process give the same runs, to the byte; it can judge, too."""

from __future__ import annotations

import json

import pytest
import torch

from samtok_eval import evaluate
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.images import read_image
from samtok_eval.messages import messages
from samtok_eval.models.backend import request_of
from samtok_eval.models.openai.address import Address
from samtok_eval.models.openai.backend import OpenAIBackend
from samtok_eval.models.transformers_backend import TransformersBackend
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.predict import with_own_history
from samtok_eval.run.samples import read_samples
from samtok_eval.run.score import score
from samtok_eval.tokenizer.pictures import encoder
from tests.support.results import written
from tests.support.serving import started, transformers_serve, with_killed_server


@pytest.fixture(scope="session")
def server():
    pytest.importorskip("fastapi", reason="transformers serve needs the extra serving")
    with started(transformers_serve(DEMO_CHECKPOINT)) as process:
        yield process


@pytest.fixture(scope="session")
def served(server):
    """The server as a model."""
    return f"openai:{server.url}#{DEMO_CHECKPOINT}"


@pytest.fixture
def both(served, demo_root, tmp_path):
    """A function that runs a task here and on the server."""

    def run(task, **options):
        common = {"data_root": str(demo_root), "device": "cpu", "tokenizer": "demo", **options}
        return [evaluate(task, model=model, out=tmp_path / place, **common)
                for model, place in ((str(DEMO_CHECKPOINT), "here"), (served, "there"))]  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("task", "limit", "options"),
    [
        ("gres", 24, {"concurrency": 5}),
        ("gres", 6, {"min_pixels": 4096, "max_pixels": 9216}),
        ("region_vqa", 2, {}),
    ],
)
def test_answers_masks_records_and_metrics_are_those_of_the_checkpoint_in_this_process(both, task, limit, options):
    here, there = both(task, limit=limit, **options)
    assert written(here) == written(there)
    assert any(line["text"] for line in written(there)[0])


def test_conversations_go_on_from_the_servers_own_answers(served, demo_root, demo_tokenizer):
    task = load_tasks()["interactive"]
    samples = read_samples(task, task.metadata.default_split, str(demo_root), None)
    pictures = {s.image.id: read_image(s.image) for s in samples if len(s.turns) == 5}
    requests = [request_of(s.id, picture, messages(s.turns, picture, encoder(demo_tokenizer)))
                for s in samples if len(s.turns) == 5 for picture in [pictures[s.image.id]]][:3]  # fmt: skip
    here = TransformersBackend(str(DEMO_CHECKPOINT), "demo", "cpu", torch.float32)
    there = OpenAIBackend(Address.of(served))
    said = []
    for backend in (here, there):
        asked, failures = with_own_history(requests, backend, 60)
        assert not failures
        said.append([answer.text for answer in backend.generate(asked, 60)])
    assert said[0] == said[1]


def test_the_run_says_who_answered_and_its_folder_can_be_read(both):
    _, there = both("gres", limit=2)
    identity = there.manifest.model.identity
    assert identity["server"]["dialect"] == "transformers"
    assert identity["model"] == f"openai:{DEMO_CHECKPOINT}"
    assert there.path.parent.name == f"openai-{DEMO_CHECKPOINT.name}"


@pytest.mark.parametrize(
    ("split", "count", "metric", "shown", "worth"),
    [
        # Such a reply is no True, and for the script that `official` follows the ratings -1 and -1.
        ("gar-detail", 2, "judge_accuracy", 5, {"strict": 0.0, "official": 0.0}),
        ("ferret", 1, "relative_score", 0, {"official": 1.0}),
    ],
)
def test_a_server_judges_with_pictures_and_without_and_replies_that_say_nothing_count_by_rule(
    served, demo_root, tmp_path, split, count, metric, shown, worth
):
    """The checkpoint knows nothing of judging; what it replies is recorded, and replayed to the same numbers."""
    task, record = load_tasks()["region_caption"], tmp_path / "judge_replies.jsonl"
    samples = task.read(demo_root, split, count)
    answers = [Prediction(id=sample.id, text=task.answer(sample, [])) for sample in samples]
    found = score(task, samples, answers, judge=served, record=record)
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    assert [row["judge"] for row in rows] == [str(DEMO_CHECKPOINT)] * count
    assert all(row["reply"].strip() and row["prompt"].count("<picture: ") == shown for row in rows)
    assert found.metrics["counters"]["open_prompts"] == 0
    name = f"{metric}|{DEMO_CHECKPOINT}"
    values = {p: found.metrics[p][name]["value"] for p in ("strict", "official") if name in found.metrics[p]}
    assert values == worth
    assert all(record.values["judge_unread"] == (record.protocol == "strict") for record in found.records)
    again = score(task, samples, answers, judge=f"replay:{record}")
    assert (again.metrics, list(again.records)) == (found.metrics, list(found.records))


def test_a_server_that_is_killed_and_started_again_in_mid_run_loses_nothing(server, served, demo_root, tmp_path):
    common = {"limit": 48, "device": "cpu", "tokenizer": "demo", "data_root": str(demo_root)}
    here = evaluate("gres", model="demo", out=tmp_path / "here", **common)
    small = {"batch_size": 8, "concurrency": 1}
    there = with_killed_server(
        server, tmp_path / "there", lambda: evaluate("gres", model=served, out=tmp_path / "there", **common, **small)
    )
    assert written(here) == written(there)
