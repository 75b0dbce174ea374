"""A judge model: text in, text out. Any endpoint that speaks OpenAI's protocol, or replies recorded earlier.

Replies cost money. Each is on disk as soon as it comes, so that whatever happens later, scoring again asks only what is
still open, and a run's judgement can be replayed by anyone without the judge. What is no reply (an error, a page of a
proxy, an answer without text) is never kept as one.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from samtok_eval.append_log import AppendLog
from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import MEND_THE_LINE, numbered_lines, read_object, reading, shortened

logger = logging.getLogger(__name__)

MAX_TOKENS = 300
TIMEOUT_SECONDS = 60.0
RETRIES = 2
PARALLEL = 8
RECORD_AGAIN = "record the replies again"
UNREACHABLE = 8
"""Prompts in a row to which a server does not even answer, after which the others are left open unasked."""


class Judge(ABC):
    """Something that answers prompts."""

    name: str
    """Stands in the name of every metric that rests on it; judges never share a column."""

    @abstractmethod
    def replies(self, prompts: Sequence[str]) -> dict[str, str]:
        """Replies by prompt; a prompt that got none is left out, and stays open."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections and files."""


class Reply(BaseModel):
    """One line of `judge_replies.jsonl`."""

    model_config = ConfigDict(frozen=True, strict=True)

    judge: str
    prompt: str
    reply: str


class Judged(BaseModel):
    """What DLC-Bench's own scorer keeps of a region: its prompts, and a response to each."""

    model_config = ConfigDict(frozen=True, strict=True)

    prompt: list[str]
    response: list[str]


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
            UsageError: the package `openai` is missing, or another process is writing the record.
            DataError: the record is broken.
        """
        try:
            from openai import OpenAI
        except ModuleNotFoundError as error:
            raise UsageError("--judge openai:... needs the package openai; install samtok-eval[judge]") from error
        self.name, self._url = name, url
        self._log = AppendLog(record) if record is not None else None
        self._known = {row.prompt: row.reply for row in _replies(record) if row.judge == name} if record else {}
        self._lock = threading.Lock()
        self._unreachable = 0
        key = os.environ.get("OPENAI_API_KEY", "none")
        self._client = OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=retries)

    def replies(self, prompts: Sequence[str]) -> dict[str, str]:
        """Ask what is not yet known, several prompts at a time."""
        fresh = list(dict.fromkeys(prompt for prompt in prompts if prompt not in self._known))
        # Where the work is interrupted, `map` takes back what no thread has begun.
        with ThreadPoolExecutor(PARALLEL) as pool:
            reasons = [reason for reason in pool.map(self._ask, fresh) if reason is not None]
        if reasons:
            logger.warning(
                "the judge %s at %s left %d of %d prompts open: %s",
                self.name,
                self._url,
                len(reasons),
                len(fresh),
                reasons[0],
            )
        return {prompt: self._known[prompt] for prompt in prompts if prompt in self._known}

    def close(self) -> None:
        """Close the connections and the record."""
        self._client.close()
        if self._log is not None:
            self._log.close()

    def _ask(self, prompt: str) -> str | None:
        """Keep the reply to a prompt; why there is none, otherwise."""
        from openai import APIConnectionError, OpenAIError

        if self._unreachable >= UNREACHABLE:
            return "it does not answer at all"
        try:
            response = self._client.chat.completions.with_raw_response.create(
                model=self.name,
                messages=[{"role": "user", "content": prompt}],
                temperature=0,
                max_tokens=MAX_TOKENS,
            )
            reply = _reply(response.http_response.content)
        except (OpenAIError, ValueError) as error:
            with self._lock:
                self._unreachable = self._unreachable + 1 if isinstance(error, APIConnectionError) else 0
            return f"{type(error).__name__}: {shortened(error)}"
        with self._lock:
            self._unreachable = 0
            self._keep(prompt, reply)
        return None

    def _keep(self, prompt: str, reply: str) -> None:
        self._known[prompt] = reply
        if self._log is not None:
            row = Reply(judge=self.name, prompt=prompt, reply=reply)
            self._log.write_line(json.dumps(row.model_dump()))


def _reply(body: bytes) -> str:
    """The text in `choices[0].message.content` of a server's answer.

    Raises:
        ValueError: there is none; a server may send an error, or anything else, as a success.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"an answer that is no JSON: {body[:80]!r}") from error
    match answer:
        case {"choices": [{"message": {"content": str(text)}}, *_]}:
            return text
    raise ValueError(f"an answer without a text in choices[0].message.content: {body[:80]!r}")


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
        replies = _replies(path)
        names = {reply.judge for reply in replies}
        if len(names) != 1:
            raise DataError(f"{path} holds replies of {len(names)} judges, expected one: {', '.join(sorted(names))}")
        return names.pop(), {reply.prompt: reply.reply for reply in replies}
    content = read_object(path, RECORD_AGAIN)
    with reading(f"{path} is neither a judge_replies.jsonl nor a DLC-Bench *_eval.json", RECORD_AGAIN):
        # Beside the regions stand their averages.
        regions = [Judged.model_validate(row) for row in content.values() if isinstance(row, Mapping)]
        known = {prompt: reply for row in regions for prompt, reply in zip(row.prompt, row.response, strict=True)}
    return f"replay:{path.stem}", known


def _replies(path: Path) -> list[Reply]:
    found = []
    for number, line in numbered_lines(path, RECORD_AGAIN):
        with reading(f"{path}:{number}", MEND_THE_LINE):
            try:
                found.append(Reply.model_validate_json(line))
            except ValidationError:
                # A writer that was stopped leaves a part of its last line; that prompt is asked again.
                if line.endswith("\n"):
                    raise
    return found
