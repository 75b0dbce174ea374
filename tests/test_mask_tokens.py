"""The grammar of mask words, well-formed and malformed."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samtok_eval.errors import UsageError
from samtok_eval.mask_tokens import (
    ALIKE_ON_PAIRS,
    DEFAULT_LAYOUT,
    MOST_CODES,
    PAIR_POLICIES,
    POLICIES,
    WORDS,
    Codes,
    Layout,
    PolicyCrashError,
    has_policy,
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


SPANS = [spell("S a A E"), spell("S b B E"), S, E, word(5), word(300), "</think>", "a", "<|mt_9"]


@pytest.mark.parametrize("policy", ALIKE_ON_PAIRS)
@given(st.lists(st.sampled_from(SPANS)))
def test_answers_of_whole_pairs_are_read_as_the_policy_reads_any(policy, parts):
    answer = "".join(parts)
    assert outcome(lambda: masks_of(answer, policy)) == outcome(lambda: POLICIES[policy](answer))


def outcome(read):
    try:
        return read()
    except PolicyCrashError:
        return CRASH


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


def test_nodes_are_texts_between_quotes_read_each_by_itself():
    one, other = render([(1, 2)]), render([(3, 4)])
    first_alone = "<|mt_start|><|mt_0005|><|mt_end|>"
    assert masks_of(f'"{one}", "{first_alone}", "{one}{other}", "{one}"', "ref_nodes") == [(1, 2), (5, -1), (3, 4)]
    assert masks_of(f'"{one}", "<|mt_0512|>"', "ref_nodes") == [(1, 2)]
    with pytest.raises(PolicyCrashError):
        masks_of("<|mt_0512|>", "ref_nodes")


def test_number_above_511_stops_the_last_policy():
    with pytest.raises(PolicyCrashError):
        masks_of(spell("S x E"), "ref_last")


@given(st.text(max_size=80))
def test_plain_text_names_no_mask_under_any_policy(text):
    if "<|mt_" not in text:
        assert all(masks_of(text, policy) == [] for policy in POLICIES)


def test_digits_of_another_script_are_no_mask_words_but_where_a_script_reads_them():
    answer = f"{S}<|mt_٠٠٤٤|><|mt_٠٤٤٢|>{E}"
    assert masks_of(answer) == []
    assert masks_of(answer, "ref_gres") == masks_of(answer, "ref_last") == [(44, 186)]


def test_code_keys_round_trip_and_refuse_nonsense():
    for codes in (Codes(0, -1), Codes(255, 255)):
        assert Codes.from_key(codes.key) == codes
    for key in ("", "1", "256,1", "1,256", "-,1", "a,b", "1,2,3", "-,-", "٤,1"):
        with pytest.raises(ValueError, match="code key"):
            Codes.from_key(key)


# ---- other layouts than 256x2 ----

DEEP = Layout(64, 3)
LAYOUTS = st.sampled_from([Layout(1024, 1), DEFAULT_LAYOUT, DEEP, Layout(256, 4), Layout(1024, 4), Layout(65536, 1)])


def deep(pattern: str) -> str:
    """`S a B c E` -> words of 64x3; a, b, c are entry 5 of book 1, 2, 3 and capitals entry 6, x is of no book."""
    names = {"S": S, "E": E, "x": word(192)}
    names |= {letter: word(64 * "abc".index(letter.lower()) + 5 + letter.isupper()) for letter in "abcABC"}
    return "".join(names[letter] for letter in pattern.split())


def masks(layout):
    codes = st.tuples(*[st.integers(0, layout.size - 1)] * layout.depth)
    return st.tuples(st.just(layout), st.lists(codes, max_size=4))


def test_a_layout_has_a_word_per_entry_of_every_book():
    assert (str(DEEP), DEEP.count, len(DEEP.words)) == ("64x3", 192, 194)
    assert DEEP.words[:2] == (S, word(0)) and DEEP.words[-2:] == (word(191), E)
    assert Layout.from_text("64x3") == DEEP and Layout() == DEFAULT_LAYOUT == Layout.from_text("256x2")


@pytest.mark.parametrize(
    "text", ["", "256", "0x2", "2x0", "256x", "-1x2", "256 x 2", f"{MOST_CODES}x2", "9999999x9999999"]
)
def test_a_layout_that_no_codebooks_have_is_refused(text):
    with pytest.raises(ValueError, match="a layout must"):
        Layout.from_text(text)


def test_entry_c_of_book_d_is_word_d_times_size_plus_c():
    assert render([(5, 6, 7)], DEEP) == S + word(5) + word(64 + 6) + word(128 + 7) + E
    assert render([(65535,)], Layout(65536, 1)) == f"{S}<|mt_65535|>{E}"


@pytest.mark.parametrize("codes", [(1, 2), (1, 2, 3, 4), (64, 0, 0), (0, 0, -1)])
def test_render_refuses_codes_of_another_layout(codes):
    with pytest.raises(ValueError, match=r"layout 64x3 has 3 codes with values 0\.\.63"):
        render([codes], DEEP)


@given(LAYOUTS.flatmap(masks))
def test_every_layout_reads_back_what_it_wrote(case):
    layout, codes = case
    text = " and ".join(render([entries], layout) for entries in codes)
    spans = parse(text, layout)
    assert [span.codes for span in spans] == codes and all(span.status == "ok" for span in spans)
    assert all(masks_of(text, policy, layout) == codes for policy in ("default", "final"))
    assert masks_of(text, "ref_last", layout) == codes[-1:]
    ids = [FIRST_ID + layout.words.index(w) for entries in codes for w in _words(entries, layout)]
    assert [span.codes for span in parse_ids(ids, FIRST_ID, layout)] == codes
    assert all(Codes.from_key(Codes(*entries).key, layout) == entries for entries in codes)


def _words(entries, layout):
    return [S, *(word(book * layout.size + entry) for book, entry in enumerate(entries)), E]


@pytest.mark.parametrize(
    ("pattern", "status", "codes"),
    [
        ("S a b c E", "ok", (5, 5, 5)),
        ("S a b E", "missing_second", (5, 5, -1)),
        ("S a E", "missing_second", (5, -1, -1)),
        ("S a b c C E", "extra", (5, 5, 5)),
        ("S a c b E", "swapped", (5, 5, 5)),
        ("S c b a E", "swapped", (5, 5, 5)),
        ("S a c E", "bad_range", (5, -1, -1)),
        ("S a b B E", "bad_range", (5, 5, -1)),
        ("S b c E", "bad_range", None),
        ("S a b c x E", "bad_range", (5, 5, 5)),
        ("a b c E", "no_start", (5, 5, 5)),
        ("S a b c", "no_end", (5, 5, 5)),
    ],
)
def test_the_faults_of_three_books(pattern, status, codes):
    (span,) = parse(deep(pattern), DEEP)
    assert (span.status, span.codes) == (status, codes)


@given(LAYOUTS, st.lists(st.sampled_from([S, E, word(3), word(70), word(300), word(9999), "<|mt_65535|>", "x"])))
def test_no_answer_makes_any_layout_raise_and_codes_end_at_the_first_gap(layout, words):
    for span in parse("".join(words), layout):
        if span.codes is not None:
            assert span.codes.fit(layout) and span.codes.first >= 0
            assert span.codes == span.codes.up_to(sum(entry >= 0 for entry in span.codes))


def test_numbers_above_9999_are_words_only_where_a_layout_has_them():
    text = f"{S}<|mt_12345|>{E}"
    assert masks_of(text, layout=Layout(65536, 1)) == [(12345,)]
    assert masks_of(text) == masks_of(text, layout=Layout(1024, 4)) == []
    assert masks_of(f"{S}<|mt_00345|>{E}", layout=Layout(65536, 1)) == []


def test_words_of_another_layout_are_never_well_formed_pairs():
    (span,) = parse(render([(5, 6, 7)], DEEP))
    assert (span.status, span.codes) == ("bad_range", Codes(5, -1))


def test_the_first_code_policy_drops_all_later_codes():
    assert masks_of(deep("S a b c E"), "first_code", DEEP) == [(5, -1, -1)]


@pytest.mark.parametrize(
    ("pattern", "codes"),
    [("S a b c A E", [(6, 5, 5)]), ("S c a E", [(5, -1, -1)]), ("b c", []), ("S a E S B C E", [(5, 6, 6)])],
)
def test_the_last_policy_fills_a_slot_per_book_and_a_gap_blanks_what_follows(pattern, codes):
    assert masks_of(deep(pattern), "ref_last", DEEP) == codes


def test_the_last_policy_stops_at_a_number_of_no_book():
    with pytest.raises(PolicyCrashError, match="191"):
        masks_of(deep("S a b x E"), "ref_last", DEEP)


@pytest.mark.parametrize("policy", PAIR_POLICIES)
def test_scripts_that_exist_for_pairs_alone_read_no_other_layout(policy):
    assert has_policy(policy, DEFAULT_LAYOUT) and not has_policy(policy, DEEP)
    with pytest.raises(UsageError, match="256x2, got 64x3"):
        masks_of("", policy, DEEP)


def test_keys_have_a_part_per_book():
    assert Codes(44, 186, 3, 9).key == "44,186,3,9" and Codes(44, 186, -1).key == "44,186,-"
    assert Codes.from_key("44,6,-", DEEP) == (44, 6, -1)
    assert Codes.from_key("1,2,3,4", layout=None) == (1, 2, 3, 4)
    for key in ("1,-,3", "1,2", "64,0,0"):
        with pytest.raises(ValueError, match="3 codes 0\\.\\.63"):
            Codes.from_key(key, DEEP)


def test_codes_survive_copies_and_other_processes():
    for made in (copy.deepcopy(Codes(1, 2, 3)), pickle.loads(pickle.dumps(Codes(1, 2, 3)))):
        assert made == Codes(1, 2, 3) and made.second == 2 and repr(made) == "Codes(1, 2, 3)"
