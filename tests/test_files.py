"""Reading files of strangers and writing our own: every fault of a file is one line that says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, field_validator

from samtok_eval.append_log import AppendLog
from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import (
    first_problem,
    json_items,
    numbered_lines,
    read_bytes,
    read_chunks,
    read_json,
    read_json_lines,
    read_object,
    read_text,
    read_toml,
    read_yaml,
    text,
    write_text,
)

BOM = b"\xef\xbb\xbf"


def all_items(path: Path, **options: str) -> list[object]:
    return list(json_items(path, **options))


def all_chunks(path: Path, **options: str) -> list[bytes]:
    return list(read_chunks(path, **options))


READERS = (all_chunks, all_items, read_bytes, read_text, read_json, read_object, read_json_lines, read_toml, read_yaml)
PARSERS = (all_items, read_json, read_json_lines, read_toml, read_yaml)


def file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("read", READERS)
def test_what_cannot_be_opened_is_named_with_what_to_do(tmp_path, read):
    (tmp_path / "a").write_text("")
    for name, problem in (
        ("none", "is missing"),
        ("a/b", r"cannot be read \(Not a directory\)"),
        ("x" * 300, r"cannot be read \(File name too long\)"),
        (".", "is not an ordinary file"),
    ):
        with pytest.raises(DataError, match=rf"{problem}; look for it\Z"):
            read(tmp_path / name, remedy="look for it")


@pytest.mark.parametrize("read", [read_text, *PARSERS])
@pytest.mark.parametrize("content", ["é".encode("latin-1"), '"é"'.encode("utf-16"), b"\xed\xa0\x80"])
def test_text_is_utf_8(tmp_path, read, content):
    with pytest.raises(DataError, match=r"file(:1)? is not UTF-8 text: .*; (save it again|correct or remove the line)"):
        read(file(tmp_path, content), remedy="save it again")


@pytest.mark.parametrize(
    ("read", "content", "value"),
    [
        (read_text, b"a\r\nb", "a\r\nb"),
        (read_json, b'{"a": 1}\r\n', {"a": 1}),
        (read_json_lines, b"1\r\n\n2", [1, 2]),
        (read_toml, b"a = 1", {"a": 1}),
        (read_yaml, b"a: 1", {"a": 1}),
    ],
)
def test_a_byte_order_mark_is_no_content(tmp_path, read, content, value):
    assert read(file(tmp_path, content)) == read(file(tmp_path, BOM + content)) == value


@pytest.mark.parametrize(
    ("read", "content"),
    [
        *((read, what * 5000) for read in (read_json, read_json_lines) for what in "9["),
        (read_yaml, "9" * 5000),
        (read_yaml, "[" * 500),
        *((read_toml, f"a = {what * 5000}") for what in "9["),
        (read_yaml, "!!python/object/apply:os.getcwd []"),
        (read_yaml, "2020-99-99"),
    ],
)
def test_depth_and_size_of_what_a_file_holds_are_bounded(tmp_path, read, content):
    with pytest.raises(DataError, match=r"\A[^\n]*; (mend it|correct or remove the line)\Z"):
        read(file(tmp_path, content.encode()), remedy="mend it")


def test_a_file_that_a_person_writes_is_small(tmp_path):
    with pytest.raises(DataError, match="has 2000000 bytes, more than the 1048576 that are read"):
        read_yaml(file(tmp_path, b"#" * 2_000_000))


def test_an_object_is_asked_for_by_name(tmp_path):
    with pytest.raises(DataError, match=r"holds no JSON object; score again\Z"):
        read_object(file(tmp_path, b"[]"), remedy="score again")


@pytest.mark.parametrize(("torn_tail", "lines"), [(True, [(1, "a\n")]), (False, [(1, "a\n"), (3, "é"[:1])])])
def test_a_last_line_that_a_kill_cut_off_can_be_left_out(tmp_path, torn_tail, lines):
    assert list(numbered_lines(file(tmp_path, "a\n\né".encode()), torn_tail=torn_tail)) == lines


def test_a_cut_in_the_middle_of_a_letter_is_only_a_torn_tail(tmp_path):
    path = file(tmp_path, b"a\n" + "é".encode()[:1])
    assert list(numbered_lines(path, torn_tail=True)) == [(1, "a\n")]
    with pytest.raises(DataError, match="file:2 is not UTF-8 text"):
        list(numbered_lines(path))


def test_half_a_letter_is_no_text():
    with pytest.raises(ValueError, match="surrogates not allowed"):
        text("\ud800")


# The first problem of a model, in words


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int = 0
    inner: Entry | None = None

    @field_validator("number")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"expected an even number, got {value}")
        return value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"number": "many"}', "number: Input should be a valid integer, unable to parse string as an integer, got"),
        ('{"inner": {"inner": {"number": 3}}}', "inner.inner.number: expected an even number, got 3"),
        ('{"inner": {"other": 1}}', "inner.other: Extra inputs are not permitted, got 1"),
        ('{"number": {}}', "number: Input should be a valid integer"),
        ("{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ("[]", "Input should be an object"),
    ],
)
def test_the_first_problem_says_where_what_and_which_value_came(content, words):
    with pytest.raises(ValidationError) as raised:
        Entry.model_validate_json(content)
    assert first_problem(raised.value).startswith(words)


def test_a_value_that_fills_pages_is_shortened_in_one_line():
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(int).validate_python("a\n" * 1000)
    assert "\n" not in first_problem(raised.value)
    assert len(first_problem(raised.value)) < 200


# Writing


@pytest.mark.parametrize(
    ("name", "problem"), [("a/b", "Not a directory|File exists"), ("x" * 300, "File name too long")]
)
def test_what_cannot_be_written_is_named_and_is_no_data_error(tmp_path, name, problem):
    (tmp_path / "a").write_text("kept")
    for write in (lambda path: write_text(path, "new"), AppendLog):
        with pytest.raises(UsageError, match=rf"cannot be written \(({problem})\)"):
            write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "kept"


def test_on_a_full_disk_a_file_is_written_whole_or_not_at_all(tmp_path, nearly_full_disk):
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(UsageError, match=r"file cannot be written \(File too large\); free space"), nearly_full_disk():
        write_text(path, "newer")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_on_a_full_disk_a_log_keeps_its_whole_lines(tmp_path, nearly_full_disk):
    path = tmp_path / "log"
    refused = pytest.raises(UsageError, match=r"log cannot be written \(File too large\)")
    with refused, nearly_full_disk(), AppendLog(path) as log:
        log.write_line("a")
        log.write_line("bcd")
    with AppendLog(path) as log:
        log.write_line("b")
    assert path.read_text() == "a\nb\n"


@pytest.mark.parametrize("block", [1, 2, 3, 1000])
@pytest.mark.parametrize("content", ["", "torn", "\n", "a\n", "a\ntorn", "a\n\nb\ntorn line"])
def test_a_torn_line_is_cut_off_wherever_a_block_ends(tmp_path, monkeypatch, content, block):
    monkeypatch.setattr("samtok_eval.append_log.BLOCK", block)
    path = file(tmp_path, content.encode())
    with AppendLog(path) as log:
        log.write_line("new")
    assert path.read_text() == content[: content.rfind("\n") + 1] + "new\n"


LISTS = ["[]", " [ ] ", "[1]", "[12, 34.5e-3]", '[{"a": [1, "]"]}, [], null, "é\\u00e9😀", true, -0.5]\n', "[[[]]]",
         '[{"a": [{"b": 1}, {"b": {}}]} , {"a": [{}, {}]}\n,{"a": "}, {"}, {"a": [{}, {}, {}]}, {"a": {}, "b": "}"}]',
         '[{"a": NaN}, {"a": 1e999}, {"a": "\\ud800"}, {"a": 123456789012345678901234567890}, {"a": 1, "a": 2}, 1]',
         '[1, {"a": 1}, 2, {"a": "},{"}, [{"a": 1}, {"a": 2}], {"a": 3}]']  # fmt: skip
NO_LISTS = ["", "{}", "3", "[", "[1", "[1,", "[1,]", "[,]", "[1 2]", "[1] 2", "[1]]", "[nul]", '["a', "[1;2]"]


@pytest.mark.parametrize("window", [1, 2, 3, 1000])
@pytest.mark.parametrize("content", LISTS)
def test_items_of_a_list_are_those_of_the_whole_file_wherever_a_window_ends(tmp_path, monkeypatch, content, window):
    monkeypatch.setattr("samtok_eval.files.WINDOW", window)
    path = file(tmp_path, content.encode())
    # Not a number is not equal to itself.
    assert repr(all_items(path)) == repr(read_json(path)) == repr(json.loads(content))


@pytest.mark.parametrize("window", [1, 1000])
@pytest.mark.parametrize(
    "content", [*NO_LISTS, '[{"a": 1}, {"a": 2}, {"a": 3} {"a": 4}]', '[{"a": 1}, {"a": 2}, {"a"}]']
)
def test_what_is_no_list_has_no_items(tmp_path, monkeypatch, content, window):
    monkeypatch.setattr("samtok_eval.files.WINDOW", window)
    with pytest.raises(DataError, match="is not valid JSON"):
        all_items(file(tmp_path, content.encode()))
