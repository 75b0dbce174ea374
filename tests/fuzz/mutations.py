"""Damage with a structure: what a file holds is taken apart, one part is made hostile, and the whole is written again.

In: the bytes of a good file and a seeded generator. Out: other bytes; the same seed gives the same ones.
"""

from __future__ import annotations

import copy
import json
import math
import pickle
import struct
from collections.abc import Callable, Iterator, MutableMapping, MutableSequence
from random import Random
from typing import Any

HUGE = 10**30
SURROGATE = "\ud800"
FORMULAS = ["=1+1", "+1", "-1+cmd", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x.example","y")']
MARKUP = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "]]>", "&amp;&#0;", "![x](http://x.example/p.png)",
    "[x](javascript:alert(1))", "@octocat", "#1", "owner/name#1", "https://x.example", "www.x.example", "a|b\nc",
    "\n\n# heading", "```\ncode", "$x$", "\\input{/etc/passwd}", "\\write18{id}", "%", "{{7*7}}", "${7*7}",
    "GH-1", "a@b.example", "\x1b]0;t\x07", "\u202eabc", "a\u2028b",
]  # fmt: skip
PATHS = ["../../x", "/etc/hostname", "a/../../b", "~/x", "a\0b", "x" * 300, "con", ".", "..", "", "a/" * 40, "C:\\x"]
TEXTS = ["", " ", "x", "9" * 25, "9" * 5000, SURROGATE, "\0", "\ufeff", "nan", "{" * 3000, "(" * 3000, "-" * 9000 + "1",
         "é" * 50, "x" * 70_000, *FORMULAS, *MARKUP, *PATHS]  # fmt: skip
NUMBERS = [0, -1, 1, 1.5, -0.0, 2**31, 2**32, 2**53 + 1, 2**63, -(2**63) - 1, HUGE, -HUGE, 1e308, 5e-324, math.nan,
           math.inf, -math.inf, True, False]  # fmt: skip
MASKS = [
    {"size": [HUGE, HUGE], "counts": "04"}, {"size": [128, 128], "counts": [HUGE]}, {"size": [4, 4], "counts": "0" * 9},
    {"size": [16384, 16384], "counts": [0, 16384 * 16384]}, {"size": [128, 128], "counts": "oooooooo"},
    {"size": [128, 128], "counts": [1] * 16384}, {"size": [0, 0], "counts": ""}, {"size": [1, 1], "counts": "\0"},
    {"size": [128, 128], "counts": "PPPPPPPP"}, {"size": [128], "counts": [128]},
    [[1e15] * 8], [[0, 0, 1e9, 0, 1e9, 1e9]], [[math.nan] * 6], [[1, 1, 3, 1]], [[]], [[0, 0, 60_000, 60_000] * 900],
]  # fmt: skip
DEEP = 200_000
WORDS = ["<|mt_start|>", "<|mt_end|>", "<|mt_0044|>", "<|mt_0442|>", "<|mt_9999|>", "<|mt_-001|>", "<|mt_٣٣٣٣|>",
         "<|mt_", "|>", "<p>", "</p>", "<think>", "</think>", "<answer>", "</answer>", "[SEG]", "<box>", "(A)", "A.",
         '{"subject":', '"mask_2d":', "[[[", "```json", "|||", "\n", "\r", "\u2028", "1e999", "NaN", "[0,",
         "<|im_end|>", "<|endoftext|>"]  # fmt: skip


def nested(depth: int) -> Any:
    """A list in a list, so deep."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def hostile(rng: Random) -> Any:
    """A value that nobody expects."""
    kinds: list[Callable[[], Any]] = [
        lambda: rng.choice(NUMBERS),
        lambda: rng.choice(TEXTS),
        lambda: copy.deepcopy(rng.choice(MASKS)),
        lambda: rng.choice([None, [], {}, [[]], [{}], {"": None}, [None] * 3, {"a": {"b": [1]}}]),
        lambda: nested(rng.choice([3, 90, 200])),
        lambda: rng.randrange(-(2**16), 2**16),
        lambda: [rng.choice(NUMBERS)] * rng.choice([1, 4, 6, 8]),
    ]
    return rng.choice(kinds)()


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Containers and keys of everything in a value, however deep."""
    stack = [value]
    while stack:
        found = stack.pop()
        keys = (
            list(found) if isinstance(found, MutableMapping) else range(len(found)) if isinstance(found, list) else ()
        )
        for key in keys:
            yield found, key
            stack.append(found[key])


def _spot(rng: Random, value: Any) -> tuple[Any, Any]:
    """A place of a value; every name has the same chance, however often it occurs."""
    spots: dict[str, list[tuple[Any, Any]]] = {}
    for container, key in places(value):
        spots.setdefault(key if isinstance(key, str) and not key.isdecimal() else "entry", []).append((container, key))
    return rng.choice(spots[rng.choice(list(spots))])


def damaged_value(rng: Random, value: Any) -> Any:
    """A copy with one to three places damaged."""
    whole = [copy.deepcopy(value)]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        _damage(rng, whole)
    return whole[0] if whole else None


