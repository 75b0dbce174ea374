"""What servers understand beyond OpenAI's own fields, and how the dialect of a server is found out.

`temperature: 0` alone is not greedy decoding: a checkpoint's own generation settings, such as a penalty for repetition,
still apply, so that every dialect names them. vLLM ignores fields that it does not know, `transformers serve` refuses
them; vLLM is told from other servers that ignore fields by the token ids that it gives when asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import openai

from samtok_eval.errors import UsageError
from samtok_eval.mask_tokens import Layout
from samtok_eval.models.openai.client import Completion, Server
from samtok_eval.models.openai.retry import FAILURES, reason
from samtok_eval.models.sampling import GREEDY, VLLM_SAMPLING, span_grammar
from samtok_eval.run.settings import RunSettings

Fields = Mapping[str, Any]
SAY = "samtok"
"""What the probe of a grammar lets out."""


@dataclass(frozen=True)
class Dialect:
    """Fields of a request that a kind of server knows."""

    name: str
    fields: Fields = field(default_factory=dict)
    """Pin greedy decoding, and keep mask words in the text."""
    budget: Callable[[Mapping[str, int]], Fields] | None = None
    """Sets the pixels of a picture; None where the server cannot be told."""
    grammar: Callable[[str], Fields] | None = None
    """Constrains an answer to a grammar; None where the server cannot."""


VLLM_FIELDS = {**VLLM_SAMPLING, "return_token_ids": True}
VLLM = Dialect(
    "vllm",
    VLLM_FIELDS,
    budget=lambda size: {"mm_processor_kwargs": {"size": dict(size)}},
    grammar=lambda rules: {"structured_outputs": {"grammar": rules}},
)
LENIENT = Dialect("lenient", VLLM_FIELDS)
"""Takes the same fields without showing that it obeys them: SGLang, and servers that ignore what they do not know."""
TRANSFORMERS = Dialect(
    "transformers",
    {
        "generation_config": json.dumps(
            {
                "do_sample": False,
                "num_beams": 1,
                "repetition_penalty": 1.0,
                "no_repeat_ngram_size": 0,
                "length_penalty": 1.0,
            }
        )
    },
    budget=lambda size: {"chat_template_kwargs": {"processor_kwargs": {"size": dict(size)}}},
)
PLAIN = Dialect("plain")


async def find_dialect(server: Server) -> Dialect:
    """The dialect that the server of a model understands.

    Raises:
        UsageError: it refuses even a plain question, for example because it has no such model, or does not answer.
    """
    for dialect in (VLLM, TRANSFORMERS, PLAIN):
        try:
            reply = await _asked(server, dialect.fields)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            refusal: Exception = error
        except FAILURES as error:
            refusal = error
            break
        else:
            return LENIENT if dialect is VLLM and reply.token_ids is None else dialect
    raise UsageError(
        f"{server.address.url} does not answer for the model {server.address.model}: {reason(refusal)}; "
        "give openai:URL#NAME as its own list of models has it, the URL with /v1, and any key in OPENAI_API_KEY"
    )


async def fields_of(server: Server, dialect: Dialect, settings: RunSettings, layout: Layout) -> dict[str, Any]:
    """Fields of every request of a run, tried out where the server may refuse or ignore them.

    Args:
        server: that is asked.
        dialect: of it.
        settings: of the run.
        layout: of the mask words.

    Raises:
        UsageError: the server cannot do what a setting asks.
    """
    fields = {**GREEDY, **dialect.fields}
    size = budget_of(settings)
    if size:
        fields |= await _budget(server, dialect, size)
    if settings.constrained:
        if dialect.grammar is None:
            raise UsageError(f"--constrained: {_whom(server, dialect)} takes no grammar; use vLLM, or leave it out")
        reply = await _asked(server, {**fields, **dialect.grammar(f'root ::= "{SAY}"')})
        if reply.text.strip() != SAY:
            raise UsageError(f"--constrained: {server.address.url} ignores grammars; use a newer vLLM, or leave it out")
        fields |= dialect.grammar(span_grammar(layout))
    return fields


def budget_of(settings: RunSettings) -> dict[str, int]:
    """Pixels of a picture as Qwen's processors name them; empty where nothing is set.

    Raises:
        UsageError: one bound alone, to which a server would not add its checkpoint's other.
    """
    bounds = {"shortest_edge": settings.min_pixels, "longest_edge": settings.max_pixels}
    size = {name: pixels for name, pixels in bounds.items() if pixels is not None}
    if len(size) == 1:
        raise UsageError("--min-pixels and --max-pixels: a server needs both; give them, or set them on the server")
    return size


async def _budget(server: Server, dialect: Dialect, size: Mapping[str, int]) -> Fields:
    if dialect.budget is None:
        raise UsageError(
            f"--min-pixels and --max-pixels: {_whom(server, dialect)} takes none; set them where the server is started"
        )
    fields = dialect.budget(size)
    try:
        await _asked(server, {**dialect.fields, **fields})
    except FAILURES as error:
        raise UsageError(
            f"--min-pixels and --max-pixels: {server.address.url} refuses them ({reason(error)}); start vLLM with "
            "--trust-request-mm-kwargs, or set them where the server is started"
        ) from error
    return fields


async def _asked(server: Server, fields: Fields) -> Completion:
    return await server.complete({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, **GREEDY, **fields})


def _whom(server: Server, dialect: Dialect) -> str:
    return f"{server.address.url} ({dialect.name})"
