"""The grammar of mask words: text or token ids <-> spans <-> codes.

A mask is written `<|mt_start|><|mt_c1|><|mt_(256+c2)|><|mt_end|>` with four-digit numbers: 0..255 name the first
codebook's entries, 256..511 the second's (SAMTok, arXiv 2601.16093; `utils/add_special_tokens.py` of the released
code). Models also write malformed spans; the default policy repairs each span by itself, never pairs codes across
spans and never raises. The four `ref_*` policies read malformed answers as the released evaluation scripts do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

CODEBOOK_SIZE = 256
START = "<|mt_start|>"
END = "<|mt_end|>"
WORDS = (START, *(f"<|mt_{number:04d}|>" for number in range(2 * CODEBOOK_SIZE)), END)
"""The 514 words that a SAMTok checkpoint adds to its vocabulary, in the order of their token ids."""
MISSING = -1
"""Stands for an absent second code."""

Status = Literal["ok", "missing_second", "extra", "swapped", "bad_range", "no_end", "no_start"]
"""What was found: `ok` well formed; `missing_second` no second code; `extra` more than two codes, the first two valid
ones kept; `swapped` second-book code first; `bad_range` a number of neither or of the wrong book; `no_end`, `no_start`
a missing delimiter. A span with several faults carries the first that applies, in the order bad_range, swapped, extra,
missing_second, no_start, no_end."""

_WORD = re.compile(r"<\|mt_(start|end|\d{4})\|>")
_PAIR = re.compile(r"<\|mt_start\|><\|mt_(\d{4})\|><\|mt_(\d{4})\|><\|mt_end\|>")


class Codes(NamedTuple):
    """Two code indices, each 0..255; `second` is -1 when it is absent."""

    first: int
    second: int

    @property
    def key(self) -> str:
        """`"44,186"`, or `"44,-"` without a second code: the key of decoded masks in prediction files."""
        return f"{self.first},{self.second if self.second != MISSING else '-'}"

    @classmethod
    def from_key(cls, key: str) -> Codes:
        """Inverse of `key`.

        Raises:
            ValueError: not of the form `c1,c2` or `c1,-` with codes 0..255.
        """
        match = re.fullmatch(r"(\d{1,3}),(\d{1,3}|-)", key)
        codes = cls(int(match[1]), MISSING if match[2] == "-" else int(match[2])) if match else None
        if codes is None or codes.first >= CODEBOOK_SIZE or codes.second >= CODEBOOK_SIZE:
            raise ValueError(f"a code key must look like '44,186' or '44,-' with codes 0..255, got {key!r}")
        return codes


@dataclass(frozen=True)
class Span:
    """One mask mentioned in an answer."""

    status: Status
    codes: Codes | None
    """None when nothing can be decoded."""
    start: int
    """Position of its first character (or token) in what was parsed."""
    end: int
    """Position after its last character (or token)."""


class PolicyCrashError(Exception):
    """The reference script would have crashed on this answer; scored as an empty answer and counted."""


def render(codes: Iterable[Sequence[int]]) -> str:
    """Mask words of codes, without blanks between them.

    Args:
        codes: pairs `(c1, c2)`, each 0..255.

    Raises:
        ValueError: a code outside 0..255 or not a pair.
    """
    text = []
    for pair in codes:
        if len(pair) != 2 or not all(0 <= code < CODEBOOK_SIZE for code in pair):
            raise ValueError(f"codes must be pairs (c1, c2) with values 0..{CODEBOOK_SIZE - 1}, got {tuple(pair)}")
        text.append(f"{START}<|mt_{pair[0]:04d}|><|mt_{pair[1] + CODEBOOK_SIZE:04d}|>{END}")
    return "".join(text)


def parse(answer: str) -> list[Span]:
    """Spans of an answer text under the default policy, in order of mention; never raises.

    A span ends at its end word, at the next start word, at other text, or at the end of the answer.
    """
    words = [_Word(match[1], match.start(), match.end()) for match in _WORD.finditer(answer)]
    return [_read_span(group) for group in _groups(words)]


def parse_ids(token_ids: Sequence[int], first_id: int) -> list[Span]:
    """Spans of generated token ids; the same policy as `parse`, positions counted in tokens.

    Args:
        token_ids: generated ids.
        first_id: id of `<|mt_start|>`; the 514 mask words must have consecutive ids in the order of `WORDS`.
    """
    words = []
    for position, token in enumerate(token_ids):
        offset = token - first_id
        if 0 <= offset < len(WORDS):
            name = "start" if offset == 0 else "end" if offset == len(WORDS) - 1 else f"{offset - 1:04d}"
            words.append(_Word(name, position, position + 1))
    return [_read_span(group) for group in _groups(words)]


def masks_of(answer: str, policy: str = "default") -> list[Codes]:
    """Codes of the masks that an answer names, under a named policy.

    Args:
        answer: the model's whole text.
        policy: a key of `POLICIES`.

    Returns:
        Codes in order of mention; `second` is -1 where a second code is absent.

    Raises:
        PolicyCrashError: the reference script of that policy would stop here.
        KeyError: unknown policy.
    """
    return POLICIES[policy](answer)


def split_thinking(answer: str) -> tuple[str | None, str | None]:
    """Reasoning and final answer of a think/answer reply, as the released RL evaluation splits it.

    The first `<think>...</think>` and the first `<answer>...</answer>` are looked for independently of each other. A
    part that is not there in full is what stands before or after a cut at the first `<answer>`, else at the first
    `</think>`. So text behind `</answer>` does not belong to a closed answer.

    Returns:
        (thinking, final answer), each None when there is no such part; both None for an answer without any mark.
    """
    thinking, final = _between(answer, "<think>", "</think>"), _between(answer, "<answer>", "</answer>")
    for mark in ("<answer>", "</think>"):
        before, found, after = answer.partition(mark)
        if found:
            return before if thinking is None else thinking, after if final is None else final
    return thinking, final


def final_part(answer: str) -> str:
    """The final answer of a think/answer reply; the whole text where no answer part can be told apart."""
    final = split_thinking(answer)[1]
    return answer if final is None else final


def _between(text: str, opening: str, closing: str) -> str | None:
    """What stands between the first opening mark and the next closing one; in time linear in the text."""
    inside, found, _ = text.partition(opening)[2].partition(closing)
    return inside if found else None


class _Word(NamedTuple):
    name: str
    start: int
    end: int


def _groups(words: list[_Word]) -> list[list[_Word]]:
    """Split mask words into spans: a start word, an end word or a gap of other text closes the group before it."""
    groups: list[list[_Word]] = []
    current: list[_Word] = []
    for word in words:
        if current and (word.name == "start" or word.start != current[-1].end):
            groups.append(current)
            current = []
        current.append(word)
        if word.name == "end":
            groups.append(current)
            current = []
    return groups + ([current] if current else [])


def _read_span(group: list[_Word]) -> Span:
    numbers = [int(word.name) for word in group if word.name not in ("start", "end")]
    firsts = [n for n in numbers if n < CODEBOOK_SIZE]
    seconds = [n - CODEBOOK_SIZE for n in numbers if CODEBOOK_SIZE <= n < 2 * CODEBOOK_SIZE]
    started, ended = group[0].name == "start", group[-1].name == "end"
    codes = Codes(firsts[0], seconds[0] if seconds else MISSING) if firsts else None
    status: Status
    if not firsts or any(n >= 2 * CODEBOOK_SIZE for n in numbers) or (len(numbers) > 1 and not seconds):
        status = "bad_range"
    elif numbers[0] >= CODEBOOK_SIZE:
        status = "swapped"
    elif len(numbers) > 2:
        status = "extra"
    elif not seconds:
        status = "missing_second"
    elif not started:
        status = "no_start"
    elif not ended:
        status = "no_end"
    else:
        status = "ok"
    return Span(status, codes, group[0].start, group[-1].end)


# ---- policies of the released scripts (facts: which answer gives which mask, and where they stop) ----


def _numbers(text: str) -> list[int]:
    return [int(match[1]) for match in re.finditer(r"<\|mt_(\d{4})\|>", text)]


_FILLER = 9999


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


def _default(answer: str) -> list[Codes]:
    return [span.codes for span in parse(answer) if span.codes is not None]


def _first_code(answer: str) -> list[Codes]:
    return [Codes(codes.first, MISSING) for codes in _default(answer)]


def _final(answer: str) -> list[Codes]:
    return _default(final_part(answer))


def _ref_pairs(answer: str) -> list[tuple[int, int]]:
    """Numbers two by two, however they lie in spans; after a repair only those of whole spans."""
    numbers = _numbers(answer)
    if len(numbers) % 2:
        return [(int(match[1]), int(match[2])) for match in _PAIR.finditer(_repair(answer))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _ref_codes(pairs: Sequence[tuple[int, int]]) -> list[Codes]:
    kept = [Codes(first, _second(second)) for first, second in pairs if first < CODEBOOK_SIZE]
    if not kept:
        raise PolicyCrashError("no complete span with a first code in range; the script stacks an empty list")
    return kept


def _ref_gres(answer: str) -> list[Codes]:
    return _ref_codes(_ref_pairs(answer)) if _numbers(answer) else []


def _ref_rl_gres(answer: str) -> list[Codes]:
    final = split_thinking(answer)[1]
    text = answer if final is None else final
    pairs = _ref_pairs(text)
    # With an answer part the script repairs before it asks whether anything is left; without one it asks first.
    if not (_numbers(text) if final is None else pairs):
        return []
    return _ref_codes(pairs[:1] if len(pairs) > _RL_MOST_PAIRS else pairs)


_RL_MOST_PAIRS = 10
"""Of a longer answer the script keeps the first pair alone."""


def _ref_gcg(answer: str) -> list[Codes]:
    numbers = _numbers(answer)
    if len(numbers) % 2:
        numbers = _numbers(_repair(answer))
        if len(numbers) % 2:
            raise PolicyCrashError("an odd number of codes after repair; the script asserts")
    kept = []
    for first, second in zip(numbers[::2], numbers[1::2], strict=True):
        if second < CODEBOOK_SIZE - 1:
            raise PolicyCrashError("a second code below 256 becomes a negative index")
        kept.append(Codes(first if first < CODEBOOK_SIZE else MISSING, _second(second)))
    return [Codes(max(codes.first, 0), codes.second) for codes in kept]


def _ref_last(answer: str) -> list[Codes]:
    slots = [MISSING, MISSING]
    for number in _numbers(answer):
        if number >= 2 * CODEBOOK_SIZE:
            raise PolicyCrashError("a number above 511 has no slot")
        slots[number // CODEBOOK_SIZE] = number % CODEBOOK_SIZE
    return [Codes(slots[0], slots[1])] if slots[0] != MISSING else []


POLICIES: dict[str, Callable[[str], list[Codes]]] = {
    "default": _default,
    "first_code": _first_code,
    "final": _final,
    "ref_gres": _ref_gres,
    "ref_rl_gres": _ref_rl_gres,
    "ref_gcg": _ref_gcg,
    "ref_last": _ref_last,
}
"""Ways to read an answer. `default` repairs per span; `first_code` drops every second code; `final` reads the
final answer of a think/answer reply alone; the others follow the released scripts for GRES and GroundingSuite,
RL-trained GRES, GCG, and RefCOCO with the multi-round sets."""
