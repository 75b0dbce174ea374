"""A judge model: text and pictures in, text out. Any endpoint that speaks OpenAI's protocol, or recorded replies.

Replies cost money. Each is on disk as soon as it comes, so that whatever happens later, scoring again asks only what is
still open, and a run's judgement can be replayed by anyone without the judge. A recording that is replayed leaves the
same file in the run. What is no reply (an error, a page of a proxy, an answer without text) is never kept as one. A
picture is opened when a question that shows it is asked, and not where its reply is known already.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from samtok_eval.append_log import AppendLog
from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import MEND_THE_LINE, numbered_lines, read_json, read_json_lines, reading, shortened
from samtok_eval.offline import raise_refusal
from samtok_eval.regions import as_png

logger = logging.getLogger(__name__)

JUDGE_REPLIES = "judge_replies.jsonl"
"""File of a run folder."""
MAX_TOKENS = 300
TIMEOUT_SECONDS = 60.0
RETRIES = 2
PARALLEL = 8
RECORD_AGAIN = "record the replies again"
UNREACHABLE = 8
"""Prompts in a row to which a server does not even answer, after which the others are left open unasked."""


@dataclass(frozen=True)
class Picture:
    """A picture in a prompt."""

    name: str
    """What it shows; stands for it where prompts are kept, so that a known reply needs no picture."""
    png: Callable[[], bytes] = field(compare=False, repr=False)
    """Opens it."""


@dataclass(frozen=True)
class JudgePrompt:
    """A prompt with pictures, a system message, or a limit of its own."""

    parts: tuple[str | Picture, ...]
    """Texts and pictures in the order in which they are read."""
    system: str = ""
    max_tokens: int = MAX_TOKENS
    detail: str = ""
    """How finely pictures are to be looked at, in the words of OpenAI's protocol; empty leaves that to the server."""
    about: tuple[str, str] | None = None
    """Sample and description; by them a benchmark's own recording, which holds no prompts, finds its reply."""

    @property
    def key(self) -> str:
        """What stands for the prompt in records."""
        texts = [part if isinstance(part, str) else f"<picture: {part.name}>" for part in self.parts]
        return "".join([f"<system>\n{self.system}\n</system>\n" if self.system else "", *texts])

    @property
    def has_pictures(self) -> bool:
        """Whether a judge must look at something."""
        return any(isinstance(part, Picture) for part in self.parts)


Prompted = str | JudgePrompt


def key_of(prompt: Prompted) -> str:
    """What stands for a prompt in records: the text itself, where there is nothing else."""
    return prompt if isinstance(prompt, str) else prompt.key


class Judge(ABC):
    """Something that answers prompts."""

    name: str
    """Stands in the name of every metric that rests on it; judges never share a column."""

    @abstractmethod
    def replies(self, prompts: Sequence[Prompted]) -> dict[str, str]:
        """Replies by the keys of the prompts; a prompt that got none is left out, and stays open."""

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


class Verdict(BaseModel):
    """What GAR-Bench's own scorers keep of a description: the judge's reply."""

    model_config = ConfigDict(frozen=True, strict=True)

    image: str
    model_output: str
    eval_result: str


class Review(BaseModel):
    """A line that Ferret-Bench's and MDVP-Bench's scorers keep: the judge's reply about the second of two answers."""

    model_config = ConfigDict(frozen=True, strict=True)

    question_id: int
    category: str = ""
    answer2: str
    content: str


class Rated(BaseModel):
    """A row that VideoRefer-Bench-D's own scorer keeps."""

    model_config = ConfigDict(frozen=True, strict=True)

    caption: str
    pred: str
    gpt: str


class KeptReplies:
    """What one judge replied, in a file that grows with every reply."""

    def __init__(self, path: Path | None, judge: str) -> None:
        """Open the file, and read the replies of this judge.

        Args:
            path: the file; without one, replies are kept in memory alone.
            judge: its name.

        Raises:
            UsageError: another process is writing the file.
            DataError: a line is broken.
        """
        self._judge = judge
        self._log = AppendLog(path) if path is not None else None
        self.by_prompt = recorded_replies(path, [judge]) if path is not None else {}
        """Replies by the keys of their prompts."""

    def keep(self, prompt: str, reply: str) -> None:
        """Write a reply down before anything else is done with it; nothing where the same stands there already."""
        if self.by_prompt.get(prompt) == reply:
            return
        self.by_prompt[prompt] = reply
        if self._log is not None:
            row = Reply(judge=self._judge, prompt=prompt, reply=reply)
            self._log.write_line(json.dumps(row.model_dump()))

    def close(self) -> None:
        """Let another process write."""
        if self._log is not None:
            self._log.close()


