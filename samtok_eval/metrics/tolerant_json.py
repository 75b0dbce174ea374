"""A list of JSON objects out of the answer of a language model, however badly it is written.

In: a text. Out: the entries of its first fenced block that is JSON, of the first fenced block where none is, else of
its first list of objects. Repaired: a missing fence, missing or trailing commas and brackets, single quotes, bare
words, text around the list, and a list that is cut off.
One pass without recursion: time is linear in the text, and nothing raises.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NamedTuple

_FENCE = re.compile(r"```(?:json|JSON)?")
_STARTS = (re.compile(r"^\s*\["), re.compile(r"\[\s*\{|\{"), re.compile(r"\["))
"""Where the list may begin, the first pattern that is found; the first one holds for fenced blocks only, because prose
may begin with a bracket."""
_LITERAL = re.compile(r"(?:null|true|false|None|True|False|NaN|-?\d[\d.eE+-]*)$")
_TOKEN = re.compile(
    r"""
    (?P<open>[\[{]) | (?P<close>[\]}]) | (?P<comma>,)
    # The closing quote is optional, so that nothing is ever tried twice.
    | "(?P<double>[^"\\]*(?:\\.[^"\\]*)*)(?P<double_end>"?)
    # An apostrophe inside a word does not close a single-quoted text.
    | '(?P<single>[^'\\]*(?:(?:\\.|'(?!\s*(?:[,:}\]]|\Z)))[^'\\]*)*)(?P<single_end>'?)
    | (?P<bare>[^\s{}\[\],:"'][^{}\[\],:"]*)
    """,
    re.VERBOSE | re.DOTALL,
)
_DEEPEST = 3
"""List, object, object in it: whatever lies deeper is left out."""


class JsonList(NamedTuple):
    """What a text lists."""

    entries: list[object]
    """Objects as dictionaries, down to objects in objects; texts as between their quotes, other values None."""
    well_formed: bool
    """Whether the text is a fenced JSON list and nothing else."""


_ESCAPE = re.compile(r"\\.", re.DOTALL)
"""A backslash and what it escapes, which may be another one."""


def read_list(text: str) -> JsonList | None:
    """Entries of the list in a text without outer blanks; None where none begins."""
    fence = _FENCE.search(text)
    block = _fenced_block(text) if fence else text
    starts = _STARTS[fence is None :]
    start = next((found.start() for pattern in starts if (found := pattern.search(block))), None)
    if start is None:
        return None
    return JsonList(_entries(block, start), text == f"```json{block}```" and isinstance(_json(block), list))


def unescaped(raw: str) -> str:
    """A text of an entry without its escapes, as it is where these are broken."""
    if "\\" not in raw:
        return raw
    try:
        plain = _ESCAPE.sub(lambda found: found[0].removeprefix("\\") if found[0] == "\\'" else found[0], raw)
        return str(json.loads(f'"{plain}"', strict=False))
    except ValueError:
        return raw


def _fenced_block(text: str) -> str:
    """The first fenced block that is JSON, the first of all where none is."""
    blocks = [_FENCE.sub("", f"```{part}", count=1) for part in text.split("```")[1::2]]
    return next((block for block in blocks if isinstance(_json(block), list | dict)), blocks[0])


def _json(text: str) -> object:
    """What a text says as JSON; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


@dataclass(slots=True)
class _Frame:
    """A list or object that is not yet closed."""

    mark: str
    """`[` or `{`."""
    value: dict[str, object] | list[object] | None
    """None below `_DEEPEST`."""
    key: str | None = None
    """Read, its value not yet."""

    def put(self, value: object) -> None:
        """Take a value; texts of an object are keys and values in turn, commas and colons or not."""
        if isinstance(self.value, list):
            self.value.append(value)
        elif isinstance(self.value, dict):
            if self.key is not None:
                self.value[self.key] = value
                self.key = None
            elif isinstance(value, str):
                self.key = value


def _entries(text: str, start: int) -> list[object]:
    """Entries of the list that begins at `start`, or of the objects that follow each other from there on."""
    root: list[object] = []
    stack: list[_Frame] = []
    # How many of each are on the stack, so that a stray closing mark searches nothing.
    opened = {"[": 0, "{": 0}

    def close() -> None:
        frame = stack.pop()
        opened[frame.mark] -= 1
        if stack:
            stack[-1].put(frame.value)
        elif frame.value is not root:
            root.append(frame.value)

    for token in _TOKEN.finditer(text, start):
        kind, word = token.lastgroup, token[0]
        if kind == "open":
            # Objects without a list around them lie as deep as inside it.
            depth = len(stack) + (not stack or stack[0].value is not root)
            value: dict[str, object] | list[object] | None = None
            if not stack and word == "[":
                value = root
            elif depth < _DEEPEST:
                value = {} if word == "{" else []
            stack.append(_Frame(word, value))
            opened[word] += 1
        elif kind == "close":
            mark = "[" if word == "]" else "{"
            # A closing mark also closes what was left open inside; one that closes nothing is passed over.
            while opened[mark] and stack[-1].mark != mark:
                close()
            if opened[mark]:
                close()
                if word == "]" and not stack:
                    break
        elif kind == "comma" and stack:
            stack[-1].key = None
        elif stack:
            stack[-1].put(_text(token))
    # The end of the text closes an object, but none inside it: what is cut off is not guessed.
    if stack and stack[0].value is root:
        del stack[0]
    if stack and stack[0].value is not None:
        root.append(stack[0].value)
    return root


def _text(token: re.Match[str]) -> str | None:
    """A raw text; None for a text that is cut off, a number and the like."""
    if token["bare"] is not None:
        bare = token["bare"].rstrip()
        return None if _LITERAL.match(bare) or token.end() == len(token.string) else bare
    if token["double"] is not None:
        return token["double"] if token["double_end"] else None
    return token["single"] if token["single_end"] else None
