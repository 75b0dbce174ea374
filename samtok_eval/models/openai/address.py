"""`openai:URL#NAME`, as a user names a model behind a server."""

from __future__ import annotations

import re
from typing import NamedTuple

from samtok_eval.errors import UsageError

SERVED = "openai:"


class Address(NamedTuple):
    """Where a model answers."""

    url: str
    """Base of the server's paths, e.g. `http://127.0.0.1:8000/v1`."""
    model: str
    """As the server calls it."""

    @classmethod
    def of(cls, name: str) -> Address:
        """The parts of `openai:URL#NAME`.

        Raises:
            UsageError: it is written wrongly, or holds a password, which would be written down with it.
        """
        match = re.fullmatch(r"openai:(https?://[^#\s]+)#(\S+)", name)
        if match is None:
            raise UsageError(
                f"--model {name}: expected openai:URL#NAME, for example openai:http://127.0.0.1:8000/v1#org/model"
            )
        if re.match(r"https?://[^/]*@", match[1]) or "?" in match[1]:
            raise UsageError("--model openai:...: the URL holds a password or a query; put the key in OPENAI_API_KEY")
        return cls(match[1].rstrip("/"), match[2])
