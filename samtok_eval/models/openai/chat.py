"""From a request to the messages of the chat protocol, pictures as data URLs."""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import BytesIO
from typing import Any

from PIL import Image

from samtok_eval.messages import Message
from samtok_eval.models.backend import Picture, Request

PICTURE_WORD = "<|image_pad|>"
"""Where Qwen's templates put a picture."""
COMPRESSION = 1
"""Of PNG, the least and fastest: a request does not live long enough for more."""


class DataUrls:
    """Pictures as text, each distinct array once."""

    def __init__(self) -> None:
        self._made: dict[int, str] = {}

    def __call__(self, picture: Picture) -> str:
        """`data:image/png;base64,...`, the pixels to the bit.

        Args:
            picture: uint8 (H, W, 3), alive as long as this object.
        """
        url = self._made.get(id(picture))
        if url is None:
            buffer = BytesIO()
            Image.fromarray(picture).save(buffer, format="PNG", compress_level=COMPRESSION)
            url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
            self._made[id(picture)] = url
        return url


def chat_messages(request: Request, url: Callable[[Picture], str]) -> list[dict[str, Any]]:
    """The conversation as a server takes it.

    Args:
        request: to be answered.
        url: of a picture.
    """
    return [{"role": message.role, "content": _content(message, url)} for message in request.messages]


def _content(message: Message, url: Callable[[Picture], str]) -> str | list[dict[str, Any]]:
    texts = [part for part in message.parts if isinstance(part, str)]
    if len(texts) == len(message.parts):
        return _plain("".join(texts))
    return [
        {"type": "text", "text": _plain(part)}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": url(part)}}
        for part in message.parts
    ]


def _plain(text: str) -> str:
    """A benchmark's text that holds the word for a picture, which must not be taken for one."""
    return text.replace(PICTURE_WORD, PICTURE_WORD.replace("|", ""))
