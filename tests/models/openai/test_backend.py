"""What a server may do: fail, refuse, ignore, be slow, go away and come back; and what a run then says."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
from rich.console import Console

from samtok_eval import evaluate
from samtok_eval.errors import TooManyErrorsError, UsageError
from samtok_eval.mask_tokens import Layout
from samtok_eval.messages import Message
from samtok_eval.models.backend import request_of
from samtok_eval.models.openai.address import Address
from samtok_eval.models.openai.backend import WITHOUT_MASKS, OpenAIBackend
from samtok_eval.models.openai.retry import Patience
from samtok_eval.models.sampling import span_grammar
from samtok_eval.prediction_log import read_predictions
from samtok_eval.progress import Progress
from samtok_eval.registry import load_tasks
from samtok_eval.retry_after import asked_wait
from samtok_eval.run.folder import RunFolder, slug
from samtok_eval.run.predict import predict
from samtok_eval.run.samples import read_samples
from samtok_eval.run.settings import RunSettings
from tests.support.serving import ChatServer, Reply, free_port, running

QUICK = Patience(request_seconds=5, down_seconds=5, tries=3, first_wait=0.01, longest_wait=0.05)
MASK = "<|mt_start|><|mt_0001|><|mt_0300|><|mt_end|>"
VLLM = {"structured_outputs", "mm_processor_kwargs", "return_token_ids", "top_k"}


@pytest.fixture
def server():
    with running(ChatServer()) as started:
        started.behave = echo
        yield started


def question(body):
    """The text of the last question."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def echo(body):
    """Says what it was asked."""
    return Reply(question(body))


def like_vllm(body):
    grammar = body.get("structured_outputs", {}).get("grammar", "")
    word = re.fullmatch(r'root ::= "(\w+)"', grammar)
    return Reply(word[1] if word else question(body), further={"token_ids": [1, 2]})


def like_transformers(body):
    unknown = {name for name in ("top_k", "skip_special_tokens", "return_token_ids") if name in body}
    return Reply(status=422) if unknown else echo(body)


def strict(body):
    return Reply(status=400) if set(body) - {"messages", "model", "max_tokens", "temperature", "top_p"} else echo(body)


def backend(server, patience=QUICK, model="tiny", **settings):
    return OpenAIBackend(Address(server.url, model), RunSettings(**settings), patience=patience)


