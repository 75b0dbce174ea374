"""What a question carries beside its text where this program does not decode itself: servers, and vLLM in this process.

Out: greedy decoding with every penalty off, whatever a checkpoint's own settings say; mask words kept in the text; and
the grammar of well-formed spans.
"""

from __future__ import annotations

import json

from samtok_eval.mask_tokens import Layout

GREEDY = {"temperature": 0.0, "top_p": 1.0}
"""What every server takes."""
VLLM_SAMPLING = {
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
}
"""What vLLM takes beside it."""


def span_grammar(layout: Layout) -> str:
    """Text with well-formed spans alone: start, a word of each book in order, end; in the EBNF of xgrammar."""
    start, *numbered, end = (json.dumps(word) for word in layout.words)
    books = [numbered[first : first + layout.size] for first in range(0, layout.count, layout.size)]
    names = [f"book{depth}" for depth in range(layout.depth)]
    return "\n".join(
        [
            "root ::= text (span text)*",
            # Anything that does not begin like a mask word; control words such as those that mark phrases are text.
            "text ::= ([^<] | begun* broken)* begun*",
            'begun ::= "<" | "<|" | "<|m" | "<|mt"',
            'broken ::= "<" [^<|] | "<|" [^<m] | "<|m" [^<t] | "<|mt" [^<_]',
            f"span ::= {start} {' '.join(names)} {end}",
            *(f"{name} ::= {' | '.join(words)}" for name, words in zip(names, books, strict=True)),
        ]
    )
