"""A judge that misbehaves: only text is a reply, none is lost, and what is open is asked again by the same command."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from samtok_eval.errors import DataError, UsageError
from samtok_eval.metrics.judge import PARALLEL, UNREACHABLE, OpenAIJudge, Replayed
from samtok_eval.registry import load_tasks
from tests.support.command import command

NO_REPLIES = {
    "an error": {"error": {"message": "busy"}},
    "no choices": {"choices": []},
    "choices that are no list": {"choices": {"0": {"message": {"content": "A"}}}},
    "no message": {"choices": [{"text": "A"}]},
    "no content": {"choices": [{"message": {"role": "assistant", "content": None}}]},
    "content in parts": {"choices": [{"message": {"content": [{"type": "text", "text": "A"}]}}]},
    "a number": {"choices": [{"message": {"content": 7}}]},
    "null": None,
    "a list": [],
}
BODIES = {name: json.dumps(body).encode() for name, body in NO_REPLIES.items()} | {
    "a page": b"<html><body>502 Bad Gateway</body></html>",
    "nothing": b"",
    "half of an answer": b'{"choices": [{"message": {"content": "A',
    "deep": b"[" * 100_000,
    "other bytes": b"\xff\xfe\x00",
}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def asked(endpoint):
    return [body["messages"][0]["content"] for body in endpoint.seen]


@pytest.mark.parametrize("body", BODIES)
def test_a_success_without_a_text_is_no_reply_and_is_asked_again(endpoint, tmp_path, body):
    record = tmp_path / "r.jsonl"
    endpoint.behave = lambda prompt: BODIES[body] if prompt == "b" else prompt.upper()
    for _ in range(2):
        judge = OpenAIJudge(endpoint.url, "j", record, retries=0)
        assert judge.replies(["a", "b", "c"]) == {"a": "A", "c": "C"}
        judge.close()
    assert sorted(asked(endpoint)) == ["a", "b", "b", "c"]
    assert sorted(line["prompt"] for line in lines(record)) == ["a", "c"]
    endpoint.behave = lambda prompt: "at last"
    assert OpenAIJudge(endpoint.url, "j", record).replies(["b"]) == {"b": "at last"}


def test_an_empty_text_is_a_reply_too(endpoint, tmp_path):
    endpoint.behave = lambda prompt: ""
    judge = OpenAIJudge(endpoint.url, "j", tmp_path / "r.jsonl")
    assert judge.replies(["a"]) == judge.replies(["a"]) == {"a": ""}
    assert asked(endpoint) == ["a"]


def test_errors_between_replies_lose_no_reply(endpoint, tmp_path):
    record = tmp_path / "r.jsonl"
    prompts = [str(number) for number in range(60)]
    endpoint.behave = lambda prompt: 503 if int(prompt) % 3 else "yes"
    judge = OpenAIJudge(endpoint.url, "j", record, retries=0)
    assert set(judge.replies(prompts)) == {line["prompt"] for line in lines(record)} == set(prompts[::3])
    endpoint.behave = lambda prompt: "yes"
    assert set(judge.replies(prompts)) == set(prompts)
    assert len(endpoint.seen) == 60 + 40


def test_a_reply_is_on_disk_before_the_next_one_comes(endpoint, tmp_path):
    record = tmp_path / "r.jsonl"
    gate = threading.Event()
    endpoint.behave = lambda prompt: "yes" if prompt != "slow" or gate.wait(600) else 500
    judge = OpenAIJudge(endpoint.url, "j", record)
    asking = threading.Thread(target=judge.replies, args=(["slow", *map(str, range(PARALLEL))],))
    asking.start()
    while len(lines(record)) < PARALLEL:
        assert asking.is_alive()
        time.sleep(0.01)
    assert "slow" not in {line["prompt"] for line in lines(record)}
    gate.set()
    asking.join()
    assert len(lines(record)) == PARALLEL + 1


def test_a_torn_line_is_cut_off_before_the_next_reply(endpoint, tmp_path):
    record = tmp_path / "r.jsonl"
    row = {"judge": "j", "prompt": "a", "reply": "kept"}
    record.write_text(json.dumps(row) + "\n" + '{"judge": "j", "prompt": "b", "re')
    endpoint.behave = lambda prompt: "new"
    for _ in range(2):
        judge = OpenAIJudge(endpoint.url, "j", record)
        assert judge.replies(["a", "b"]) == {"a": "kept", "b": "new"}
        judge.close()
    assert lines(record) == [row, {"judge": "j", "prompt": "b", "reply": "new"}]
    assert asked(endpoint) == ["b"]
    assert Replayed(record).replies(["a", "b"]) == {"a": "kept", "b": "new"}


@pytest.mark.parametrize(
    "line", ["[" * 100_000, "null", "[]", '{"judge": "j", "prompt": "p", "reply": null}', '{"judge": 1, "prompt": "p"}']
)
def test_a_broken_line_of_a_record_is_named(endpoint, tmp_path, line):
    record = tmp_path / "r.jsonl"
    record.write_text(line + "\n")
    with pytest.raises(DataError, match=r"r\.jsonl:1: .*; correct or remove the line"):
        OpenAIJudge(endpoint.url, "j", record)
    with pytest.raises(DataError, match=r"r\.jsonl:1"):
        Replayed(record)


def test_two_processes_never_write_one_record(endpoint, tmp_path):
    judge = OpenAIJudge(endpoint.url, "j", tmp_path / "r.jsonl")
    with pytest.raises(UsageError, match="another process is writing"):
        OpenAIJudge(endpoint.url, "j", tmp_path / "r.jsonl")
    judge.close()


def test_a_judge_that_is_down_is_found_out_soon_and_leaves_everything_open(caplog):
    tried = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up():
            with suppress(OSError):
                while True:
                    tried.append(server.accept()[0].close())

        thread = threading.Thread(target=hang_up)
        thread.start()
        judge = OpenAIJudge(f"http://127.0.0.1:{server.getsockname()[1]}/v1", "x", None, retries=0)
        assert judge.replies([str(number) for number in range(1000)]) == {}
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert UNREACHABLE <= len(tried) < UNREACHABLE + PARALLEL
    assert "left 1000 of 1000 prompts open: APIConnectionError" in caplog.text


def test_a_judge_that_is_too_slow_leaves_the_prompt_open(endpoint, caplog):
    gate = threading.Event()
    endpoint.behave = lambda prompt: "late" if gate.wait(600) else 500
    assert OpenAIJudge(endpoint.url, "x", None, timeout=0.1, retries=0).replies(["a"]) == {}
    gate.set()
    assert "Timeout" in caplog.text


# ---- the command ----


@pytest.fixture
def scoring(demo_root, endpoint, tmp_path):
    """The command that scores captions of three regions with the judge behind the endpoint, and all its prompts."""
    task = load_tasks()["region_caption"]
    samples = task.read(demo_root, "dlc")[:3]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps({"id": s.id, "text": f"thing {i}"}) + "\n" for i, s in enumerate(samples)))
    words = ["score", "--task", "region_caption:dlc", "--data-root", str(demo_root), "--predictions", str(answers)]
    words += ["--limit", "3", "--judge", f"openai:{endpoint.url}#j", "--out"]
    return words, sum(1 + len(s.target.questions) for s in samples)


def finished(words, out):
    done = command(*words, out)
    return done, json.loads((out / "metrics.json").read_text())


def test_open_prompts_end_in_exit_code_5_and_the_same_command_asks_them_again(endpoint, scoring, tmp_path):
    words, total = scoring
    endpoint.behave = lambda prompt: BODIES["an error"] if "thing 1" in prompt else "A"
    done, metrics = finished(words, tmp_path / "out")
    owed = metrics["counters"]["open_prompts"]
    assert done.returncode == 5, done.stderr
    assert f"{owed} prompts have no reply of openai:{endpoint.url}#j; the same command asks them again" in done.stderr
    assert "Region captioning" in done.stdout, "the table of what there is comes first"
    assert not any(name.startswith("dlc_") for name in metrics["strict"] | metrics["official"])
    assert 0 < owed < total == owed + len(lines(tmp_path / "out" / "judge_replies.jsonl"))

    endpoint.behave = lambda prompt: "A"
    endpoint.seen.clear()
    done, metrics = finished(words, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert len(endpoint.seen) == owed
    assert metrics["strict"]["dlc_pos|j"]["n"] == 3
    assert metrics == finished(words, tmp_path / "afresh")[1]


def test_replies_survive_a_kill_in_the_middle(endpoint, scoring, tmp_path):
    words, total = scoring
    gate, out = threading.Event(), tmp_path / "out"
    served, answered, asked = iter(range(total)), [], []

    def some(prompt):
        if next(served) >= total // 2:
            gate.wait(600)
            return 500
        answered.append(prompt)
        return "A"

    endpoint.behave = some
    process = subprocess.Popen(
        [sys.executable, "-m", "samtok_eval", *words, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    record = out / "judge_replies.jsonl"
    while not record.exists() or record.read_text().count("\n") < total // 2:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    gate.set()
    assert len(lines(record)) == total // 2

    # What the killed process had sent may arrive only now; nothing of it had a reply.
    endpoint.behave = lambda prompt: asked.append(prompt) or "A"
    done, metrics = finished(words, out)
    assert done.returncode == 0, done.stderr
    assert len(lines(record)) == len({*answered, *asked}) == total
    assert not {*answered} & {*asked}
    assert metrics == finished(words, tmp_path / "afresh")[1]


def test_prompts_that_a_recording_lacks_are_open_too(endpoint, scoring, tmp_path):
    words, _ = scoring
    assert finished(words, tmp_path / "out")[0].returncode == 0
    recording = tmp_path / "recorded.jsonl"
    recording.write_text("".join((tmp_path / "out" / "judge_replies.jsonl").read_text().splitlines(keepends=True)[1:]))
    words[words.index("--judge") + 1] = f"replay:{recording}"
    done, metrics = finished(words, tmp_path / "again")
    assert done.returncode == 5
    assert f"1 prompts are not in replay:{recording}" in done.stderr
    assert "dlc_pos|j" not in metrics["strict"]
