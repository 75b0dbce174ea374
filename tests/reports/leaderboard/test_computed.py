"""Every published number names what computes it, or why nothing does."""

from __future__ import annotations

import shutil

import pytest

from samtok_eval.errors import DataError
from samtok_eval.registry import load_tasks
from samtok_eval.reports.leaderboard.authors import AUTHORS_FILE
from samtok_eval.reports.leaderboard.computed import COLUMNS, COMPUTED_BY_FILE, check_published, check_table
from samtok_eval.reports.leaderboard.published_file import PublishedValue, read_published
from tests.support.command import command
from tests.support.results import PAPER, PUBLISHED

HEAD = ",".join(COLUMNS)
RIGHT = "B,val,gIoU,,gres,val,,giou,official,"


def printed(method="A", split="val"):
    return PublishedValue("B", split, "gIoU", method, "", "1.0", "own", PAPER)


@pytest.fixture(scope="module")
def tasks():
    return load_tasks()


def check(tmp_path, tasks, lines, rows):
    path = tmp_path / COMPUTED_BY_FILE
    path.write_text("\n".join([HEAD, *lines]) + "\n")
    return check_published(rows, path, tasks)


def test_every_published_number_has_a_task_or_a_reason(tasks):
    rows = read_published(PUBLISHED)
    found = check_published(rows, PUBLISHED.parent / COMPUTED_BY_FILE, tasks)
    assert [row for row, _ in found] == rows and all(lines for _, lines in found)
    assert sum(int(str(row[1])) for row in check_table(found).rows) == len(rows)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "1 published numbers have neither a task nor a reason, first B, val, gIoU, A"),
        (["B,val,gIoU,,gress,val,,giou,official,"], ":2: unknown task 'gress'"),
        (["B,val,gIoU,,gres,test,,giou,official,"], ":2: gres has no split 'test'"),
        (["B,val,gIoU,,gres,val,,miou,official,"], ":2: gres has no metric 'miou'"),
        (["B,val,gIoU,,gres,val,,giou,lenient,"], ":2: gres has no protocol 'lenient'"),
        (["B,val,gIoU,,gres,val,,giou,,"], ":2: protocol is empty"),
        (["B,val,gIoU,,gres,val,round,giou,official,"], ":2: slice 'round' must be NAME=VALUE"),
        (["B,val,gIoU,,gres,val,,giou,official,no scorer"], ":2 has both a reason and a task"),
        ([RIGHT, "B,testA,gIoU,,gres,testA,,giou,official,"], ":3 is about no published number"),
        (["B,val"], ":2: expected 10 fields, got 2"),
    ],
)
def test_what_names_nothing_that_can_run_is_refused_with_its_line(tmp_path, tasks, lines, message):
    with pytest.raises(DataError) as caught:
        check(tmp_path, tasks, lines, [printed()])
    assert message in str(caught.value)


def test_the_line_that_names_most_of_a_method_counts(tmp_path, tasks):
    lines = [RIGHT, "B,val,gIoU,mine,gres,val,,giou,samtok,", "B,val,gIoU,Mine (rl),gres,val,,giou,samtok_rl,"]
    found = check(tmp_path, tasks, lines, [printed("A"), printed("Mine"), printed("Mine (rl)")])
    assert [line.protocol for _, mine in found for line in mine] == ["official", "samtok", "samtok_rl"]


def test_a_mean_of_splits_has_a_line_for_each(tmp_path, tasks):
    lines = [f"B,avg,gIoU,,gres,{split},,giou,official," for split in ("val", "testA")]
    ((_, mine),) = check(tmp_path, tasks, lines, [printed(split="avg")])
    assert [line.task_split for line in mine] == ["val", "testA"]


def test_the_command_shows_benchmarks_and_reasons_or_ends_with_code_2(tmp_path):
    for name in (PUBLISHED.name, COMPUTED_BY_FILE):
        shutil.copy(PUBLISHED.parent / name, tmp_path)
    done = command("leaderboard", "check", "--folder", tmp_path)
    assert done.returncode == 0 and "gres:val official" in done.stdout and "lemmatised words" in done.stdout
    assert "891 numbers: 434 of the method's own paper" in done.stdout and "trust was not checked" in done.stdout
    shutil.copy(PUBLISHED.parent / AUTHORS_FILE, tmp_path)
    done = command("leaderboard", "check", "--folder", tmp_path)
    assert done.returncode == 0 and "trust was not checked" not in done.stdout
    (tmp_path / AUTHORS_FILE).write_text("kind,name,source\n")
    done = command("leaderboard", "check", "--folder", tmp_path)
    assert done.returncode == 2 and "651 published numbers have another trust" in done.stderr
    (tmp_path / AUTHORS_FILE).unlink()
    (tmp_path / COMPUTED_BY_FILE).write_text(HEAD + "\n")
    done = command("leaderboard", "check", "--folder", tmp_path)
    assert done.returncode == 2 and "891 published numbers have neither" in done.stderr


def test_away_from_a_checkout_the_program_s_own_files_are_checked_and_a_named_folder_never_replaced(tmp_path):
    done = command("leaderboard", "check", cwd=tmp_path)
    assert done.returncode == 0 and "gres:val official" in done.stdout
    done = command("leaderboard", "check", "--folder", "mine", cwd=tmp_path)
    assert (done.returncode, "published.csv is missing" in done.stderr) == (2, True)
