"""Answers whose mask words are whole spans of two codes, read in a tenth of the time that policies take."""

from __future__ import annotations

import re

from samtok_eval.mask_tokens.codes import Codes
from samtok_eval.mask_tokens.layout import CODEBOOK_SIZE
from samtok_eval.mask_tokens.released import RL_MOST_PAIRS, numbers_in

_SPAN_OF_PAIR = re.compile(r"<\|mt_start\|><\|mt_\d{4}\|><\|mt_\d{4}\|><\|mt_end\|>", re.ASCII)
"""Without groups for its numbers, since one text is found faster than two."""
WORDS_OF_PAIR = 4
"""Words of a whole span."""
ALIKE_ON_PAIRS = ("default", "final", "ref_gres", "ref_rl_gres", "ref_gcg")
"""Policies that agree on answers of whole pairs."""
LAST_ON_PAIRS = "ref_last"
"""The policy that takes the last pair of such an answer."""


def plain_pairs(answer: str) -> tuple[Codes, ...] | None:
    """Codes of an answer whose mask words are whole spans of 256x2 alone, as nearly all are; None for any other.

    A tenth of the time that the policies take; those of `ALIKE_ON_PAIRS` agree on such answers.
    """
    pairs = _SPAN_OF_PAIR.findall(answer)
    whole = answer.count("<|mt_") == WORDS_OF_PAIR * len(pairs) and len(pairs) <= RL_MOST_PAIRS
    if not whole or "<answer>" in answer or "</think>" in answer:
        return None
    found = tuple(map(_CODES_OF_PAIRS.__getitem__, pairs))
    return None if None in found else found  # type: ignore[return-value]


class _CodesOfPairs(dict[str, Codes | None]):
    """Codes of whole spans of two numbers, those of their books kept, which are at most 256 x 256."""

    def __missing__(self, span: str) -> Codes | None:
        """Codes of a span that is new; None where one of its numbers is not of its book."""
        first, second = numbers_in(span)
        entries = first, second - CODEBOOK_SIZE
        if not all(0 <= entry < CODEBOOK_SIZE for entry in entries):
            return None
        return self.setdefault(span, Codes(*entries))


_CODES_OF_PAIRS = _CodesOfPairs()
