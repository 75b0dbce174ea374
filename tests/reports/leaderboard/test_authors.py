"""Whose number a published one is follows from its source, for every row of the shipped file."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest

from samtok_eval.errors import DataError
from samtok_eval.reports.leaderboard.authors import AUTHORS_FILE, Authors, check_trust, read_authors
from samtok_eval.reports.leaderboard.build import checked_published
from samtok_eval.reports.leaderboard.published_file import read_published, wrong_address
from tests.support.results import PAPER, PUBLISHED, printed

AUTHORS = read_authors(PUBLISHED.parent / AUTHORS_FILE)
ROWS = read_published(PUBLISHED)


@pytest.mark.parametrize("trust", ["own", "benchmark", "copied"])
def test_every_row_of_a_class_has_the_source_that_makes_it_one(trust):
    rows = [row for row in ROWS if row.trust == trust]
    assert len(rows) > 200
    assert {AUTHORS.trust(row) for row in rows} == {trust}


def test_another_class_is_refused_by_name():
    rows = [replace(ROWS[0], trust="own"), *ROWS[1:]]
    with pytest.raises(DataError, match=r"^1 published numbers have another trust .* first BuboGPT on GCG: "):
        check_trust(rows, AUTHORS)


def test_the_folder_is_checked_whole(tmp_path):
    (tmp_path / PUBLISHED.name).write_text(PUBLISHED.read_text())
    assert checked_published(tmp_path) == ROWS
    (tmp_path / AUTHORS_FILE).write_text("kind,name,source\n")
    with pytest.raises(DataError, match="published numbers have another trust"):
        checked_published(tmp_path)


@pytest.mark.parametrize(
    ("method", "source", "trust"),
    [
        ("GLaMM (ft)", "https://github.com/a/glamm/blob/0123456/table.png", "own"),
        ("GLaMM (ft)", "https://github.com/a/glamm-more", "copied"),
        ("LISA", "https://github.com/a/glamm", "copied"),
        ("LISA (as GLaMM ran it)", "https://github.com/a/glamm", "copied"),
        ("GLaMMer", "https://github.com/a/glamm", "copied"),
        ("GLaMM-2", "https://github.com/a/glamm", "copied"),
        ("LISA", f"{PAPER}v2", "benchmark"),
        ("LISA", f"{PAPER}1", "copied"),
    ],
)
def test_a_source_belongs_to_a_method_or_a_benchmark_or_to_neither(method, source, trust):
    authors = Authors(
        (
            ("method", "GLaMM", "https://github.com/a/glamm"),
            ("method", "GLaMM-2", "https://github.com/a/two"),
            ("benchmark", "RefCOCO", PAPER),
        )
    )
    assert authors.trust(printed((method, "1"), source=source)[0]) == trust


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("Qwen3-VL-4B-SAMTok (re-run by CycleGRPO authors)", "SAMTok"),
        ("Sa2VA-CMA", "Sa2VA-CMA"),
        ("Sa2VA-InternVL3-2B", "Sa2VA"),
        ("LISA* (adapted to GCG)", "LISA"),
        ("u-LLaVA", "u-LLaVA"),
    ],
)
def test_a_name_is_a_variant_of_one_method(name, method):
    assert AUTHORS.method(name) == method


def test_numbers_of_samtoks_own_paper_name_it_and_the_digest_that_was_seen():
    rows = [row for row in ROWS if AUTHORS.method(row.method) == "SAMTok" and row.trust == "own"]
    assert Counter((row.source, bool(row.via)) for row in rows) == {("https://arxiv.org/abs/2601.16093", True): 18}
    assert {row.marks for row in rows} == {"§"}


@pytest.mark.parametrize(
    ("address", "form"),
    [
        (PAPER, None),
        ("https://arxiv.org/abs/2501.04001v1", None),
        ("https://github.com/a/b.c", None),
        ("https://github.com/a/b/blob/0123456/x/y.png", None),
        ("https://huggingface.co/datasets/a/b", None),
        ("https://www.example.org/paper/1", None),
        ("http://arxiv.org/abs/2401.00001", "HOST"),
        ("https://arxiv.org/pdf/2401.00001", "arxiv.org/abs/NUMBER"),
        ("https://github.com/a/b/blob/main/x", "at a commit"),
        ("https://github.com/a", "OWNER/NAME"),
        ("https://huggingface.co/a", "OWNER/NAME"),
        ("https://a.org/x y", "HOST"),
        ('https://a.org/"onclick', "HOST"),
        ("javascript:alert(1)", "HOST"),
        ("GLaMM's repository", "HOST"),
    ],
)
def test_an_address_has_the_form_of_its_host(address, form):
    found = wrong_address(address)
    assert found is None if form is None else form in found


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("paper,A,https://arxiv.org/abs/2401.00001", ":2: expected method or benchmark"),
        ("method,,https://arxiv.org/abs/2401.00001", ":2: expected method or benchmark and its name"),
        ("method,A,A's paper", ":2: source must be an address"),
        ("method,A", ":2: expected 3 fields, got 2"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, message):
    path = tmp_path / AUTHORS_FILE
    path.write_text(f"kind,name,source\n{line}\n")
    with pytest.raises(DataError, match=re.escape(message)):
        read_authors(path)
