"""The grammar of mask words: text or token ids <-> spans <-> codes.

A mask is written `<|mt_start|><|mt_c1|><|mt_(256+c2)|><|mt_end|>` with four-digit numbers: 0..255 name the first
codebook's entries, 256..511 the second's (SAMTok, arXiv 2601.16093; `utils/add_special_tokens.py` of the released
code). Codebooks of another layout are written likewise; their words are in part the same, so that a text does not tell
its layout, and every function here is given it. Models also write malformed spans; the default policy repairs each span
by itself, never pairs codes across spans and never raises. The `ref_*` policies read malformed answers as the
released evaluation scripts do.
"""

from samtok_eval.mask_tokens.codes import MISSING, MOST_KEYS, Codes, is_key
from samtok_eval.mask_tokens.layout import (
    CODEBOOK_SIZE,
    DEFAULT_LAYOUT,
    END,
    MOST_CODES,
    NUMBERED_WORD,
    SHORTEST_NUMBER,
    START,
    WORDS,
    Layout,
)
from samtok_eval.mask_tokens.marks import GLAMM_MARKS, QWEN_MARKS, final_part, marked_phrase, split_thinking
from samtok_eval.mask_tokens.policies import PAIR_POLICIES, POLICIES, Policy, has_policy, masks_of
from samtok_eval.mask_tokens.released import PolicyCrashError
from samtok_eval.mask_tokens.spans import Span, Status, parse, parse_ids, render
from samtok_eval.mask_tokens.whole_pairs import ALIKE_ON_PAIRS, LAST_ON_PAIRS, plain_pairs

__all__ = [
    "ALIKE_ON_PAIRS",
    "CODEBOOK_SIZE",
    "DEFAULT_LAYOUT",
    "END",
    "GLAMM_MARKS",
    "LAST_ON_PAIRS",
    "MISSING",
    "MOST_CODES",
    "MOST_KEYS",
    "NUMBERED_WORD",
    "PAIR_POLICIES",
    "POLICIES",
    "QWEN_MARKS",
    "SHORTEST_NUMBER",
    "START",
    "WORDS",
    "Codes",
    "Layout",
    "Policy",
    "PolicyCrashError",
    "Span",
    "Status",
    "final_part",
    "has_policy",
    "is_key",
    "marked_phrase",
    "masks_of",
    "parse",
    "parse_ids",
    "plain_pairs",
    "render",
    "split_thinking",
]
