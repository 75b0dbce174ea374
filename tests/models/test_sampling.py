"""The grammar that servers and vLLM are given."""

from __future__ import annotations

from samtok_eval.mask_tokens import Layout
from samtok_eval.models.sampling import span_grammar


def test_the_grammar_has_a_rule_for_each_book():
    assert span_grammar(Layout(2, 2)).splitlines() == [
        "root ::= text (span text)*",
        "text ::= ([^<] | begun* broken)* begun*",
        'begun ::= "<" | "<|" | "<|m" | "<|mt"',
        'broken ::= "<" [^<|] | "<|" [^<m] | "<|m" [^<t] | "<|mt" [^<_]',
        'span ::= "<|mt_start|>" book0 book1 "<|mt_end|>"',
        'book0 ::= "<|mt_0000|>" | "<|mt_0001|>"',
        'book1 ::= "<|mt_0002|>" | "<|mt_0003|>"',
    ]
