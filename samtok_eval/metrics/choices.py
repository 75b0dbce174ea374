"""Reading the letter out of an answer to a choice question.

`exact` and `official` compare whole texts; `lenient` looks for the letter that a person would see. Official rule:
`evaluation/GAR-Bench/inference.py` of Grasp-Any-Region (arXiv 2510.18876). `videorefer_letter` is the rule of
`videorefer/eval/eval_videorefer_bench_q.py` of VideoRefer (arXiv 2501.00599).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from samtok_eval.mask_tokens import final_part

END_WORD = "<|eot_id|>"
_BRACKETED = re.compile(r"\(?([A-Za-z])\)?\.?")
_IN_BRACKETS, _BEFORE_BRACKET = re.compile(r"\(([A-Z])\)"), re.compile(r"([A-Z])\)")
_CONTROL = re.compile(r"<\|[a-z_]+\|>")
_LEADING = re.compile(r"^\(?([A-Z])\)?(?:[.):,\s]|$)", re.IGNORECASE)
_NAMED = re.compile(r"\b(?:answer|option|choice)(?:\s+is)?\s*:?\s*\(?([A-Z])\)?(?![A-Za-z])", re.IGNORECASE)


def exact(text: str, letter: str) -> bool:
    """Whether the answer is the letter and nothing else, whatever its case and outer blanks."""
    return exact_text(text).lower() == letter.lower()


def exact_text(text: str) -> str:
    """What `exact` compares."""
    return text.strip()


def official(text: str, letter: str) -> bool:
    """Whether GAR-Bench's scorer counts the answer."""
    return official_text(text).lower() == letter.lower()


def official_text(text: str) -> str:
    """What `official` compares.

    Outer blanks go first; then, of a text that ends in the end word, every end word. Blanks before it stay.
    """
    said = text.strip()
    return said.replace(END_WORD, "") if said.endswith(END_WORD) else said


def bracketed(text: str, letter: str) -> bool:
    """Whether the answer is the letter, in brackets or not, with a full stop or not, and nothing else."""
    match = _BRACKETED.fullmatch(text.strip())
    return match is not None and match[1].upper() == letter.upper()


def videorefer_letter(text: str) -> str | None:
    """The letter that VideoRefer-Bench-Q's scorer reads; None where there is none and it stops.

    It is the first capital in brackets, else the first before a closing one, else the first character but full stops.
    """
    match = _IN_BRACKETS.search(text) or _BEFORE_BRACKET.search(text)
    return match[1] if match else text.replace(".", "")[:1] or None


def lenient_letter(text: str, options: Sequence[str]) -> str | None:
    """The letter that an answer means, None when it cannot be told.

    Read after any reasoning and without control words: a leading letter (`B`, `(B)`, `B. red`), a named one (`the
    answer is B`), or the text of exactly one option.

    Args:
        text: the whole answer.
        options: `A. red`, `B. blue`, ...
    """
    said = _CONTROL.sub("", final_part(text)).strip()
    letters = {option[:1].upper(): option[1:].lstrip(".): ").strip().lower() for option in options}
    leading = _LEADING.match(said)
    # A lone "A" is a letter; "A red one" begins with an article.
    if leading and leading[1].upper() in letters and not re.match(r"^[Aa]\s+\w", said):
        return leading[1].upper()
    named = _NAMED.search(said)
    if named and named[1].upper() in letters:
        return named[1].upper()
    plain = said.lower().rstrip(".")
    meant = [letter for letter, words in letters.items() if words and words == plain]
    return meant[0] if len(meant) == 1 else None
