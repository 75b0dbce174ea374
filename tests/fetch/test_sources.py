"""The table of sources: what it holds, and what it may not."""

from __future__ import annotations

import pytest

from samtok_eval.errors import DataError
from samtok_eval.fetch.download import Content, Patience
from samtok_eval.fetch.hub import hub_files
from samtok_eval.fetch.sources import read_sources, sources_of
from samtok_eval.registry import load_tasks
from tests.support.faulty_server import answers, hub_answer

TASKS = load_tasks()
SPLITS = [(name, split) for name, task in TASKS.items() for split in task.metadata.splits]
QUICK = Patience(tries=2, first_wait=0.001, timeout=5)


@pytest.mark.parametrize(("task", "split"), [pair for pair in SPLITS if pair != ("reconstruction", "folder")])
@pytest.mark.parametrize("via", ["original", "hub"])
def test_every_split_has_sources_under_either_choice(task, split, via):
    assert sources_of(read_sources(), task, split, via)


def test_every_source_names_tasks_and_splits_that_exist():
    known = set(TASKS) | {f"{name}:{split}" for name, split in SPLITS}
    for source in read_sources():
        assert set(source.tasks) <= known, source.address
        assert not source.named_by or source.named_by in known


def test_what_is_said_to_be_hashed_or_stated_has_a_hash_or_a_hub_that_gives_it():
    for source in read_sources():
        if source.kind in ("file", "zip"):
            assert (source.sha256 is not None) == (source.checked in ("hashed", "stated")), source.address


def test_files_of_a_task_are_those_that_its_card_names():
    for source in read_sources():
        targets = {"file": [source.path], "zip": list(source.members.values())}.get(source.kind, [])
        for task in source.tasks:
            folders = {file.split("/")[0] for file in TASKS[task.split(":")[0]].metadata.files}
            assert {target.split("/")[0] for target in targets} <= folders, source.address


def test_alternatives_exclude_each_other():
    for via, kind in (("original", "zip"), ("hub", "hub")):
        found = sources_of(read_sources(), "refcoco", "val", via)
        assert [source.kind for source in found] == [kind, "pictures"]
    # The Hub's data set has no training split.
    assert [source.kind for source in sources_of(read_sources(), "refcoco", "train", "hub")] == ["pictures", "zip"]


ROW = """[[source]]
tasks = ["gres"]
kind = "file"
address = "https://host/x.json"
path = "x.json"
licence = "none"
host = "somebody"
checked = "address"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("https://host/x.json", "file:///etc/passwd", "must begin with http"),
        ("https://host/x.json", "ftp://host/x", "must begin with http"),
        ('path = "x.json"', 'path = "../x.json"', "leads out of"),
        ('path = "x.json"', 'path = "/etc/x.json"', "leads out of"),
        ('path = "x.json"', "", "of kind file lacks a field"),
        ('"file"', '"zip"', "of kind zip lacks a field"),
        ('path = "x.json"', 'members = { "a" = "../b" }', "leads out of"),
        ('path = "x.json"', 'path = "x.json"\nsha256 = "abc"', "sha256"),
        ('path = "x.json"', 'path = "x.json"\ncolour = "red"', "colour"),
        ("[[source]]", "[[sources]]", "'source' is missing"),
        ("[[source]]", "[[source", "not a well-formed TOML"),
    ],
)
def test_a_table_that_would_lead_elsewhere_is_refused(tmp_path, old, new, message):
    path = tmp_path / "sources.toml"
    path.write_text(ROW)
    assert len(read_sources(path)) == 1
    path.write_text(ROW.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_sources(path)


FILES = {"data/val-1.parquet": b"large", "data/val-2.parquet": b"other", "README.md": b"card"}
API = "/api/datasets/own/set/revision/main"


def test_a_hub_s_files_are_those_of_one_commit_with_its_hashes(server):
    server.files[API] = hub_answer(FILES, "abc123", large=("data/val-1.parquet",))
    first, second = hub_files(f"{server.address}/datasets/own/set@main", "data/val-*", QUICK)
    assert first.address == f"{server.address}/datasets/own/set/resolve/abc123/data/val-1.parquet"
    assert first.content == Content(5, sha256="d35c416a85b807e9b5384915d6ebb4a9f7352713efd89857b45a242f473728a9")
    assert second.content == Content(5, git_blob="27fa34919ae70aa0d7eaccdfbf393cfc440e7d25")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (answers(401), "needs a sign-in"),
        (answers(200, b"<html>"), "something else than JSON"),
        (answers(200, b"[]"), "not that of a Hub"),
        (answers(200, b'{"sha": "x", "siblings": [{"rfilename": "data/val-1"}]}'), "'size' is missing|is missing"),
        (answers(200, hub_answer({"README.md": b""}, "x")), r"has no file data/val-\*"),
    ],
)
def test_what_is_no_hub_s_answer_is_one_error(server, answer, message):
    server.faults[API] = [answer]
    with pytest.raises(DataError, match=message):
        hub_files(f"{server.address}/datasets/own/set@main", "data/val-*", QUICK)


def test_a_hub_that_is_busy_is_asked_again_and_then_given_up(server):
    server.files[API] = hub_answer(FILES, "abc123")
    server.faults[API] = [answers(503)]
    assert len(hub_files(f"{server.address}/datasets/own/set@main", "data/*", QUICK)) == 2
    server.faults[API] = [answers(503), answers(503)]
    with pytest.raises(DataError, match="503 Service Unavailable after 2 tries; try again later"):
        hub_files(f"{server.address}/datasets/own/set@main", "data/*", QUICK)
