"""A judge model: text in, text out. Any endpoint that speaks OpenAI's protocol, or replies recorded earlier.

Replies are kept beside the scores as they come, so that scoring again asks only what is not yet answered, and a run's
judgement can be replayed by anyone without the judge.
"""

from __future__ import annotations

import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from samtok_eval.datasets.files import read_json
from samtok_eval.errors import DataError, SamtokError, UsageError

logger = logging.getLogger(__name__)

MAX_TOKENS = 300
TIMEOUT_SECONDS = 60.0
RETRIES = 2
PARALLEL = 8


class JudgeError(SamtokError):
    """The judge cannot be reached."""


class Judge(ABC):
    """Something that answers prompts."""

    name: str
    """Stands in the name of every metric that rests on it; judges never share a column."""

    @abstractmethod
    def replies(self, prompts: Sequence[str]) -> dict[str, str]:
        """Replies by prompt; a prompt that got none is left out.

        Raises:
            JudgeError: nothing at all came back.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of connections."""


class Replayed(Judge):
    """Recorded replies."""

    def __init__(self, path: Path) -> None:
        """Read a recording.

        Args:
            path: `judge_replies.jsonl` of a run, or a `*_eval.json` of DLC-Bench's own scorer.

        Raises:
            DataError: missing, broken, or of several judges.
        """
        self.name, self._known = _recording(path)

    def replies(self, prompts: Sequence[str]) -> dict[str, str]:
        """What was recorded for these prompts, word for word the same."""
        return {prompt: self._known[prompt] for prompt in prompts if prompt in self._known}

    def close(self) -> None:
        """Nothing is open."""


class OpenAIJudge(Judge):
    """A chat model behind an OpenAI-compatible endpoint, greedy."""

    def __init__(
        self, url: str, name: str, record: Path | None, timeout: float = TIMEOUT_SECONDS, retries: int = RETRIES
    ) -> None:
        """Prepare a client; nothing is asked yet.

        Args:
            url: base address, e.g. `http://127.0.0.1:8000/v1`. The key is read from `OPENAI_API_KEY`.
            name: of the model.
            record: file to which replies are appended, and from which those of this judge are read; none without it.
            timeout: seconds to wait for one reply.
            retries: further attempts after a timeout or a server's error.

        Raises:
            UsageError: the package `openai` is missing.
        """
        try:
            from openai import OpenAI
        except ModuleNotFoundError as error:
            raise UsageError("--judge openai:... needs the package openai; install samtok-eval[judge]") from error
        self.name, self._url, self._record = name, url, record
        key = os.environ.get("OPENAI_API_KEY", "none")
        self._client = OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=retries)
        self._known = _recorded_by(name, record) if record is not None and record.is_file() else {}

    def replies(self, prompts: Sequence[str]) -> dict[str, str]:
        """Ask what is not yet known, several prompts at a time."""
        from openai import OpenAIError

        fresh = list(dict.fromkeys(prompt for prompt in prompts if prompt not in self._known))
        errors: list[str] = []

        def ask(prompt: str) -> str | None:
            try:
                answer = self._client.chat.completions.create(
                    model=self.name,
                    messages=[{"role": "user", "content": prompt}],
                    temperature=0,
                    max_tokens=MAX_TOKENS,
                )
                return (answer.choices[0].message.content or "") if answer.choices else ""
            except OpenAIError as error:
                errors.append(f"{type(error).__name__}: {error}")
                return None

        # One question first: a judge that is down is found out once, not a thousand times.
        for batch in (fresh[:1], fresh[1:]):
            with ThreadPoolExecutor(PARALLEL) as pool:
                for prompt, reply in zip(batch, pool.map(ask, batch), strict=True):
                    if reply is not None:
                        self._keep(prompt, reply)
            if fresh and not self._known:
                raise JudgeError(f"the judge at {self._url} does not answer: {errors[0]}; check --judge, then `score`")
        if errors:
            logger.warning("the judge did not answer %d of %d prompts, %s first", len(errors), len(fresh), errors[0])
        return {prompt: self._known[prompt] for prompt in prompts if prompt in self._known}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _keep(self, prompt: str, reply: str) -> None:
        self._known[prompt] = reply
        if self._record is not None:
            self._record.parent.mkdir(parents=True, exist_ok=True)
            with self._record.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"judge": self.name, "prompt": prompt, "reply": reply}) + "\n")


def open_judge(name: str, record: Path | None) -> Judge:
    """The judge of an option.

    Args:
        name: `openai:URL#NAME` or `replay:FILE`.
        record: file for the replies of an endpoint.

    Raises:
        UsageError: the package `openai` is missing.
        DataError: a recording that cannot be read.
    """
    kind, _, rest = name.partition(":")
    if kind == "replay":
        return Replayed(Path(rest))
    url, _, model = rest.rpartition("#")
    return OpenAIJudge(url, model, record)


def _recording(path: Path) -> tuple[str, dict[str, str]]:
    if path.suffix == ".jsonl":
        rows = _rows(path)
        names = {row["judge"] for row in rows}
        if len(names) != 1:
            raise DataError(f"{path} holds replies of {len(names)} judges, expected one: {', '.join(sorted(names))}")
        return names.pop(), {row["prompt"]: row["reply"] for row in rows}
    content = read_json(path)
    try:
        regions = [row for row in content.values() if isinstance(row, Mapping)]
        known = {prompt: reply for row in regions for prompt, reply in zip(row["prompt"], row["response"], strict=True)}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is neither a judge_replies.jsonl nor a DLC-Bench *_eval.json with prompts and responses: {error}"
        ) from error
    return f"replay:{path.stem}", known


def _recorded_by(name: str, path: Path) -> dict[str, str]:
    return {row["prompt"]: row["reply"] for row in _rows(path) if row["judge"] == name}


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not {"judge", "prompt", "reply"} <= set(row):
                raise ValueError("expected the keys judge, prompt and reply")
            found.append(row)
        except (TypeError, ValueError) as error:
            if number == len(lines):
                # The writer was stopped in the middle of its last line; that prompt is asked again.
                break
            raise DataError(f"{path}:{number}: {error}") from error
    return found