def requests(count, pictures=1):
    images = [np.full((8, 10, 3), 20 * i, np.uint8) for i in range(pictures)]
    shown = [images[i * pictures // count] for i in range(count)]
    return [request_of(str(i), image, (Message("user", (image, f"question {i}")),)) for i, image in enumerate(shown)]


def texts(answers):
    return [answer.text for answer in answers]


EXPECTED = [f"question {i}" for i in range(40)]


def test_answers_come_in_order_although_a_third_of_the_requests_is_refused_for_now(server):
    chance = np.random.default_rng(0)

    def busy(body):
        return Reply(status=503) if chance.random() < 0.3 else echo(body)

    asking = backend(server)
    server.behave = busy
    answers = asking.generate(requests(40), 9)
    assert texts(answers) == EXPECTED
    assert {answer.error for answer in answers} == {None}
    assert len(server.questions) > 40


def test_as_many_questions_are_in_flight_as_allowed_and_each_picture_is_made_into_text_once(server):
    gate = threading.Barrier(6, timeout=5)

    def waits(body):
        gate.wait()
        return echo(body)

    asking = backend(server, concurrency=6)
    server.behave = waits
    assert texts(asking.generate(requests(24, pictures=3), 9)) == EXPECTED[:24]
    assert server.most_busy == 6
    urls = [body["messages"][0]["content"][0]["image_url"]["url"] for body in server.questions]
    assert len(set(urls)) == 3
    assert asking.batch_size >= 6 * 6


def test_a_server_that_is_not_there_yet_is_waited_for():
    port = free_port()
    started = []

    def begin():
        time.sleep(0.6)
        started.append(ChatServer(port))
        started[0].serve_forever(poll_interval=0.02)

    thread = threading.Thread(target=begin)
    thread.start()
    try:
        address = Address(f"http://127.0.0.1:{port}/v1", "tiny")
        assert texts(OpenAIBackend(address, patience=QUICK).generate(requests(2), 9)) == ["Yes.", "Yes."]
    finally:
        started[0].shutdown()
        started[0].server_close()
        thread.join()


def test_a_server_that_never_comes_is_an_error_of_one_line():
    impatient = Patience(down_seconds=0.2, first_wait=0.01)
    with pytest.raises(UsageError, match=r"does not answer for the model tiny: Connection error") as caught:
        OpenAIBackend(Address(f"http://127.0.0.1:{free_port()}/v1", "tiny"), patience=impatient)
    assert "\n" not in str(caught.value)


def test_an_answer_that_takes_too_long_is_asked_for_again(server):
    slow = itertools.chain([0.5], itertools.repeat(0))

    def sometimes(body):
        time.sleep(next(slow))
        return echo(body)

    asking = backend(server, Patience(request_seconds=0.2, first_wait=0.01))
    server.behave = sometimes
    assert texts(asking.generate(requests(3), 9)) == EXPECTED[:3]
    assert len(server.questions) == 4


@pytest.mark.parametrize(
    ("reply", "tries", "error"),
    [
        (Reply(body=b"<html>Welcome</html>"), 3, "ReplyError: .*<html>"),
        (Reply(body=b'{"choices": ['), 3, "ReplyError"),
        (Reply(body=b'{"choices": []}'), 3, "ReplyError"),
        (Reply(text=None), 3, "ReplyError"),
        (Reply(status=500), 3, "InternalServerError: 500"),
        (Reply(status=400), 1, "BadRequestError: 400"),
        (Reply(status=422), 1, "UnprocessableEntityError: 422"),
        (Reply(status=404), 1, "NotFoundError: 404"),
        (Reply(status=401), 1, "AuthenticationError: 401"),
    ],
)
def test_a_question_that_fails_for_good_is_an_error_of_its_own(server, reply, tries, error):
    asking = backend(server)
    server.behave = lambda body: reply if question(body) == "question 1" else echo(body)
    first, second, third = asking.generate(requests(3), 9)
    assert (first.text, third.text) == ("question 0", "question 2")
    assert re.match(error, second.error)
    assert len(server.questions) == 2 + tries


def test_the_server_says_how_long_to_wait():
    assert asked_wait("7.5") == 7.5
    assert 50 < asked_wait(format_datetime(datetime.now(UTC) + timedelta(seconds=60))) <= 60
    assert asked_wait("soon") == asked_wait("") == asked_wait("-3") == asked_wait("nan") == asked_wait("inf") == 0


def test_and_it_is_waited_for_so_long(server):
    once = itertools.chain([Reply(status=429, headers={"Retry-After": "0.4"})], itertools.repeat(None))
    asking = backend(server)
    server.behave = lambda body: next(once) or echo(body)
    started = time.monotonic()
    assert texts(asking.generate(requests(1), 9)) == EXPECTED[:1]
    assert time.monotonic() - started >= 0.4


@pytest.mark.parametrize(
    ("behave", "dialect", "sends", "sends_not"),
    [
        (like_vllm, "vllm", {"top_k": -1, "repetition_penalty": 1, "skip_special_tokens": False}, "generation_config"),
        (echo, "lenient", {"top_k": -1, "skip_special_tokens": False}, "generation_config"),
        (like_transformers, "transformers", {}, "top_k"),
        (strict, "plain", {}, "generation_config"),
    ],
)  # fmt: skip
def test_the_dialect_is_found_out_and_pins_greedy_decoding(server, behave, dialect, sends, sends_not):
    server.behave = behave
    asking = backend(server)
    assert asking.identity()["server"]["dialect"] == dialect
    asking.generate(requests(1), 17)
    (body,) = server.questions
    assert body.items() >= {**sends, "temperature": 0, "top_p": 1, "max_tokens": 17, "model": "tiny"}.items()
    assert sends_not not in body


def test_a_model_that_the_server_has_not_is_an_error_of_one_line(server):
    server.behave = lambda body: Reply(status=404)
    with pytest.raises(UsageError, match=r"does not answer for the model other: 404 .*list of models"):
        backend(server, model="other")


@pytest.mark.parametrize("behave", [echo, strict])
def test_what_a_server_cannot_do_or_would_ignore_is_refused(server, behave):
    server.behave = behave
    with pytest.raises(UsageError, match=r"--constrained: .* takes no grammar"):
        backend(server, constrained=True)
    with pytest.raises(UsageError, match=r"--min-pixels and --max-pixels: .* takes none"):
        backend(server, min_pixels=4096, max_pixels=8192)


def test_one_bound_of_pixels_alone_is_refused(server):
    with pytest.raises(UsageError, match="a server needs both"):
        backend(server, max_pixels=8192)


def test_vllm_is_told_bounds_of_pixels_unless_it_refuses_them(server):
    server.behave = like_vllm
    asking = backend(server, min_pixels=4096, max_pixels=8192)
    size = {"shortest_edge": 4096, "longest_edge": 8192}
    assert asking.identity()["image_size"] == size
    asking.generate(requests(1), 9)
    assert server.questions[0]["mm_processor_kwargs"] == {"size": size}
    server.behave = lambda body: Reply(status=400) if "mm_processor_kwargs" in body else like_vllm(body)
    with pytest.raises(UsageError, match=r"--trust-request-mm-kwargs"):
        backend(server, min_pixels=4096, max_pixels=8192)


def test_a_grammar_is_sent_only_to_a_server_that_obeys_one(server):
    server.behave = like_vllm
    asking = backend(server, constrained=True)
    asking.generate(requests(1), 9)
    assert server.questions[0]["structured_outputs"]["grammar"] == span_grammar(Layout())
    server.behave = lambda body: Reply("No.", further={"token_ids": [1]})
    with pytest.raises(UsageError, match=r"--constrained: .* ignores grammars"):
        backend(server, constrained=True)


def test_the_same_server_elsewhere_has_the_same_identity_and_another_model_another(server):
    first = backend(server).identity()
    with running(ChatServer()) as moved:
        moved.listed[0]["created"] = 2
        assert backend(moved).identity() == first
        moved.listed[0]["root"] = "org/other"
        assert backend(moved).identity() != first
    assert backend(server, model="other").identity() != first
    assert first["server"] == {"dialect": "lenient", "id": "tiny", "owned_by": "us"}


def test_masks_that_never_come_are_warned_about_once(server, caplog):
    asking = backend(server)
    asking.generate(requests(WITHOUT_MASKS - 1), 9)
    assert caplog.text == ""
    asking.generate(requests(WITHOUT_MASKS), 9)
    asking.generate(requests(1), 9)
    assert caplog.text.count("holds a mask word") == 1


def test_nothing_is_said_where_an_answer_has_a_mask_or_the_task_wants_none(server, caplog):
    asking = backend(server)
    server.behave = lambda body: Reply(MASK if question(body) == "question 5" else "no")
    asking.generate(requests(2 * WITHOUT_MASKS), 9)
    words = OpenAIBackend(Address(server.url, "tiny"), expects_masks=False, patience=QUICK)
    server.behave = echo
    words.generate(requests(2 * WITHOUT_MASKS), 9)
    assert "holds a mask word" not in caplog.text


def test_a_notebook_whose_loop_is_running_can_ask(server):
    async def cell():
        return texts(backend(server).generate(requests(2), 9))

    assert asyncio.run(cell()) == EXPECTED[:2]


def test_a_conversation_keeps_its_roles_and_a_word_for_a_picture_in_a_text_is_none(server):
    image = np.zeros((4, 4, 3), np.uint8)
    turns = (Message("user", (image, "a <|image_pad|>", image)), Message("assistant", ("b",)), Message("user", ("c",)))
    backend(server).generate([request_of("1", image, turns)], 9)
    first, second, third = server.questions[0]["messages"]
    assert [part["type"] for part in first["content"]] == ["image_url", "text", "image_url"]
    assert first["content"][1]["text"] == "a <image_pad>"
    assert (second, third) == ({"role": "assistant", "content": "b"}, {"role": "user", "content": "c"})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openai:127.0.0.1#x", "expected openai:URL#NAME"),
        ("openai:http://127.0.0.1/v1", "expected openai:URL#NAME"),
        ("openai:http://me:secret@host/v1#x", "OPENAI_API_KEY"),
        ("openai:http://host/v1?key=secret#x", "OPENAI_API_KEY"),
        ("openai:http://127.0.0.1/v1#x", "--tokenizer"),
    ],
)
def test_a_wrong_name_is_refused_without_repeating_a_secret(name, message):
    with pytest.raises(UsageError, match=message) as caught:
        evaluate("gres", model=name, limit=1)
    assert "secret" not in str(caught.value)


