"""A server as it is used here: chat completions, what it says of its model, and the loop in which it is asked."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine, Mapping
from typing import Any

import openai
from pydantic import BaseModel, Field, ValidationError

from samtok_eval.models.openai.address import Address
from samtok_eval.models.openai.retry import Patience, ReplyError, Result, patiently, reason
from samtok_eval.offline import raise_refusal

logger = logging.getLogger(__name__)
NO_KEY = "none"
"""Servers of one's own ask for no key, but the client does."""
STEADY = ("id", "root", "owned_by", "max_model_len")
"""Of an entry of `models`; vLLM makes its time and its permissions anew for every question."""


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message
    token_ids: list[int] | None = None
    """vLLM's, where they were asked for."""


class Completion(BaseModel):
    """What is read of a server's answer."""

    choices: list[_Choice] = Field(min_length=1)

    @property
    def text(self) -> str:
        """The answer."""
        return self.choices[0].message.content

    @property
    def token_ids(self) -> list[int] | None:
        """Its tokens; None from a server that does not give them."""
        return self.choices[0].token_ids


class Server:
    """A model behind an OpenAI-compatible address."""

    def __init__(self, address: Address, patience: Patience) -> None:
        """Prepare; nothing is asked yet. The key is read from `OPENAI_API_KEY`.

        Args:
            address: of server and model.
            patience: with failures.
        """
        self.address, self._patience = address, patience
        self._client = openai.AsyncOpenAI(
            base_url=address.url,
            api_key=os.environ.get("OPENAI_API_KEY") or NO_KEY,
            max_retries=0,
            timeout=patience.request_seconds,
        )
        # A loop of its own, since a notebook's is busy with the cell that asks.
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name=address.url).start()
        self._answers = True

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Carry out work in the loop of this server; an interruption ends it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        # Libraries wrap what `--offline` refuses in errors of their own kinds; every other one goes on as it is.
        except Exception as error:
            raise_refusal(error)
            raise
        finally:
            future.cancel()

    async def complete(self, fields: Mapping[str, Any]) -> Completion:
        """The answer to a request, whatever happens meanwhile.

        Args:
            fields: of the request, without the name of the model.

        Raises:
            APIError, ReplyError: the request is refused, or patience is at its end.
        """
        return await patiently(lambda: self._complete(fields), self._patience, self._warn)

    async def described(self) -> dict[str, Any]:
        """What the server says of the model that stays the same from day to day; nothing where it does not list it."""
        try:
            response = await self._client.models.with_raw_response.list()
            listed = response.http_response.json()["data"]
            mine = next(entry for entry in listed if entry["id"] == self.address.model)
            return {name: mine[name] for name in STEADY if mine.get(name) is not None}
        except (openai.APIError, ValueError, LookupError, TypeError, StopIteration, AttributeError):
            return {}

    async def version(self) -> str | None:
        """Of vLLM; None from another server."""
        address = self.address.url.removesuffix("/v1") + "/version"
        try:
            return str((await self._client.get(address, cast_to=dict[str, Any]))["version"])
        except (openai.APIError, LookupError, TypeError):
            return None

    async def _complete(self, fields: Mapping[str, Any]) -> Completion:
        # The client would refuse fields that it does not know, and does not check what comes back.
        response = await self._client.chat.completions.with_raw_response.create(
            model=self.address.model, messages=fields["messages"],
            extra_body={name: value for name, value in fields.items() if name != "messages"},
        )  # fmt: skip
        body = response.http_response.content
        try:
            completion = Completion.model_validate_json(body)
        except ValidationError as error:
            raise ReplyError(f"{self.address.url} answers without a text in choices[0]: {body[:80]!r}") from error
        self._answers = True
        return completion

    def _warn(self, error: Exception) -> None:
        if self._answers:
            logger.warning("%s: %s; asking again, for up to %g s", self.address.url, reason(error),
                           self._patience.down_seconds)  # fmt: skip
        self._answers = False
