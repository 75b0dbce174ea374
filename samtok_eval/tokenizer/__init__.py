"""Mask tokenizer: region mask <-> two codes.

`MaskTokenizer` needs torch, so it is imported only when asked for; the configuration is free of torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samtok_eval.tokenizer.config import MaskTokenizerConfig

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer

__all__ = ["MaskTokenizer", "MaskTokenizerConfig"]


def __getattr__(name: str) -> Any:
    if name == "MaskTokenizer":
        from samtok_eval.tokenizer.model import MaskTokenizer

        return MaskTokenizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
