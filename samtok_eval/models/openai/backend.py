"""The back end: many questions in flight at once, answers in their order, an error per question that fails for good."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from samtok_eval.mask_tokens import DEFAULT_LAYOUT, START, Layout
from samtok_eval.models.backend import Answer, Backend, Request
from samtok_eval.models.openai.address import SERVED, Address
from samtok_eval.models.openai.chat import DataUrls, chat_messages
from samtok_eval.models.openai.client import Server
from samtok_eval.models.openai.dialects import VLLM, Dialect, budget_of, fields_of, find_dialect
from samtok_eval.models.openai.retry import FAILURES, Patience, reason
from samtok_eval.models.sampling import GREEDY
from samtok_eval.run.settings import RunSettings

logger = logging.getLogger(__name__)
ROUNDS = 8
"""Questions of a batch for each one in flight; the last of a batch are in flight with fewer beside them."""
WITHOUT_MASKS = 64
"""Answers after which one of them should have held a mask word."""


class OpenAIBackend(Backend):
    """A model behind an OpenAI-compatible server."""

    def __init__(
        self,
        address: Address,
        settings: RunSettings | None = None,
        layout: Layout = DEFAULT_LAYOUT,
        expects_masks: bool = True,
        patience: Patience | None = None,
    ) -> None:
        """Ask the server what it understands.

        Args:
            address: of server and model.
            settings: pixels of a picture, whether only well-formed spans are let out, and how many questions are in
                flight at once; the usual by default.
            layout: of the mask tokenizer that decodes the answers.
            expects_masks: whether to warn where no answer holds a mask word.
            patience: with a server that fails; the usual by default.

        Raises:
            UsageError: the server does not answer, has no such model, or cannot do what a setting asks.
        """
        settings = settings or RunSettings()
        self.name = address.model
        self._address, self._concurrency = address, settings.concurrency
        self.batch_size = max(settings.batch_size, ROUNDS * settings.concurrency)
        self._constrained, self._budget = settings.constrained, budget_of(settings)
        self._server = Server(address, patience or Patience())
        self._dialect, self._fields, self._told = self._server.run(self._introduced(settings, layout))
        self._expects_masks, self._seen = expects_masks, 0

    def identity(self) -> dict[str, Any]:
        """The model's name, what the server says of it, and what every request asks; no address, which may change."""
        return {
            "model": f"{SERVED}{self._address.model}",
            "server": {"dialect": self._dialect.name, **self._told},
            "image_size": self._budget,
            "constrained": self._constrained,
            "generation": {**GREEDY, **self._dialect.fields},
        }

    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        """Greedy answers; one whose request fails for good holds the error.

        Args:
            requests: one batch, questions about one picture next to each other.
            max_new_tokens: where an answer is cut.
        """
        answers = self._server.run(self._answers(requests, max_new_tokens))
        self._check_mask_words(answers)
        return answers

    async def _introduced(
        self, settings: RunSettings, layout: Layout
    ) -> tuple[Dialect, dict[str, Any], dict[str, Any]]:
        """Dialect of the server, fields of every request, and what the server says of the model."""
        dialect = await find_dialect(self._server)
        fields = await fields_of(self._server, dialect, settings, layout)
        told = await self._server.described()
        version = await self._server.version() if dialect.name == VLLM.name else None
        return dialect, fields, told | ({"version": version} if version else {})

    async def _answers(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        urls, free = DataUrls(), asyncio.Semaphore(self._concurrency)
        started = time.perf_counter()

        async def answer(request: Request) -> Answer:
            async with free:
                fields = {"messages": chat_messages(request, urls), "max_tokens": max_new_tokens, **self._fields}
                try:
                    return Answer((await self._server.complete(fields)).text)
                except FAILURES as error:
                    return Answer("", error=f"{type(error).__name__}: {reason(error)}")

        answers = await asyncio.gather(*map(answer, requests))
        seconds = {"generate": (time.perf_counter() - started) / len(requests)}
        return [replace(answer, seconds=seconds) for answer in answers]

    def _check_mask_words(self, answers: Sequence[Answer]) -> None:
        """Warn once where a server seems to leave mask words out."""
        if not self._expects_masks or any(START in answer.text for answer in answers):
            self._expects_masks = False
            return
        self._seen += sum(answer.error is None for answer in answers)
        if self._seen >= WITHOUT_MASKS:
            self._expects_masks = False
            logger.warning(
                "none of the first %d answers of %s holds a mask word; see that the server keeps special tokens in its "
                "texts (dialect %s), and that this is a SAMTok checkpoint",
                self._seen, self.name, self._dialect.name,
            )  # fmt: skip
