"""The grammar of mask words: text or token ids <-> spans <-> codes.

A mask is written `<|mt_start|><|mt_c1|><|mt_(256+c2)|><|mt_end|>` with four-digit numbers: 0..255 name the first
codebook's entries, 256..511 the second's (SAMTok, arXiv 2601.16093; `utils/add_special_tokens.py` of the released
code). Codebooks of another layout are written likewise; their words are in part the same, so that a text does not tell
its layout, and every function here is given it. Models also write malformed spans; the default policy repairs each span
by itself, never pairs codes across spans and never raises. The four `ref_*` policies read malformed answers as the
released evaluation scripts do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache, wraps
from itertools import takewhile
from typing import Literal, NamedTuple, Protocol

from samtok_eval.errors import UsageError

QWEN_MARKS = ("<|object_ref_start|>", "<|object_ref_end|>")
GLAMM_MARKS = ("<p>", "</p>")
"""What stands around a phrase that has a mask."""
START = "<|mt_start|>"
END = "<|mt_end|>"
MISSING = -1
"""Stands for an absent code; all codes behind it are absent, too."""
MOST_CODES = 1 << 20
"""Codes of the largest layout that is read; the largest released one, 65536x1, has a sixteenth of it."""
SHORTEST_NUMBER = 4
"""Digits to which the numbers of words are filled up with zeros."""


@dataclass(frozen=True)
class Layout:
    """Size and depth of the codebooks of a mask tokenizer; entry c of book d has the word of number `d * size + c`."""

    size: int = 256
    """Entries of each codebook."""
    depth: int = 2
    """Codebooks, and so numbered words of a mask."""

    def __post_init__(self) -> None:
        """Refuse sizes that no codebook has.

        Raises:
            ValueError: size or depth below 1, or more than `MOST_CODES` codes.
        """
        if self.size < 1 or self.depth < 1 or self.count > MOST_CODES:
            raise ValueError(
                f"a layout must have size and depth from 1 on and at most {MOST_CODES} codes, got {self}; "
                "give that of the mask tokenizer"
            )

    def __str__(self) -> str:
        """`256x2`."""
        return f"{self.size}x{self.depth}"

    @classmethod
    def from_text(cls, text: str) -> Layout:
        """Inverse of `str`.

        Raises:
            ValueError: not of the form `256x2`, or see `__post_init__`.
        """
        match = re.fullmatch(r"(\d{1,7})x(\d{1,7})", text, re.ASCII)
        if match is None:
            raise ValueError(f"a layout must look like 256x2 (size x depth), got {text!r}")
        return cls(int(match[1]), int(match[2]))

    @property
    def count(self) -> int:
        """Numbered words."""
        return self.size * self.depth

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Words that a checkpoint of this layout adds to its vocabulary, in the order of their token ids."""
        return (START, *(_numbered(number) for number in range(self.count)), END)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Any mask word; longer numbers than those of four digits are not filled up."""
        longest = len(str(self.count - 1))
        longer = rf"|[1-9]\d{{{SHORTEST_NUMBER},{longest - 1}}}" if longest > SHORTEST_NUMBER else ""
        return re.compile(rf"<\|mt_(start|end|\d{{{SHORTEST_NUMBER}}}{longer})\|>")


def _numbered(number: int) -> str:
    return f"<|mt_{number:0{SHORTEST_NUMBER}d}|>"


DEFAULT_LAYOUT = Layout()
"""That of the published SAMTok checkpoints."""
NUMBERED_WORD = re.compile(r"<\|mt_\d+\|>")
"""A word of some codebook, of whatever layout."""
CODEBOOK_SIZE = DEFAULT_LAYOUT.size
WORDS = DEFAULT_LAYOUT.words
"""The 514 words that a published SAMTok checkpoint adds to its vocabulary, in the order of their token ids."""

Status = Literal["ok", "missing_second", "extra", "swapped", "bad_range", "no_end", "no_start"]
"""What was found: `ok` well formed; `missing_second` no code of the second or a later book; `extra` more codes than
books, the first of each book kept; `swapped` books not in their order; `bad_range` a number of no book or one more of
another book where a book has none; `no_end`, `no_start` a missing delimiter. A span with several faults carries the
first that applies, in the order bad_range, swapped, extra, missing_second, no_start, no_end."""

_PAIR = re.compile(r"<\|mt_start\|><\|mt_(\d{4})\|><\|mt_(\d{4})\|><\|mt_end\|>")
_SPAN_OF_PAIR = re.compile(r"<\|mt_start\|><\|mt_\d{4}\|><\|mt_\d{4}\|><\|mt_end\|>")
"""`_PAIR` without its numbers, since one text is found faster than two."""
WORDS_OF_PAIR = 4
"""Words of a whole span."""
ALIKE_ON_PAIRS = ("default", "final", "ref_gres", "ref_rl_gres", "ref_gcg")
"""Policies that agree on answers of whole pairs."""
LAST_ON_PAIRS = "ref_last"
"""The policy that takes the last pair of such an answer."""
_KEY = re.compile(r"\d{1,7}(,\d{1,7})*(,-)*")


class Codes(tuple[int, ...]):
    """One entry per codebook; -1 for those that are absent, which are the last ones."""

    def __new__(cls, *entries: int) -> Codes:
        """`Codes(44, 186)`."""
        return super().__new__(cls, entries)

    def __getnewargs__(self) -> tuple[int, ...]:
        """The entries, for copies and other processes."""
        return tuple(self)

    def __repr__(self) -> str:
        """`Codes(44, 186)`."""
        return f"Codes({', '.join(map(str, self))})"

    @property
    def first(self) -> int:
        """Entry of the first book."""
        return self[0]

    @property
    def second(self) -> int:
        """Entry of the second book, -1 when it is absent or there is no such book."""
        return self[1] if len(self) > 1 else MISSING

    @cached_property
    def key(self) -> str:
        """`"44,186"`, or `"44,-"` without a second code: the key of decoded masks in prediction files."""
        return ",".join("-" if entry == MISSING else str(entry) for entry in self)

    @classmethod
    def from_key(cls, key: str, layout: Layout | None = DEFAULT_LAYOUT) -> Codes:
        """Inverse of `key`.

        Args:
            key: e.g. `44,186`.
            layout: what the codes must fit; None where only the form counts.

        Raises:
            ValueError: not of the form `c1,c2` or `c1,-`, or codes of another layout.
        """
        codes = _codes_of(key)
        if codes is None or (layout is not None and not codes.fit(layout)):
            wanted = "" if layout is None else f" with {layout.depth} codes 0..{layout.size - 1} (layout {layout})"
            raise ValueError(f"a code key must look like '44,186' or '44,-'{wanted}, got {key!r}")
        return codes

    def fit(self, layout: Layout) -> bool:
        """Whether there is one entry per book of a layout, each in its range or absent."""
        return len(self) == layout.depth and all(MISSING <= entry < layout.size for entry in self)

    def up_to(self, count: int) -> Codes:
        """The first `count` entries, the others absent."""
        return Codes(*self[:count], *[MISSING] * (len(self) - count))

    def filled(self, entry: int = 0) -> Codes:
        """The same with an entry in place of every absent one."""
        return Codes(*(entry if own == MISSING else own for own in self))


MOST_KEYS = 1 << 17
"""Keys that are remembered; 256x2 has half as many, and answers name all of them alike."""


def is_key(text: str) -> bool:
    """Whether a text has the form of `Codes.key`, of whatever layout."""
    return _KEY.fullmatch(text) is not None


def _codes_of(key: str) -> Codes | None:
    """Codes of a key; None where it is not of that form."""
    return Codes(*(MISSING if e == "-" else int(e) for e in key.split(","))) if _KEY.fullmatch(key) else None


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


def render(codes: Iterable[Sequence[int]], layout: Layout = DEFAULT_LAYOUT) -> str:
    """Mask words of codes, without blanks between them.

    Args:
        codes: one entry per book each, e.g. pairs `(c1, c2)`, each 0..255.
        layout: of the mask tokenizer that made them.

    Raises:
        ValueError: a code outside its book, or another number of codes than there are books.
    """
    text = []
    for entries in codes:
        if len(entries) != layout.depth or not all(0 <= entry < layout.size for entry in entries):
            raise ValueError(
                f"a mask of layout {layout} has {layout.depth} codes with values 0..{layout.size - 1}, "
                f"got {tuple(entries)}"
            )
        numbers = (book * layout.size + entry for book, entry in enumerate(entries))
        text.append(f"{START}{''.join(map(_numbered, numbers))}{END}")
    return "".join(text)


def parse(answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Span]:
    """Spans of an answer text under the default policy, in order of mention; never raises.

    A span ends at its end word, at the next start word, at other text, or at the end of the answer.

    Args:
        answer: any text.
        layout: of the checkpoint that wrote it.
    """
    words = [_Word(match[1], match.start(), match.end()) for match in layout._pattern.finditer(answer)]
    return [_read_span(group, layout) for group in _groups(words)]


def parse_ids(token_ids: Sequence[int], first_id: int, layout: Layout = DEFAULT_LAYOUT) -> list[Span]:
    """Spans of generated token ids; the same policy as `parse`, positions counted in tokens.

    Args:
        token_ids: generated ids.
        first_id: id of `<|mt_start|>`; the mask words must have consecutive ids in the order of `Layout.words`.
        layout: of the checkpoint that wrote them.
    """
    words, last = [], layout.count + 1
    for position, token in enumerate(token_ids):
        offset = token - first_id
        if 0 <= offset <= last:
            name = "start" if offset == 0 else "end" if offset == last else str(offset - 1)
            words.append(_Word(name, position, position + 1))
    return [_read_span(group, layout) for group in _groups(words)]


def masks_of(answer: str, policy: str = "default", layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
    """Codes of the masks that an answer names, under a named policy.

    Args:
        answer: the model's whole text.
        policy: a key of `POLICIES`.
        layout: of the checkpoint that wrote it.

    Returns:
        Codes in order of mention; -1 where a code is absent.

    Raises:
        PolicyCrashError: the reference script of that policy would stop here.
        UsageError: the reference script of that policy knows no such layout.
        KeyError: unknown policy.
    """
    return list(_kept_masks(answer, policy, layout))


# Protocols read an answer one after another, several of them under one policy.
@lru_cache(maxsize=1 << 11)
def _kept_masks(answer: str, policy: str, layout: Layout) -> tuple[Codes, ...]:
    plain = plain_pairs(answer) if layout == DEFAULT_LAYOUT and policy in ALIKE_ON_PAIRS else None
    return tuple(POLICIES[policy](answer, layout)) if plain is None else plain


def plain_pairs(answer: str) -> tuple[Codes, ...] | None:
    """Codes of an answer whose mask words are whole spans of 256x2 alone, as nearly all are; None for any other.

    A tenth of the time that the policies take; those of `ALIKE_ON_PAIRS` agree on such answers.
    """
    pairs = _SPAN_OF_PAIR.findall(answer)
    whole = answer.count("<|mt_") == WORDS_OF_PAIR * len(pairs) and len(pairs) <= _RL_MOST_PAIRS
    if not whole or "<answer>" in answer or "</think>" in answer:
        return None
    found = tuple(map(_CODES_OF_PAIRS.__getitem__, pairs))
    return None if None in found else found  # type: ignore[return-value]


class _CodesOfPairs(dict[str, Codes | None]):
    """Codes of whole spans of two numbers, those of their books kept, which are at most 256 x 256."""

    def __missing__(self, span: str) -> Codes | None:
        """Codes of a span that is new; None where one of its numbers is not of its book."""
        first, second = _numbers(span)
        entries = first, second - CODEBOOK_SIZE
        if not all(0 <= entry < CODEBOOK_SIZE for entry in entries):
            return None
        return self.setdefault(span, Codes(*entries))


_CODES_OF_PAIRS = _CodesOfPairs()


def has_policy(policy: str, layout: Layout) -> bool:
    """Whether answers of a layout can be read under a policy; some released scripts know pairs of 256 codes alone."""
    return layout == DEFAULT_LAYOUT or policy not in PAIR_POLICIES


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


def _read_span(group: list[_Word], layout: Layout) -> Span:
    numbers = [int(word.name) for word in group if word.name not in ("start", "end")]
    found: dict[int, int] = {}
    for number in numbers:
        found.setdefault(number // layout.size, number % layout.size)
    codes = _up_to_gap([found.get(book, MISSING) for book in range(layout.depth)])
    status = _status(list(found), len(numbers), codes, layout.depth)
    if status == "ok" and group[0].name != "start":
        status = "no_start"
    elif status == "ok" and group[-1].name != "end":
        status = "no_end"
    return Span(status, codes, group[0].start, group[-1].end)


def _status(books: Sequence[int], count: int, codes: Codes | None, depth: int) -> Status:
    """What the numbers of a span have to say about it, whatever its delimiters.

    Args:
        books: of its numbers, in order of first mention.
        count: its numbers.
        codes: what is read from it.
        depth: books of the layout.
    """
    kept = 0 if codes is None else sum(entry != MISSING for entry in codes)
    if not kept or max(books) >= depth or (kept < depth and count > kept):
        return "bad_range"
    if list(books) != sorted(books):
        return "swapped"
    if count > depth:
        return "extra"
    return "missing_second" if kept < depth else "ok"


def _up_to_gap(entries: Sequence[int]) -> Codes | None:
    """Codes up to the first absent one, since later books refine what earlier ones say; None without the first."""
    kept = list(takewhile(lambda entry: entry != MISSING, entries))
    return Codes(*entries).up_to(len(kept)) if kept else None


# ---- policies of the released scripts (facts: which answer gives which mask, and where they stop) ----


class Policy(Protocol):
    """A way to read an answer."""

    def __call__(self, answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
        """Codes of the masks that the answer names, in order of mention."""


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


def _default(answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
    return [span.codes for span in parse(answer, layout) if span.codes is not None]


def _first_code(answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
    return [codes.up_to(1) for codes in _default(answer, layout)]


def _final(answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
    return _default(final_part(answer), layout)


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


def _ref_last(answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
    slots = [MISSING] * layout.depth
    # The scripts for 65536 codes take numbers of any length; Python converts none of more than 4,300 digits.
    digits = r"\d{4}" if layout.count <= 10**SHORTEST_NUMBER else r"\d{1,999}"
    for match in re.finditer(rf"<\|mt_({digits})\|>", answer):
        number = int(match[1])
        if number >= layout.count:
            raise PolicyCrashError(f"a number above {layout.count - 1} has no slot")
        slots[number // layout.size] = number % layout.size
    codes = _up_to_gap(slots)
    return [] if codes is None else [codes]


def _ref_nodes(answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
    nodes = answer.split('"')
    if len(nodes) == 1:
        return _ref_last(answer, layout)
    found: dict[Codes, None] = {}
    for node in nodes:
        # Of nodes that the script never reads, since their names are unknown, it does not stop at the words.
        with suppress(PolicyCrashError):
            found |= dict.fromkeys(_ref_last(node, layout))
    return list(found)


PAIR_POLICIES: dict[str, Callable[[str], list[Codes]]] = {
    "ref_gres": _ref_gres,
    "ref_rl_gres": _ref_rl_gres,
    "ref_gcg": _ref_gcg,
}
"""Rules of scripts that exist for 256x2 alone; what they would do with other layouts nobody wrote down."""


def _for_pairs(name: str) -> Policy:
    """A rule of `PAIR_POLICIES` as a policy."""
    read = PAIR_POLICIES[name]

    @wraps(read)
    def policy(answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
        if layout != DEFAULT_LAYOUT:
            raise UsageError(
                f"the policy {name} reads answers of layout {DEFAULT_LAYOUT}, got {layout}; "
                f"choose from {', '.join(other for other in POLICIES if other not in PAIR_POLICIES)}"
            )
        return read(answer)

    return policy


POLICIES: dict[str, Policy] = {
    "default": _default,
    "first_code": _first_code,
    "final": _final,
    **{name: _for_pairs(name) for name in PAIR_POLICIES},
    "ref_last": _ref_last,
    "ref_nodes": _ref_nodes,
}
"""Ways to read an answer. `default` repairs per span; `first_code` drops every code but the first; `final` reads the
final answer of a think/answer reply alone; the others follow the released scripts for GRES and GroundingSuite,
RL-trained GRES, GCG, RefCOCO with the multi-round sets, and the nodes of scene graphs, each a text between quotes that
is read as an answer of RefCOCO. The last two take any layout."""
