"""What judges and servers reply."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from tests.fuzz.targets.benchmarks import prepare_task
from tests.fuzz.targets.target import Target, command

JUDGE_FILES = ("replies.jsonl", "eval.json", "review.jsonl", "rated.json")


def _prepare_judged(folder: Path) -> None:
    prepare_task("region_caption", "dlc", ("dlc_bench",))(folder)
    rows = [{"judge": "a judge", "prompt": f"prompt {i}", "reply": "A"} for i in range(3)]
    (folder / "replies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "eval.json").write_text(json.dumps({"1": {"prompt": ["a", "b"], "response": ["A", "B"]}, "avg": 0.5}))
    (folder / "review.jsonl").write_text(
        json.dumps({"question_id": 1, "answer2": "x", "content": "8 9", "tuple": [8, 9], "category": "c"}) + "\n"
    )
    rated = [{"caption": "a", "pred": "b", "gpt": {"score": 3}}]
    (folder / "rated.json").write_text(json.dumps(rated))


def _judged(folder: Path) -> None:
    for name in JUDGE_FILES:
        command("score", "--task", "region_caption:dlc", "--data-root", folder / "data", "--out", folder / "out",
                "--predictions", folder / "predictions.jsonl", "--judge", f"replay:{folder / name}")  # fmt: skip


def _prepare_replies(folder: Path) -> None:
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "an answer"}, "finish_reason": "stop",
         "token_ids": [1, 2]}], "usage": {"prompt_tokens": 1}}  # fmt: skip
    (folder / "body.json").write_text(json.dumps(body))


def _replies(folder: Path) -> None:
    """What the clients of served models and of judges do with the body of a reply."""
    from pydantic import ValidationError

    from samtok_eval.metrics.judge import _reply
    from samtok_eval.models.openai.client import Completion

    content = (folder / "body.json").read_bytes()
    with contextlib.suppress(ValueError):
        _reply(content)
    with contextlib.suppress(ValidationError):
        found = Completion.model_validate_json(content)
        assert isinstance(found.text, str)
        assert found.token_ids is None or all(isinstance(word, int) for word in found.token_ids)


TARGETS: tuple[Target, ...] = (
    Target("judge", _prepare_judged, JUDGE_FILES, _judged, weight=10),
    Target("replies of servers", _prepare_replies, ("body.json",), _replies, weight=6),
)  # fmt: skip