def _damage(rng: Random, whole: list[Any]) -> None:
    container, key = _spot(rng, whole) if any(True for _ in places(whole)) else (whole, None)
    if key is None:
        return
    kind = rng.randrange(10)
    if kind == 0 and container is not whole:
        del container[key]
    elif kind == 1 and isinstance(container, MutableSequence):
        container.insert(key, copy.deepcopy(container[key]))
    elif kind == 2 and isinstance(container, MutableMapping):
        container[rng.choice([*TEXTS[:20], key + "x"])] = container.pop(key)
    elif kind == 3:
        other, place = _spot(rng, whole)
        container[key] = copy.deepcopy(other[place])
    elif kind == 4:
        container[key] = _other_type(container[key])
    elif kind == 5 and isinstance(container[key], str):
        container[key] = damaged_text(rng, container[key])
    elif kind == 6 and isinstance(container, MutableMapping):
        container[rng.choice(TEXTS)] = hostile(rng)
    else:
        container[key] = hostile(rng)


def _other_type(value: Any) -> Any:
    """The same said in another type: a number as text, a text as a list, a list as an object."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return {str(index): entry for index, entry in enumerate(value)}
    return list(value.items()) if isinstance(value, dict) else None


def damaged_text(rng: Random, text: str) -> str:
    """A text with parts of it left out, doubled, or replaced by what a grammar stumbles over."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(text) + 1)
        end = min(len(text), at + rng.choice([0, 1, 5, 20]))
        put = rng.choice([rng.choice(WORDS), rng.choice(TEXTS), text[at:end] * rng.choice([0, 2, 50]), ""])
        text = text[:at] + put + text[end:]
    return text


def damaged_bytes(rng: Random, content: bytes) -> bytes:
    """Bytes cut, changed, doubled, with marks inside them, or in another encoding."""
    at = rng.randrange(len(content) + 1)
    kind = rng.randrange(11)
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
    if kind == 2:
        return (
            content[:at] + rng.choice([b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1b[2J"]) + content[at:]
        )
    if kind == 3:
        return content.decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-7"]))
    if kind == 4:
        small = [b"", b"\n", b"null", b"[]", b"{}", b"0", b'""', b"\0" * 100]
        return rng.choice([*small, b"[" * DEEP, b'{"a":' * DEEP])
    if kind == 5:
        return b"\xef\xbb\xbf" + content
    if kind == 6:
        return content + content
    if kind == 7:
        return content[at:] + content[:at]
    if kind == 8:
        return content.replace(b"\n", b"\r")
    if kind == 9:
        size = rng.choice([1, 2, 4, 8])
        return content[:at] + rng.choice([b"\xff", b"\0", b"\x7f"]) * size + content[at + size :]
    return content[:at] + content[at : at + 20] * rng.choice([2, 100]) + content[at:]


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def _doubled_key(rng: Random, content: bytes) -> bytes:
    """A JSON text in which some key stands twice, which no mapping can hold."""
    key = rng.choice([b'"id"', b'"size"', b'"counts"', b'"task"', b'"text"'])
    return content.replace(key, key + b": null, " + key, 1)


def damaged_json(rng: Random, content: bytes) -> bytes:
    """One JSON value."""
    written = _json(damaged_value(rng, json.loads(content)))
    return _doubled_key(rng, written) if rng.random() < 0.05 else written


def damaged_lines(rng: Random, content: bytes) -> bytes:
    """One JSON value a line; lines are also doubled, cut and left out."""
    rows = [json.loads(line) for line in content.splitlines() if line.strip()]
    if rows and rng.random() < 0.7:
        at = rng.randrange(len(rows))
        rows[at] = damaged_value(rng, rows[at])
    else:
        rows = damaged_value(rng, rows)
    lines = [_json(row) for row in rows] if isinstance(rows, list) else [_json(rows)]
    written = b"\n".join(lines) + rng.choice([b"\n", b"\n", b"", b"\r\n"])
    return _doubled_key(rng, written) if rng.random() < 0.05 else written


def damaged_pickle(rng: Random, content: bytes) -> bytes:
    """A pickle of plain values."""
    value = pickle.loads(content)
    try:
        return pickle.dumps(damaged_value(rng, value), protocol=rng.randrange(pickle.HIGHEST_PROTOCOL + 1))
    except (UnicodeEncodeError, RecursionError):
        return damaged_bytes(rng, content)


def damaged_weights(rng: Random, content: bytes) -> bytes:
    """A safetensors file whose header says what its body does not hold."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    kind = rng.randrange(4)
    if kind == 0:
        return struct.pack("<Q", rng.choice([0, 1, 2**31, 2**62, 2**64 - 1, length + 8])) + content[8:]
    name = rng.choice([name for name in header if name != "__metadata__"])
    if kind == 1:
        header[name] = damaged_value(rng, header[name])
    elif kind == 2:
        header[name]["shape"] = rng.choice([[2**40], [2**20, 2**20, 2**20], [0], [], [-1], [HUGE]])
    else:
        header[rng.choice(TEXTS)] = header.pop(name)
    new = _json(header)
    return struct.pack("<Q", len(new)) + new + content[8 + length :]


BY_ENDING: dict[str, Callable[[Random, bytes], bytes]] = {
    ".json": damaged_json,
    ".jsonl": damaged_lines,
    ".p": damaged_pickle,
    ".safetensors": damaged_weights,
}


def damaged(rng: Random, name: str, content: bytes) -> bytes:
    """A file's bytes, damaged by what its ending says that it holds, or as plain bytes or text."""
    ending = "." + name.rpartition(".")[2]
    known = BY_ENDING.get(ending)
    if known is not None and rng.random() < 0.8:
        return known(rng, content)
    if ending in (".toml", ".yaml", ".csv", ".jinja", ".xml", ".txt") and rng.random() < 0.7:
        return damaged_text(rng, content.decode()).encode("utf-8", "surrogatepass")
    return damaged_bytes(rng, content)
