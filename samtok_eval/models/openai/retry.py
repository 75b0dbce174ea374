"""When a request to a server is tried again, and for how long.

A server that is down or has too much to do is waited for: it may be restarted in the middle of a run. One that answers
but fails (500, the page of a proxy, too slow) is tried a few times. What it refuses is final.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import openai

from samtok_eval.files import shortened
from samtok_eval.offline import raise_refusal
from samtok_eval.retry_after import asked_wait

Result = TypeVar("Result")
BUSY_STATUS = (429, 502, 503, 504)
FAULTY_STATUS = (408, 409, 425)
"""Beside 5xx."""
JITTER = 0.5
"""Least share of a wait that is kept, so that requests that failed together do not come back together."""


class ReplyError(Exception):
    """A success that holds no answer: no JSON, or JSON of another shape."""


FAILURES = (openai.APIError, ReplyError)
"""What one attempt may raise."""


@dataclass(frozen=True)
class Patience:
    """How long a request may take, and how often it is sent."""

    request_seconds: float = 600.0
    """Until an answer counts as lost."""
    down_seconds: float = 300.0
    """From the first failure of a request on, for a server that is down or overloaded."""
    tries: int = 4
    """Of a request on which the server fails."""
    first_wait: float = 0.5
    """Seconds; doubled from wait to wait."""
    longest_wait: float = 30.0


class Kind(Enum):
    """What a failure means for the same request sent again."""

    BUSY = "busy"
    FAULTY = "faulty"
    FINAL = "final"


def kind_of(error: Exception) -> Kind:
    """What an error of `FAILURES` means."""
    if isinstance(error, openai.APITimeoutError):
        # A host that does not even take the connection is down, not slow. By name: versions of openai rest on
        # different packages for it.
        return Kind.BUSY if type(error.__cause__).__name__ == "ConnectTimeout" else Kind.FAULTY
    if isinstance(error, openai.APIConnectionError):
        return Kind.BUSY
    if isinstance(error, openai.APIStatusError):
        if error.status_code in BUSY_STATUS:
            return Kind.BUSY
        return Kind.FAULTY if error.status_code in FAULTY_STATUS or error.status_code >= 500 else Kind.FINAL
    return Kind.FAULTY


def reason(error: Exception) -> str:
    """What went wrong, in the server's words where it has some, as one line."""
    if isinstance(error, openai.APIStatusError):
        return shortened(ValueError(f"{error.status_code} {error.response.text}"))
    return shortened(error)


async def patiently(
    attempt: Callable[[], Awaitable[Result]], patience: Patience, waits: Callable[[Exception], None]
) -> Result:
    """The result of the first attempt that succeeds.

    Args:
        attempt: sends the request once.
        patience: when to give up.
        waits: is told of each failure after which the request is sent again.

    Raises:
        APIError, ReplyError: that of the last attempt.
    """
    wait, faults, give_up_at = patience.first_wait, 0, float("inf")
    while True:
        try:
            return await attempt()
        except FAILURES as error:
            raise_refusal(error)
            kind = kind_of(error)
            faults += kind is Kind.FAULTY
            give_up_at = min(give_up_at, time.monotonic() + patience.down_seconds)
            if kind is Kind.FINAL or faults >= patience.tries or time.monotonic() >= give_up_at:
                raise
            waits(error)
            asked = error.response.headers.get("retry-after", "") if isinstance(error, openai.APIStatusError) else ""
            pause = max(wait * random.uniform(JITTER, 1), asked_wait(asked))
        # Not past the end, so that a last attempt is made there.
        await asyncio.sleep(min(pause, max(give_up_at - time.monotonic(), 0)))
        wait = min(2 * wait, patience.longest_wait)