class Replayed(Judge):
    """Recorded replies."""

    def __init__(self, path: Path, record: Path | None = None) -> None:
        """Read a recording.

        Args:
            path: `judge_replies.jsonl` of a run, or what a benchmark's own scorer keeps: `*_eval.json` of DLC-Bench and
                GAR-Bench, `review_*.jsonl` of Ferret-Bench, the `.json` of VideoRefer-Bench-D.
            record: file to which the replies that are used are appended, as those of an endpoint; none without it.

        Raises:
            DataError: missing, broken, or of several judges.
            UsageError: another process is writing the record.
        """
        self.name, self._known, self._about = _recording(path)
        # Opened after the recording was read, which may be the same file.
        self._kept = KeptReplies(record, self.name)

    def replies(self, prompts: Sequence[Prompted]) -> dict[str, str]:
        """What was recorded for these prompts, word for word the same, or for the same description of a sample."""
        found = {}
        for prompt in prompts:
            key = key_of(prompt)
            about = None if isinstance(prompt, str) else prompt.about
            if key in self._known:
                found[key] = self._known[key]
            elif about in self._about:
                found[key] = self._about[about]
            else:
                continue
            self._kept.keep(key, found[key])
        return found

    def close(self) -> None:
        """Close the record."""
        self._kept.close()


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
        self._kept = KeptReplies(record, name)
        self._lock = threading.Lock()
        self._unreachable = 0
        self._looking = threading.Lock()
        self._looks: bool | None = None
        key = os.environ.get("OPENAI_API_KEY", "none")
        self._client = OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=retries)

    def replies(self, prompts: Sequence[Prompted]) -> dict[str, str]:
        """Ask what is not yet known, several prompts at a time.

        Raises:
            UsageError: the judge takes no pictures, and the prompts have some.
            DataError: a picture cannot be read.
        """
        keyed = {key_of(prompt): prompt for prompt in prompts}
        known = self._kept.by_prompt
        fresh = [prompt for key, prompt in keyed.items() if key not in known]
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
        return {key: known[key] for key in keyed if key in known}

    def close(self) -> None:
        """Close the connections and the record."""
        self._client.close()
        self._kept.close()

    def _ask(self, prompt: Prompted) -> str | None:
        """Keep the reply to a prompt; why there is none, otherwise."""
        from openai import APIConnectionError, APIStatusError, OpenAIError

        if self._unreachable >= UNREACHABLE:
            return "it does not answer at all"
        whole = JudgePrompt((prompt,)) if isinstance(prompt, str) else prompt
        try:
            reply = self._asked(whole)
        except (OpenAIError, ValueError) as error:
            raise_refusal(error)
            if whole.has_pictures and isinstance(error, APIStatusError):
                self._check_looks(error)
            with self._lock:
                self._unreachable = self._unreachable + 1 if isinstance(error, APIConnectionError) else 0
            return f"{type(error).__name__}: {shortened(error)}"
        with self._lock:
            self._unreachable = 0
            self._kept.keep(whole.key, reply)
        return None

    def _asked(self, prompt: JudgePrompt) -> str:
        """The reply to a prompt.

        Raises:
            OpenAIError: the server refuses it, or does not answer.
            ValueError: its answer holds no reply.
        """
        response = self._client.chat.completions.with_raw_response.create(
            model=self.name,
            messages=_messages(prompt),
            temperature=0,
            max_tokens=prompt.max_tokens,
        )
        return _reply(response.http_response.content)

    def _check_looks(self, refusal: Exception) -> None:
        """Find out, once, whether a refused prompt was refused for its pictures.

        Raises:
            UsageError: it was: a plain grey picture is refused as well, and a text alone is not.
        """
        with self._looking:
            if self._looks is None:
                self._looks = self._answers(JudgePrompt((GREY, TRIAL))) or not self._answers(JudgePrompt((TRIAL,)))
        if not self._looks:
            raise UsageError(
                f"the judge {self.name} at {self._url} takes no pictures ({shortened(refusal)}); the judge of this "
                "benchmark looks at them: name a model that takes some"
            ) from refusal

    def _answers(self, prompt: JudgePrompt) -> bool:
        from openai import OpenAIError

        try:
            self._asked(prompt)
        except (OpenAIError, ValueError):
            return False
        return True


