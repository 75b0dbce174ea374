"""Records as columns, and as lines of `records.jsonl`."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from samtok_eval.errors import DataError
from samtok_eval.prediction import Record
from samtok_eval.records import Collected, Records
from samtok_eval.run import record_file
from samtok_eval.run.record_file import record_lines
from samtok_eval.text_column import TextColumn

PLAIN = Record("1-2", "7", "strict", "ok", 3, 9, 5, 7, phrase="the dog", slices={"targets": "one"})
RECORDS = [
    PLAIN,
    Record('"\\\n é \U0001f600', "\u2028", "official", "missing", no_target=True, failed=True, crashed=True),
    Record("3", "7", "strict", "ok", values={"box_iou": 1 / 3, "truths": 2.0}, series={"hits": [1, 0]}),
    Record("4", "8", "strict", "ok", values={"stops": 1.0}, slices={"targets": "one"}),
]


def test_columns_give_the_records_back():
    columns = Records.of(RECORDS)
    assert list(columns) == RECORDS == [columns[i] for i in range(len(RECORDS))]
    assert columns.slices[0] is columns.slices[3]


def test_parts_are_joined_in_order():
    joined = Records.joined([Records.of(RECORDS[:1]), Records.of(RECORDS[1:])])
    assert list(joined) == RECORDS
    assert joined.slices[0] is joined.slices[3]
    assert len(Records.joined([])) == 0


@pytest.mark.parametrize("records", [RECORDS, Records.of(RECORDS)], ids=["records", "columns"])
def test_a_line_is_the_json_of_its_record(records):
    assert list(record_lines(records)) == [json.dumps(r.to_json(), ensure_ascii=False) + "\n" for r in RECORDS]


def test_whole_numbers_among_the_values_stay_whole():
    (line,) = record_lines([Record("1", "1", "strict", "ok", values={"truths": 2})])
    assert '"truths": 2}' in line


def test_some_rows_hold_their_records_and_share_columns_with_those_of_another_protocol():
    columns, rows, taken = Records.of(RECORDS), np.array([3, 0]), {}
    part, other = columns.take(rows, taken), columns.take(rows, taken)
    assert (list(part), len(part)) == ([RECORDS[3], RECORDS[0]], 2)
    assert part.inter is other.inter
    assert list(part.take(np.array([1]))) == [RECORDS[0]]
    with pytest.raises(AttributeError, match="has no outer"):
        _ = part.outer


@pytest.mark.parametrize("names", [["1-2", '"\\\n é \U0001f600', "3", "4"], ["1-2", "another", "3", "4"]])
def test_columns_that_were_expected_are_kept_while_the_records_agree(names):
    expected = TextColumn(names)
    collected = Collected(["strict"], len(RECORDS), {"id": expected})
    for first in (0, 2):
        collected.add({"strict": Records.of(RECORDS[first : first + 2])})
    found = collected.records()["strict"]
    assert found.id.tolist() == [record.id for record in RECORDS]
    assert (found.id is expected) == (names == found.id.tolist())


def test_a_line_is_read_into_the_fields_of_a_record():
    known = {field.name: field for field in dataclasses.fields(Record)}
    fields = msgspec.structs.fields(record_file._Line)
    assert [field.name for field in fields] == list(known)
    assert [field.name for field in fields if field.required] == [
        name for name, field in known.items() if field.default is field.default_factory is dataclasses.MISSING
    ]


@pytest.mark.parametrize("shared", [True, False])
def test_records_are_read_back_and_protocols_share_what_is_equal(tmp_path, shared):
    count = record_file.BATCH + 3
    first = [replace(PLAIN, id=f"{i}", inter=i, slices={"targets": str(i % 3)}) for i in range(count)]
    second = [replace(record, protocol="official") for record in first]
    if not shared:
        second = [replace(record, id=f"{record.id}.", inter=record.inter + (record.id == "7")) for record in second]
    path = tmp_path / "records.jsonl"
    with record_file.RecordsWriter(path) as writer:
        writer.add({"strict": first, "official": second})
        writer.finish()
    found = record_file.read_records(path)
    assert {name: list(records) for name, records in found.items()} == {"strict": first, "official": second}
    one, other = found.values()
    assert (one.id is other.id, one.inter is other.inter) == (shared, shared)
    assert one.phrase is other.phrase
    assert one.union is other.union
    assert one.slices is other.slices


def test_a_sample_that_occurs_twice_is_named_with_its_line(tmp_path):
    path = tmp_path / "records.jsonl"
    twice = replace(PLAIN, protocol="official")
    path.write_text("".join(record_lines([PLAIN])) + "\n" + "".join(record_lines([twice, twice])))
    with pytest.raises(DataError, match=r"records\.jsonl:4: sample '1-2' occurs twice under official"):
        record_file.read_records(path)


def test_protocols_that_take_turns_are_read_as_well(tmp_path):
    path = tmp_path / "records.jsonl"
    rows = [replace(PLAIN, id=str(i), protocol=name) for i in range(3) for name in ("strict", "official")]
    path.write_text("".join(record_lines(rows)))
    found = record_file.read_records(path)
    assert {name: list(records) for name, records in found.items()} == {"strict": rows[::2], "official": rows[1::2]}
