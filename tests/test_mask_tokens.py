"""The grammar of mask words, well-formed and malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samtok_eval.mask_tokens import (
    POLICIES,
    WORDS,
    Codes,
    PolicyCrashError,
    masks_of,
    parse,
    parse_ids,
    render,
    split_thinking,
)

S, E = "<|mt_start|>", "<|mt_end|>"
FIRST_ID = 1000


def word(number: int) -> str:
    return f"<|mt_{number:04d}|>"


def spell(pattern: str) -> str:
    """`S a A E` -> mask words; a, b are first-book codes 5 and 6, A, B second-book codes 7 and 8."""
    names = {"S": S, "E": E, "a": word(5), "b": word(6), "A": word(256 + 7), "B": word(256 + 8), "x": word(9999)}
    return "".join(names[letter] for letter in pattern.split())


def test_render_writes_four_digits_and_the_book_offset():
    assert render([(44, 186)]) == "<|mt_start|><|mt_0044|><|mt_0442|><|mt_end|>"


@pytest.mark.parametrize("codes", [(256, 0), (0, 256), (-1, 0), (1,), (1, 2, 3)])
def test_render_refuses_codes_outside_the_books(codes):
    with pytest.raises(ValueError, match=r"0\.\.255"):
        render([codes])


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=5))
def test_parse_reads_back_what_render_wrote(codes):
    spans = parse("a " + " and ".join(render([pair]) for pair in codes))
    assert [span.codes for span in spans] == codes
    assert all(span.status == "ok" for span in spans)


@given(st.lists(st.sampled_from([*WORDS[:4], *WORDS[255:260], *WORDS[-3:], word(9999), " ", "text", "<|mt_12|>"])))
def test_no_answer_makes_the_default_policy_raise(words):
    spans = parse("".join(words))
    for span in spans:
        assert (span.codes is None) or (0 <= span.codes.first < 256 and -1 <= span.codes.second < 256)


@pytest.mark.parametrize(
    ("pattern", "status", "codes"),
    [
        ("S a A E", "ok", Codes(5, 7)),
        ("S a E", "missing_second", Codes(5, -1)),
        ("S a", "missing_second", Codes(5, -1)),
        ("S a A b E", "extra", Codes(5, 7)),
        ("S A a E", "swapped", Codes(5, 7)),
        ("S a b E", "bad_range", Codes(5, -1)),
        ("S x A E", "bad_range", None),
        ("S A E", "bad_range", None),
        ("a A E", "no_start", Codes(5, 7)),
        ("S a A", "no_end", Codes(5, 7)),
        ("S E", "bad_range", None),
    ],
)
def test_every_fault_has_a_status(pattern, status, codes):
    (span,) = parse(spell(pattern))
    assert (span.status, span.codes) == (status, codes)


def test_codes_are_never_paired_across_spans():
    spans = parse(spell("S a E S b A B E"))
    assert [span.codes for span in spans] == [Codes(5, -1), Codes(6, 7)]
    spans = parse(spell("S a") + " text " + spell("A E"))
    assert [span.codes for span in spans] == [Codes(5, -1), None]


@given(st.lists(st.sampled_from([S, E, word(3), word(300), word(511)]), max_size=12))
def test_ids_and_text_give_the_same_spans(words):
    ids = [FIRST_ID + WORDS.index(w) for w in words]
    assert [(s.status, s.codes) for s in parse_ids(ids, FIRST_ID)] == [
        (s.status, s.codes) for s in parse("".join(words))
    ]


def test_other_ids_end_a_span():
    ids = [FIRST_ID, FIRST_ID + 1 + 5, 7, FIRST_ID + 1 + 263, FIRST_ID + 513]
    assert [s.codes for s in parse_ids(ids, FIRST_ID)] == [Codes(5, -1), None]


CRASH = "crash"
ENTRY_0 = -1
"""The scripts send -1, which their tokenizer decodes as entry 0 of the second book."""


@pytest.mark.parametrize(
    ("pattern", "gres", "gcg", "last"),
    [
        ("S a A E", [(5, 7)], [(5, 7)], [(5, 7)]),
        ("S a E", [(5, ENTRY_0)], [(5, ENTRY_0)], [(5, ENTRY_0)]),
        ("S a", [(5, ENTRY_0)], [(5, ENTRY_0)], [(5, ENTRY_0)]),
        ("S a A b E", [(5, 7)], [(5, 7)], [(6, 7)]),
        ("S a A b", CRASH, CRASH, [(6, 7)]),
        ("S A a E", CRASH, CRASH, [(5, 7)]),
        ("S a b E", [(5, ENTRY_0)], CRASH, [(6, ENTRY_0)]),
        ("a", CRASH, CRASH, [(5, ENTRY_0)]),
        ("S a A", [(5, 7)], [(5, 7)], [(5, 7)]),
        ("S E", [], [], []),
        ("", [], [], []),
        ("S a A E S b B E", [(5, 7), (6, 8)], [(5, 7), (6, 8)], [(6, 8)]),
        ("S a E S b A B E", [(5, ENTRY_0)], CRASH, [(6, 8)]),
    ],
)
def test_reference_policies_read_malformed_answers_as_the_scripts_do(pattern, gres, gcg, last):
    for policy, expected in (("ref_gres", gres), ("ref_gcg", gcg), ("ref_last", last)):
        if expected == CRASH:
            with pytest.raises(PolicyCrashError):
                masks_of(spell(pattern), policy)
        else:
            assert masks_of(spell(pattern), policy) == expected, policy


def test_with_other_valid_spans_a_truncated_long_span_is_lost_under_gres():
    assert masks_of(spell("S b B E S a A b"), "ref_gres") == [Codes(6, 8)]


def test_rl_policy_reads_only_the_answer_part_and_at_most_ten_pairs():
    thinking = f"<think>{spell('S b B E')}</think><answer>{spell('S a A E')}</answer>"
    assert masks_of(thinking, "ref_rl_gres") == [Codes(5, 7)]
    assert masks_of(spell("S a A E"), "ref_rl_gres") == [Codes(5, 7)]
    assert len(masks_of(spell("S a A E") * 10, "ref_rl_gres")) == 10
    assert masks_of(spell("S a A E") * 11, "ref_rl_gres") == [Codes(5, 7)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>t</think><answer>a</answer>", ("t", "a")),
        ("t<answer>a", ("t", "a")),
        ("<think>t</think>a", ("t", "a")),
        ("<answer>a</answer> behind it", ("", "a")),
        ("<answer>a</answer><think>t</think>", ("t", "a")),
        ("plain", (None, None)),
    ],
)
def test_each_part_is_looked_for_by_itself_and_only_the_missing_one_is_cut(text, parts):
    assert split_thinking(text) == parts


def test_the_final_policy_reads_the_final_answer_alone():
    reply = f"<think>{spell('S b B E')}</think><answer>{spell('S a A E')}</answer>"
    assert masks_of(reply, "final") == [Codes(5, 7)]
    assert masks_of(spell("S b B E S a A E"), "final") == masks_of(spell("S b B E S a A E"))


def test_number_above_511_stops_the_last_policy():
    with pytest.raises(PolicyCrashError):
        masks_of(spell("S x E"), "ref_last")


@given(st.text(max_size=80))
def test_plain_text_names_no_mask_under_any_policy(text):
    if "<|mt_" not in text:
        assert all(masks_of(text, policy) == [] for policy in POLICIES)


def test_code_keys_round_trip_and_refuse_nonsense():
    for codes in (Codes(0, -1), Codes(255, 255)):
        assert Codes.from_key(codes.key) == codes
    for key in ("", "1", "256,1", "1,256", "-,1", "a,b"):
        with pytest.raises(ValueError, match="code key"):
            Codes.from_key(key)