def test_the_folder_of_a_run_is_named_after_the_model():
    assert slug("openai:http://127.0.0.1:8000/v1#org/model") == "openai-org__model"
    assert slug("openai:http://127.0.0.1:8000/v1#/data/checkpoints/tiny") == "openai-tiny"
    assert slug("tokenizer-of-openai:http://host/v1#m") == "tokenizer-of-openai-m"


@pytest.fixture
def run(server, demo_root, tmp_path):
    """A function that asks the server 20 questions of GRES, and gives the lines of the log."""

    def ask(task="gres", limit=20, **options):
        name = f"openai:{server.url}#tiny"
        options = {"data_root": str(demo_root), "out": tmp_path, "tokenizer": "demo", "device": "cpu", **options}
        evaluate(task, model=name, limit=limit, **options)

    def logged():
        return list(read_predictions(sorted(tmp_path.rglob("part-*.jsonl"))))

    return ask, logged


def test_only_the_question_that_fails_is_asked_again(server, run):
    ask, logged = run
    broken = []

    def breaks(body):
        if "image_url" not in json.dumps(body):
            return echo(body)
        broken[:] = broken or [question(body)]
        return Reply(status=400) if question(body) == broken[0] else Reply(MASK)

    server.behave = breaks
    with pytest.raises(TooManyErrorsError, match="400"):
        ask(batch_size=8)
    (failed,) = [line for line in logged() if line.error]
    assert failed.error.startswith("BadRequestError: 400")
    asked = len(server.questions)
    assert asked == 20
    server.behave = lambda body: Reply(MASK) if "image_url" in json.dumps(body) else echo(body)
    ask(batch_size=8)
    assert len(server.questions) == asked + sum(question(body) == broken[0] for body in server.questions) - 1
    assert {line.id: line.error for line in logged()}[failed.id] is None


