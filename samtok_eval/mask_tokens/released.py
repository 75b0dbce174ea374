"""How the released scripts read answers: which answer gives which masks, and where a script stops."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

from samtok_eval.mask_tokens.codes import MISSING, Codes, up_to_gap
from samtok_eval.mask_tokens.layout import CODEBOOK_SIZE, DEFAULT_LAYOUT, SHORTEST_NUMBER, Layout
from samtok_eval.mask_tokens.marks import split_thinking

_PAIR = re.compile(r"<\|mt_start\|><\|mt_(\d{4})\|><\|mt_(\d{4})\|><\|mt_end\|>")
_FILLER = 9999
RL_MOST_PAIRS = 10
"""Of a longer answer the script keeps the first pair alone."""


class PolicyCrashError(Exception):
    """The reference script would have crashed on this answer; scored as an empty answer and counted."""


def numbers_in(text: str) -> list[int]:
    """Numbers of a text's words of four digits, which are the only ones that the scripts read."""
    return [int(match[1]) for match in re.finditer(r"<\|mt_(\d{4})\|>", text)]


def _repair(text: str) -> str:
    """The released repair: cut long spans to two codes, complete spans of one code, close a lone start + code.

    It takes words of any number of digits, while reading takes four; that decides some answers.
    """
    word = r"<\|mt_\d+\|>"
    text = re.sub(rf"(<\|mt_start\|>{word}{word})(?:{word})+(<\|mt_end\|>)", r"\1\2", text)
    text = re.sub(rf"(<\|mt_start\|>{word})(<\|mt_end\|>)", rf"\1<|mt_{_FILLER}|>\2", text)
    return re.sub(rf"(<\|mt_start\|>{word})(?!<\|mt_)", rf"\1<|mt_{_FILLER}|><|mt_end|>", text)


def _second(number: int) -> int:
    code = number - CODEBOOK_SIZE
    return code if 0 <= code < CODEBOOK_SIZE else MISSING


def _ref_pairs(answer: str) -> list[tuple[int, int]]:
    """Numbers two by two, however they lie in spans; after a repair only those of whole spans."""
    numbers = numbers_in(answer)
    if len(numbers) % 2:
        return [(int(match[1]), int(match[2])) for match in _PAIR.finditer(_repair(answer))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _ref_codes(pairs: Sequence[tuple[int, int]]) -> list[Codes]:
    kept = [Codes(first, _second(second)) for first, second in pairs if first < CODEBOOK_SIZE]
    if not kept:
        raise PolicyCrashError("no complete span with a first code in range; the script stacks an empty list")
    return kept


def ref_gres(answer: str) -> list[Codes]:
    """The scripts for GRES and GroundingSuite: numbers in pairs; pairs whose first code is of no book are dropped.

    Raises:
        PolicyCrashError: words of a mask, but no pair whose first code is of the first book.
    """
    return _ref_codes(_ref_pairs(answer)) if numbers_in(answer) else []


def ref_rl_gres(answer: str) -> list[Codes]:
    """The script for RL-trained GRES: as `ref_gres`, of the answer part where there is one.

    Raises:
        PolicyCrashError: as `ref_gres`.
    """
    final = split_thinking(answer)[1]
    text = answer if final is None else final
    pairs = _ref_pairs(text)
    # With an answer part the script repairs before it asks whether anything is left; without one it asks first.
    if not (numbers_in(text) if final is None else pairs):
        return []
    return _ref_codes(pairs[:1] if len(pairs) > RL_MOST_PAIRS else pairs)


def ref_gcg(answer: str) -> list[Codes]:
    """The script for GCG: numbers in pairs; a first code of no book becomes entry 0.

    Raises:
        PolicyCrashError: an odd number of codes after the repair, or a second code of the first book.
    """
    numbers = numbers_in(answer)
    if len(numbers) % 2:
        numbers = numbers_in(_repair(answer))
        if len(numbers) % 2:
            raise PolicyCrashError("an odd number of codes after repair; the script asserts")
    kept = []
    for first, second in zip(numbers[::2], numbers[1::2], strict=True):
        if second < CODEBOOK_SIZE - 1:
            raise PolicyCrashError("a second code below 256 becomes a negative index")
        kept.append(Codes(first if first < CODEBOOK_SIZE else MISSING, _second(second)))
    return [Codes(max(codes.first, 0), codes.second) for codes in kept]


def ref_last(answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
    """The scripts for RefCOCO and the multi-round sets: of each book the last code of the whole answer, so one mask.

    Raises:
        PolicyCrashError: a number of no book.
    """
    slots = [MISSING] * layout.depth
    # The scripts for 65536 codes take numbers of any length; Python converts none of more than 4,300 digits.
    digits = r"\d{4}" if layout.count <= 10**SHORTEST_NUMBER else r"\d{1,999}"
    for match in re.finditer(rf"<\|mt_({digits})\|>", answer):
        number = int(match[1])
        if number >= layout.count:
            raise PolicyCrashError(f"a number above {layout.count - 1} has no slot")
        slots[number // layout.size] = number % layout.size
    codes = up_to_gap(slots)
    return [] if codes is None else [codes]


def ref_nodes(answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
    """The script for scene graphs: each text between quotes is read as `ref_last` reads an answer.

    Raises:
        PolicyCrashError: as `ref_last`, in an answer without quotes.
    """
    nodes = answer.split('"')
    if len(nodes) == 1:
        return ref_last(answer, layout)
    found: dict[Codes, None] = {}
    for node in nodes:
        # Of nodes that the script never reads, since their names are unknown, it does not stop at the words.
        with suppress(PolicyCrashError):
            found |= dict.fromkeys(ref_last(node, layout))
    return list(found)