TRIAL = "Answer with the word yes."
GREY = Picture("grey", lambda: as_png(np.full((64, 64, 3), 128, dtype=np.uint8)))


def _messages(prompt: JudgePrompt) -> Any:
    """A prompt as the protocol writes it; the content of one without pictures is its text."""
    content: str | list[dict[str, Any]] = "".join(part for part in prompt.parts if isinstance(part, str))
    if prompt.has_pictures:
        content = [_part(part, prompt.detail) for part in prompt.parts]
    system = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return [*system, {"role": "user", "content": content}]


def _part(part: str | Picture, detail: str) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    encoded = base64.b64encode(part.png()).decode()
    shown = {"url": f"data:image/png;base64,{encoded}", **({"detail": detail} if detail else {})}
    return {"type": "image_url", "image_url": shown}


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


def recorded_replies(path: Path, judges: Collection[str]) -> dict[str, str]:
    """Replies of some judges by the keys of their prompts, the last where there are several.

    Args:
        path: `judge_replies.jsonl` of a run; a file that is not there holds none.
        judges: their names; none for any.

    Raises:
        DataError: a line is broken.
    """
    rows = _replies(path) if path.is_file() else []
    return {row.prompt: row.reply for row in rows if not judges or row.judge in judges}


def open_judge(name: str, record: Path | None) -> Judge:
    """The judge of an option.

    Args:
        name: `openai:URL#NAME` or `replay:FILE`.
        record: file for its replies.

    Raises:
        UsageError: the package `openai` is missing, or another process is writing the record.
        DataError: a recording that cannot be read.
    """
    kind, _, rest = name.partition(":")
    if kind == "replay":
        return Replayed(Path(rest), record)
    url, _, model = rest.rpartition("#")
    return OpenAIJudge(url, model, record)


def _recording(path: Path) -> tuple[str, dict[str, str], dict[tuple[str, str] | None, str]]:
    """Name of the judge, its replies by prompt, and its replies by sample and description."""
    if path.suffix == ".jsonl" and _is_review(path):
        with reading(f"{path} is no review of Ferret-Bench or MDVP-Bench", RECORD_AGAIN):
            reviews = [Review.model_validate(row) for row in read_json_lines(path, RECORD_AGAIN)]
        about: dict[tuple[str, str] | None, str] = {}
        for row in reviews:
            # Numbers of questions begin anew in every domain of MDVP-Bench.
            for question in (str(row.question_id), f"{row.category} {row.question_id}"):
                about[question, row.answer2] = row.content
        return f"replay:{path.stem}", {}, about
    if path.suffix == ".jsonl":
        replies = _replies(path)
        names = {reply.judge for reply in replies}
        if len(names) != 1:
            raise DataError(
                f"{path} holds replies of {len(names)} judges, expected one: {', '.join(sorted(names))}; "
                "copy the lines of one of them into a file"
            )
        return names.pop(), {reply.prompt: reply.reply for reply in replies}, {}
    name, content = f"replay:{path.stem}", read_json(path, RECORD_AGAIN)
    with reading(f"{path} is neither a judge_replies.jsonl nor a benchmark's *_eval.json", RECORD_AGAIN):
        if isinstance(content, list) and any("gpt" in row for row in content):
            rated = [Rated.model_validate(row) for row in content if "gpt" in row]
            return name, {}, {(row.caption, row.pred): row.gpt for row in rated}
        if isinstance(content, list):
            verdicts = [Verdict.model_validate(row) for row in content]
            return name, {}, {(row.image, row.model_output): row.eval_result for row in verdicts}
        # Beside the regions stand their averages.
        regions = [Judged.model_validate(row) for row in content.values() if isinstance(row, Mapping)]
        known = {prompt: reply for row in regions for prompt, reply in zip(row.prompt, row.response, strict=True)}
    return name, known, {}


def _is_review(path: Path) -> bool:
    """Whether the first line is one of Ferret-Bench's scorer, or MDVP-Bench's."""
    return any('"answer2"' in line and '"judge"' not in line for _, line in itertools.islice(
        numbered_lines(path, RECORD_AGAIN), 1))  # fmt: skip


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