def test_a_round_that_fails_is_an_error_of_its_conversation_alone(server, demo_root, demo_tokenizer, tmp_path):
    task = load_tasks()["interactive"]
    samples = [s for s in read_samples(task, task.metadata.default_split, str(demo_root), None) if len(s.turns) > 1][:6]
    asking = backend(server)
    lost = samples[2].turns[0].text

    def breaks(body):
        first_round = len(body["messages"]) == 1 and question(body) in lost
        return Reply(status=400) if first_round else Reply(MASK)

    server.behave = breaks
    settings = RunSettings(history="pred", max_errors=6)
    with Progress("test", Console(quiet=True)) as progress:
        counts = predict(task, samples, asking, demo_tokenizer, RunFolder(tmp_path), settings, progress)
    errors = {line.id: line.error for line in read_predictions(RunFolder(tmp_path).parts())}
    assert set(errors) == {sample.id for sample in samples}
    assert errors[samples[2].id].startswith("round 1: BadRequestError: 400")
    assert counts.errored == sum(error is not None for error in errors.values()) < 6
    assert len(server.questions) == len({json.dumps(body) for body in server.questions})


def test_no_key_is_written_down(server, run, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server.behave = lambda body: Reply(MASK)
    run[0](limit=2)
    assert server.keys == {"Bearer sk-secret"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "sk-secret" in path.read_text()]
