"""Leaderboards: columns of the papers, marks among comparable rows only, and a folder that is built anew."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samtok_eval.errors import DataError
from samtok_eval.registry import load_tasks
from samtok_eval.reports.leaderboard.build import build
from samtok_eval.reports.leaderboard.published_file import COLUMNS, PublishedValue, read_published
from samtok_eval.reports.leaderboard.table import MEASURED, PUBLISHED, Section, Source, Table, mark_column, sections
from samtok_eval.reports.leaderboard.text import csv_text, section_slug
from samtok_eval.reports.result_file import default_split
from tests.support.results import OTHER_PAPER, PAPER, REPOSITORY, printed, result, two_and_a_third, value
from tests.support.results import PUBLISHED as PUBLISHED_CSV


@pytest.fixture(scope="module")
def tasks():
    return load_tasks()


@pytest.fixture(scope="module")
def shipped(tasks):
    return sections(read_published(PUBLISHED_CSV), [], tasks)


def tables(found: list[Section], name: str) -> tuple[Table, ...]:
    return next(section.tables for section in found if section.name == name)


def write_csv(path: Path, rows: list[PublishedValue]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([getattr(row, name) for name in COLUMNS] for row in rows)


# What papers print


@pytest.mark.parametrize(
    ("title", "columns", "first", "rows"),
    [
        (
            "GRES (gRefCOCO)",
            [(split, metric) for split in ("val", "testA", "testB") for metric in ("gIoU", "cIoU", "N-acc")],
            ("CycleGRPO (release ckpt)", ["82.2", "74.8", "94.7", "80.3", "78.2", "93.0", "73.5", "70.2", "89.9"]),
            20,
        ),
        (
            "RefCOCO",
            [("val", "cIoU"), ("testA", "cIoU"), ("testB", "cIoU")],
            ("ARGenSeg (ft)", ["86.3", None, None]),
            38,
        ),
        ("RefCOCOg", [("val(U)", "cIoU"), ("test(U)", "cIoU")], ("Sa2VA-InternVL3-14B", ["83.6", None]), 37),
        (
            "GCG",
            [(split, metric) for split in ("val", "test") for metric in ("METEOR", "CIDEr", "AP50", "mIoU", "Recall")],
            ("Qwen25VL-SAMTok (rl)", [None, None, "41.5", "73.5", "53.5", None, None, None, None, None]),
            12,
        ),
    ],
)
def test_published_tables_have_the_papers_columns_and_their_best_row_first(shipped, title, columns, first, rows):
    table = tables(shipped, title)[0]
    assert [(column.split, column.metric) for column in table.columns] == columns
    assert (table.rows[0].name, [cell and cell.text for cell in table.rows[0].cells]) == first
    assert len(table.rows) == rows
    in_file = [row for row in read_published(PUBLISHED_CSV) if row.benchmark == title]
    methods = {(row.method, row.params) for row in in_file if (row.split, row.metric) in columns}
    assert {(row.name, row.size) for row in table.rows} == methods


@pytest.mark.parametrize(
    ("title", "number", "main"),
    [
        ("GCG", 0, ("val", "AP50")),
        ("GroundingSuite-Eval", 0, ("All", "gIoU")),
        ("DLC-Bench", 0, ("Llama-3.1-8B judge, text only", "Avg")),
        ("PSG", 0, ("test", "R@20")),
        ("PSG (open-ended, text)", 0, ("test", "Recall")),
    ],
)
def test_rows_stand_best_first_by_the_column_that_the_benchmark_is_known_by(shipped, title, number, main):
    table = tables(shipped, title)[number]
    column = table.columns[table.main]
    assert (column.split, column.metric) == main
    values = [row.cells[table.main] and row.cells[table.main].value for row in table.rows]
    known = [value for value in values if value is not None]
    assert values[: len(known)] == sorted(known, reverse=True) == known
    assert not table.ranked, "published numbers have no intervals"


def test_every_published_number_stands_once_with_its_source(shipped):
    expected = sorted(tuple(getattr(row, name) for name in COLUMNS) for row in read_published(PUBLISHED_CSV))
    lines = csv.DictReader(csv_text(shipped).splitlines())
    assert sorted(tuple(line[name] for name in COLUMNS) for line in lines) == expected
    assert len(expected) == 891


def test_a_benchmark_with_a_comma_in_its_name_is_one(shipped):
    table = tables(shipped, "PSG (open-ended, text)")[0]
    assert {row.name for row in table.rows} == {"ASMv2", "TextPSG"}
    assert not table.columns[2].ranked


def test_judges_and_inferred_splits_have_tables_of_their_own(shipped):
    assert [table.title for table in tables(shipped, "DLC-Bench")] == [
        "DLC-Bench, published, Llama-3.1-8B judge, text only",
        "DLC-Bench, published, GPT-4o-2024-11-20 judge with crop+mask",
        "DLC-Bench, published, Llama-3.1-8B judge, text only (judge inferred)",
    ]
    assert [table.title for table in tables(shipped, "GCG")] == ["GCG, published", "GCG, published, val (inferred)"]


def test_two_sources_of_one_method_are_two_rows(tasks):
    rows = printed(("A", "70.0")) + printed(("A", "71.0"), source=OTHER_PAPER, trust="copied")
    rows += printed(("A", "72.0"), via=OTHER_PAPER)
    table = sections(rows, [], tasks)[0].tables[0]
    assert [(row.name, row.trust, row.sources, row.marks) for row in table.rows] == [
        ("A", "own", (Source("", PAPER, OTHER_PAPER),), "§"),
        ("A", "copied", (Source("", OTHER_PAPER),), "†"),
        ("A", "own", (Source("", PAPER),), ""),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("benchmark,split\n", "expected the columns benchmark,split,metric"),
        (f"RefCOCO,val,cIoU,A, B,7B,70,own,{PAPER},,\n", ":2: expected 10 fields, got 11; quote"),
        (f"RefCOCO,val,cIoU,A,7B,high,own,{PAPER},,\n", ":2: value must be a number, got 'high'"),
        (f"RefCOCO,val,cIoU,A,7B,nan,own,{PAPER},,\n", ":2: value must be a number, got 'nan'"),
        (f"RefCOCO,val,cIoU,A,7B,70,hearsay,{PAPER},,\n", ":2: trust must be own, benchmark or copied"),
        ("RefCOCO,val,cIoU,A,7B,70,own,,,\n", ":2: source is empty"),
        ("RefCOCO,val,cIoU,A,7B,70,own,a paper,,\n", ":2: source must be an address https://HOST/PATH; got 'a paper'"),
        (f"RefCOCO,val,cIoU,A,7B,70,own,{PAPER},a blog,\n", ":2: via must be an address"),
        (f"RefCOCO,val,cIoU,A,7B,70,own,{PAPER},,\nRefCOCO,val,cIoU,A,7B,71,own,{PAPER},,p. 3\n", ":3 repeats line 2"),
        ('RefCOCO,val,cIoU,"A"b,7B,70,own,x,,\n', "not a readable CSV file"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, text, message):
    path = tmp_path / "published.csv"
    path.write_text(text if text.startswith("benchmark") else f"{','.join(COLUMNS)}\n{text}")
    with pytest.raises(DataError, match=re.escape(message)):
        read_published(path)


# What may be compared


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        ([70.0, 71.0, 69.0], ["second", "best", ""]),
        ([70.0, None, 69.0], ["best", "", "second"]),
        ([70.0, 70.0, 69.0], ["best", "best", "second"]),
        ([70.0, 69.0, 69.0], ["best", "second", "second"]),
        ([70.0, 70.0], ["best", "best"]),
        ([70.0, None], ["", ""]),
        ([None], [""]),
        ([], []),
    ],
)
def test_marks(values, marks):
    assert mark_column(values) == marks


def test_another_protocol_never_shares_a_column(tasks):
    both = {"strict": {"ciou": value(0.6)}, "samtok": {"ciou": value(0.9)}}
    found = sections(
        printed(("A", "70.0"), ("B", "75.0")),
        [result("o/x", task="refcoco", protocols=both), result("o/y", task="refcoco", protocols=both)],
        tasks,
    )
    assert [(table.protocol, {row.trust for row in table.rows}) for table in found[0].tables] == [
        (PUBLISHED, {"own"}),
        ("strict", {MEASURED}),
        ("samtok", {MEASURED}),
    ]
    assert [(row.name, row.cells[0].mark) for row in found[0].tables[0].rows] == [("B", "best"), ("A", "second")]
    assert [cell.text for row in found[0].tables[1].rows for cell in row.cells] == ["60.0 ±2.0"] * 2


@pytest.mark.parametrize(
    ("one", "other", "titles"),
    [
        ({}, {}, ["val"]),
        ({}, {"sha256": "cd" * 32}, ["val (questions abababab)", "val (questions cdcdcdcd)"]),
        ({}, {"task_version": 2}, ["val (task version 1)", "val (task version 2)"]),
        ({}, {"history": "pred"}, ["val", "val (the model's own earlier masks)"]),
        ({"split": "testB"}, {"split": "val"}, ["val", "testB"]),
    ],
)
def test_other_questions_never_share_a_column(tasks, one, other, titles):
    protocols = {"strict": {"giou": value(0.6)}}
    results = [result("o/x", protocols=protocols, **one), result("o/y", protocols=protocols, **other)]
    table = sections([], results, tasks)[0].tables[0]
    assert [column.split for column in table.columns] == titles
    assert sum(cell is not None for row in table.rows for cell in row.cells) == 2


def test_each_judge_has_columns_of_its_own(tasks):
    def judged(name: str, judge: str):
        metrics = {f"dlc_{part}|{judge}": value(0.5) for part in ("pos", "neg", "avg")} | {"empty": value(0.0)}
        return result(name, task="region_caption", split="dlc", protocols={"strict": metrics})

    table = sections([], [judged("o/x", "llama"), judged("o/y", "gpt")], tasks)[0].tables[0]
    assert [column.metric for column in table.columns] == [
        f"dlc {part} ({judge})" for part in ("pos", "neg", "avg") for judge in ("llama", "gpt")
    ]
    assert not any(cell.mark for row in table.rows for cell in row.cells if cell)


def test_the_demo_never_stands_beside_published_rows(tasks):
    found = sections(printed(("A", "70.0")), [result(demo=True), result("o/real", task="refcoco", demo=False)], tasks)
    assert [(section.title, section.demo) for section in found] == [
        ("RefCOCO", False),
        ("DEMO (synthetic scenes) in the format of GRES (gRefCOCO)", True),
    ]
    demo = [section for section in found if section.demo]
    assert [row.name for section in demo for table in section.tables for row in table.rows] == ["org/model"]
    assert all(table.title.startswith("DEMO (synthetic scenes, not") for s in demo for table in s.tables)
    assert all(row.name != "org/model" for s in found if not s.demo for table in s.tables for row in table.rows)


def test_splits_of_one_model_share_a_row_and_revisions_do_not(tasks):
    results = [result(), result(split="testA"), result(revision="def456")]
    table = sections([], results, tasks)[0].tables[0]
    assert [(row.name, row.revision, sum(c is not None for c in row.cells)) for row in table.rows] == [
        ("org/model", "abc123", 6),
        ("org/model", "def456", 3),
    ]


def test_a_task_without_a_layout_shows_all_its_metrics(tasks):
    own = result(task="someones_own", protocols={"strict": {"b": value(0.5), "a": value(0.4)}})
    table = sections([], [own], tasks)[0].tables[0]
    assert [column.metric for column in table.columns] == ["b", "a"]


# The folder


@pytest.fixture
def folder(tmp_path, tasks):
    write_csv(tmp_path / "published.csv", two_and_a_third())
    for one in (
        result(),
        result("o/x", task="refcoco", protocols={"strict": {"ciou": value(0.5)}}),
        result(demo=True, revision="d"),
    ):
        path = tmp_path / "results" / one.place(default_split(tasks, one.task))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(one.model_dump_json())
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_build_writes_every_form_and_twice_the_same_bytes(folder):
    written = build(folder)
    assert {path.relative_to(folder).as_posix() for path in written} == {
        "README.md",
        "index.html",
        "leaderboard.csv",
        "leaderboard.json",
        "tables/gres-grefcoco.tex",
        "tables/refcoco.tex",
        "tables/demo-gres-grefcoco.tex",
        *(f"methods/{name}.html" for name in ("low", "high", "mid", "o-x", "org-model")),
    }
    before = contents(folder)
    build(folder)
    assert contents(folder) == before


def test_the_bytes_do_not_depend_on_the_hash_seed(folder):
    found = []
    for seed in ("1", "2"):
        code = "from pathlib import Path; from samtok_eval.reports.leaderboard.build import build; "
        code += f"build(Path({str(folder)!r}))"
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, cwd=REPOSITORY, check=True)
        found.append(contents(folder))
    assert found[0] == found[1]


def test_tables_that_are_gone_are_removed_and_other_files_kept(folder):
    build(folder)
    (folder / "tables" / "mine.tex").write_text("% my own table\n")
    (folder / "methods" / "mine.html").write_text("<!doctype html>\n")
    shutil.rmtree(folder / "results")
    build(folder)
    assert sorted(path.name for path in (folder / "tables").iterdir()) == ["mine.tex", "refcoco.tex"]
    found = sorted(path.name for path in (folder / "methods").iterdir())
    assert found == ["high.html", "low.html", "mid.html", "mine.html"]


def test_the_machine_readable_forms_agree(folder):
    build(folder)
    lines = list(csv.DictReader((folder / "leaderboard.csv").read_text().splitlines()))
    found = json.loads((folder / "leaderboard.json").read_text())
    numbers = [
        float(cell["value"])
        for section in found["sections"]
        for table in section["tables"]
        for row in table["rows"]
        for cell in row["cells"]
        if cell
    ]
    assert [float(line["value"]) for line in lines] == pytest.approx(numbers)
    ours = next(line for line in lines if line["method"] == "o/x")
    assert (ours["value"], ours["low"], ours["n"], ours["protocol"]) == ("50.0", "48.0", "100", "strict")


def test_a_folder_without_numbers_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds neither published\.csv nor results/"):
        build(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_benchmarks_of_one_file_name_are_refused(tmp_path):
    names = ("My bench", "My-bench")
    write_csv(tmp_path / "published.csv", [PublishedValue(n, "val", "cIoU", "A", "", "1", "own", PAPER) for n in names])
    with pytest.raises(DataError, match=r"would be written to my-bench\.tex"):
        build(tmp_path)


def test_every_layout_has_a_file_name_of_its_own(shipped):
    slugs = [section_slug(section) for section in shipped]
    assert len(set(slugs)) == len(slugs)
    assert {"refcoco", "refcoco-plus", "refcocog"} <= set(slugs)


def test_the_shipped_leaderboard_is_what_its_inputs_give(tmp_path):
    source = REPOSITORY / "leaderboards"
    for name in ("published.csv", "computed_by.csv", "authors.csv"):
        shutil.copy(source / name, tmp_path)
    shutil.copytree(source / "results", tmp_path / "results")
    build(tmp_path)
    assert contents(tmp_path) == contents(source), "run `samtok-eval leaderboard build`"


def test_leaderboards_import_nothing_heavy():
    code = (
        "import sys, samtok_eval.reports.leaderboard.build, samtok_eval.reports.leaderboard.publish\n"
        "heavy = ('torch', 'transformers', 'sam2', 'evaluate', 'matplotlib', 'huggingface_hub')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.strip() == "[]"
