"""Runs are shown to browsers of this machine alone, and written as a site that needs no server."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from samtok_eval.errors import DataError, UsageError
from samtok_eval.reports.server import Server
from samtok_eval.reports.site import Site, compared, pairs
from samtok_eval.reports.static_site import export_site
from tests.conftest import edit_manifest, right, shifted
from tests.support.command import command

HOSTILE = '"><img src=x onerror=1>\u202e'
FEW = 12
TYPES = {
    "index.html": "text/html",
    "index.js": "text/javascript",
    "shards/0.js": "text/javascript",
    "pictures/0.jpg": "image/jpeg",
}
NOWHERE = (
    "/../manifest.json",
    "/runs/../../etc/passwd",
    "/runs/{name}/../../index.html",
    "/runs/{name}/%2e%2e/%2e%2e/manifest.json",
    "/runs/{name}/samples/..%2f..%2findex.html",
    "/runs/{name}//etc/passwd.html",
    "/runs/{name}/manifest.json",
    "/runs/{name}/samples/link.html",
    "/runs/none/index.html",
    "/compare/{key}-{key}/index.html",
    "/compare/0123456789ab-0123456789ab/index.html",
    "/nothing",
)
HOSTS = {"localhost:9000": 200, "127.0.0.1": 200, "evil.example": 421, "127.0.0.1.evil.example": 421, "[::1": 421}


@contextmanager
def serving(site, tmp_path):
    """A server, and a function that asks it."""
    server = Server(site, 0, tmp_path / "cache")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def ask(path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        body = reply.read()
        connection.close()
        return reply, body.decode("utf-8", "replace")

    try:
        yield ask, server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def listing(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def runs(make_run, tmp_path):
    """Two runs of the same questions and one of others."""
    make_run("gres/val/first/aaaa", right, limit=FEW)
    make_run("gres/val/second/bbbb", shifted(3), limit=FEW)
    make_run("refcoco/val/first/cccc", right, limit=FEW, task="refcoco")
    return tmp_path / "runs"


@pytest.fixture
def site(runs):
    return Site(runs)


def by_place(site):
    return {run.place: run for run in site.runs()}


def test_a_run_opens_with_all_its_samples_and_two_compare_and_nothing_is_written_beside_them(site, runs, tmp_path):
    before = listing(runs)
    first, second = (by_place(site)[name] for name in ("gres/val/first/aaaa", "gres/val/second/bbbb"))
    with serving(site, tmp_path) as (ask, _):
        reply, listed = ask("/")
        assert reply.status == 200 and f'href="runs/{first.name}/index.html"' in listed
        reply, page = ask(f"/runs/{first.name}/index.html")
        assert reply.status == 200 and '<a href="../../index.html">All runs</a>' in page
        for file, kind in TYPES.items():
            reply, _ = ask(f"/runs/{first.name}/samples/{file}")
            assert reply.status == 200 and reply.headers["Content-Type"].startswith(kind)
        reply, page = ask(f"/compare/{compared(first, second)}/index.html")
        assert reply.status == 200 and "gres:val, gres/val/second/bbbb against gres/val/first/aaaa" in page
        assert ask(f"/runs/{first.name}")[0].headers["Location"] == f"/runs/{first.name}/index.html"
    assert listing(runs) == before


def test_what_a_run_is_made_of_decides_whether_its_page_is_made_anew(site, runs, tmp_path):
    name = by_place(site)["gres/val/first/aaaa"].name
    with serving(site, tmp_path) as (ask, server):
        for _ in range(2):
            ask(f"/runs/{name}/index.html")
        made = sorted((tmp_path / "cache").iterdir())
        assert len(made) == 1
        (runs / "gres/val/first/aaaa/records.jsonl").touch()
        ask(f"/runs/{name}/index.html")
        assert len(list((tmp_path / "cache").iterdir())) == 2
        # Nobody asked for long.
        os.utime(made[0] / "index.html", (0, 0))
        server.pages.forget()
        assert made[0] not in list((tmp_path / "cache").iterdir())


def test_new_runs_and_unfinished_and_broken_ones_are_in_the_list_at_once(site, runs, make_run, tmp_path):
    with serving(site, tmp_path) as (ask, _):
        make_run("gres/val/third/dddd", right, limit=FEW)
        edit_manifest(runs / "gres/val/second/bbbb", lambda manifest: manifest.update(state="predicting"))
        broken = make_run("gres/val/fourth/eeee", right, limit=FEW)
        (broken / "manifest.json").write_text("{")
        _, listed = ask("/")
        assert re.findall('data-state="([a-z]+)"', listed) == [
            "complete",
            "predicting",
            "complete",
            "complete",
            "broken",
        ]
        second, fourth = (by_place(site)[name] for name in ("gres/val/second/bbbb", "gres/val/fourth/eeee"))
        assert f"runs/{second.name}" not in listed and "is not valid JSON" in listed
        for run, reason in ((second, "is predicting, not complete"), (fourth, "is not valid JSON")):
            reply, page = ask(f"/runs/{run.name}/index.html")
            assert reply.status == 409 and reason in page


def test_only_reading_is_answered_and_only_under_our_own_names(site, tmp_path):
    with serving(site, tmp_path) as (ask, server):
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "MOVE"):
            reply, _ = ask("/", method)
            assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")
        reply, body = ask("/", "HEAD")
        assert reply.status == 200 and int(reply.headers["Content-Length"]) > 1000 and not body
        for host, status in HOSTS.items():
            assert ask("/", Host=host)[0].status == status
        for name, value in (("X-Content-Type-Options", "nosniff"), ("Cross-Origin-Resource-Policy", "same-origin")):
            assert reply.headers[name] == value
        policy = reply.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'") and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert server.server_address[0] == "127.0.0.1"


def test_an_address_leads_to_files_of_a_page_alone(site, tmp_path):
    run = site.runs()[0]
    (tmp_path / "secret.html").write_text("secret")
    with serving(site, tmp_path) as (ask, server):
        (server.pages.of([run]) / "samples" / "link.html").symlink_to(tmp_path / "secret.html")
        assert ask(f"/runs/{run.name}/samples/index.html")[0].status == 200
        for path in NOWHERE:
            reply, body = ask(path.format(name=run.name, key=run.key))
            assert reply.status == 404 and "secret" not in body, path


def test_a_run_whose_files_lie_elsewhere_is_not_shown(site, runs, make_run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(runs / "gres/val/first/aaaa", elsewhere)
    (runs / "gres/val/first/aaaa").mkdir()
    for file in ("manifest.json", "metrics.json", "records.jsonl", "predictions"):
        (runs / "gres/val/first/aaaa" / file).symlink_to(elsewhere / file)
    (runs / "gres/val/linked").symlink_to(elsewhere)
    found = [run for run in site.runs() if "second" not in run.place and "refcoco" not in run.place]
    assert [(run.place, run.listed.state) for run in found] == [("gres/val/first/aaaa", "broken")]
    with serving(site, tmp_path) as (ask, _):
        reply, page = ask(f"/runs/{found[0].name}/index.html")
        assert reply.status == 409 and "leads out of" in page


def test_a_page_that_lies_in_a_run_folder_is_not_shown(site, runs, tmp_path):
    (runs / "gres/val/first/aaaa/report").mkdir()
    (runs / "gres/val/first/aaaa/report/index.html").write_text("<script>1</script>planted")
    with serving(site, tmp_path) as (ask, _):
        assert "planted" not in ask(f"/runs/{by_place(site)['gres/val/first/aaaa'].name}/index.html")[1]


def test_names_of_strangers_stay_text(make_run, tmp_path):
    make_run(f"gres/val/{HOSTILE}/aaaa", right, limit=FEW)
    site = Site(tmp_path / "runs")
    (run,) = site.runs()
    page = site.list_page([run])
    assert re.fullmatch(r"[A-Za-z0-9._+-]+", run.name)
    assert "<img" not in page and "\u202e" not in page and "&lt;img src=x onerror=1&gt;\\u202e" in page


# A site of files


def test_an_export_holds_every_page_and_links_within_itself(site, tmp_path):
    to = tmp_path / "site"
    assert export_site(site, to) == to / "index.html"
    files = listing(to)
    told = json.loads(files["site.json"])
    assert {*told["files"], "site.json"} == set(files)
    assert len([name for name in files if re.fullmatch("runs/[^/]*/index.html", name)]) == 3
    (couple,) = pairs(site.runs())
    assert f"compare/{compared(*couple)}/samples/index.html" in files
    for name, content in files.items():
        if name.endswith(".html"):
            links = re.findall(r'(?:href|src)="([^"#]+)', content.decode())
            assert "data-earlier-first" in content.decode() or name != "index.html"
            for link in links:
                if not link.startswith("data:"):
                    assert (to / name).parent.joinpath(link).resolve().is_relative_to(to)
                    assert (to / name).parent.joinpath(link).is_file(), (name, link)
    # Again, over itself; of runs that are gone nothing stays.
    shutil.rmtree(site.folder / "refcoco")
    export_site(site, to)
    assert len(list((to / "runs").iterdir())) == 2
    assert [path.name for path in tmp_path.glob(".site*")] == []


def test_the_earlier_of_two_runs_is_the_baseline_and_only_equal_questions_are_compared(site, runs):
    for place, hour in (("first/aaaa", "12"), ("second/bbbb", "11")):
        edit_manifest(runs / "gres/val" / place, lambda m, h=hour: m["times"].update(finished=f"2026-01-01T{h}:00:00"))
    assert [(one.place, other.place) for one, other in pairs(site.runs())] == [
        ("gres/val/second/bbbb", "gres/val/first/aaaa")
    ]


def test_a_folder_with_other_files_is_never_written_to(site, tmp_path):
    to = tmp_path / "site"
    to.mkdir()
    (to / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds other files, mine\.txt first"):
        export_site(site, to)
    (to / "mine.txt").unlink()
    (to / "elsewhere").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="holds other files, elsewhere first"):
        export_site(site, to)
    for wrong in (to / "elsewhere", tmp_path / "file"):
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match="a folder of its own"):
            export_site(site, wrong)
    assert list(to.iterdir()) == [to / "elsewhere"]


def test_a_failed_export_leaves_the_earlier_one(site, tmp_path, monkeypatch):
    to = tmp_path / "site"
    to.mkdir()
    (to / "site.json").write_text(json.dumps({"written_by": "samtok-eval view --export", "files": ["index.html"]}))
    (to / "index.html").write_text("earlier")
    monkeypatch.setattr(Site, "read", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_site(site, to)
    assert (to / "index.html").read_text() == "earlier" and not list(tmp_path.glob(".site*"))


def test_a_run_that_allows_no_report_has_a_page_that_says_why(site, runs, tmp_path):
    records = runs / "gres/val/first/aaaa/records.jsonl"
    records.write_text(records.read_text().replace('"inter": ', '"inter": 9', 1))
    export_site(Site(runs, samples=False), tmp_path / "site")
    name = by_place(site)["gres/val/first/aaaa"].name
    assert "This page cannot be made" in (tmp_path / "site" / "runs" / name / "index.html").read_text()


def test_a_folder_without_runs_is_refused_where_nothing_could_come_later(tmp_path):
    with pytest.raises(DataError, match="there is none"):
        Site(tmp_path / "none")
    (tmp_path / "runs").mkdir()
    with pytest.raises(DataError, match="holds no finished run"):
        export_site(Site(tmp_path / "runs"), tmp_path / "site")
    assert "There is no run here yet" in Site(tmp_path / "runs").list_page([])


# The command


def test_ctrl_c_ends_it_with_its_code_and_one_line(runs):
    words = [sys.executable, "-m", "samtok_eval", "view", str(runs), "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    told = process.stdout.readline()
    assert re.search(r"http://127\.0\.0\.1:\d+/", told)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "error: interrupted\n")


def test_a_port_that_is_taken_and_a_folder_that_is_not_there_are_one_line(runs, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = command("view", runs, "--port", str(other.getsockname()[1]))
    assert done.returncode == 1 and "is taken; give another --port" in done.stderr and done.stderr.count("\n") == 1
    assert command("view", tmp_path / "none").returncode == 2


def test_task_files_of_the_user_are_known_to_the_list_and_the_pages(make_run, demo_root, tmp_path):
    answers = tmp_path / "answers.jsonl"
    shutil.copy(make_run("answers", right, limit=FEW) / "predictions" / "part-0.jsonl", answers)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mine.py").write_text(
        "from copy import copy\nfrom samtok_eval.registry import load_tasks\nmine = copy(load_tasks()['gres'])\n"
        "mine.metadata = mine.metadata.model_copy(update={'name': 'mine'})\nTASKS = (mine,)\n"
    )
    out, known = tmp_path / "own" / "mine" / "val" / "m" / "aaaa", ("--tasks-dir", tmp_path / "tasks")
    words = ["score", "--task", "mine", "--data-root", demo_root, "--limit", str(FEW), "--predictions", answers]
    assert command(*words, "--out", out, *known).returncode == 0
    for words in (["runs", tmp_path / "own"], ["runs", tmp_path / "own", *known]):
        assert ("gIoU" in command(*words).stdout) == ("--tasks-dir" in words)
    export = ("--export", tmp_path / "site", "--no-samples")
    assert command("view", tmp_path / "own", *known, *export).returncode == 0
    (page,) = (tmp_path / "site" / "runs").glob("*/index.html")
    assert "mine:val" in page.read_text()
    command("view", tmp_path / "own", *export)
    (page,) = (tmp_path / "site" / "runs").glob("*/index.html")
    assert "pass the folder of its task file with --tasks-dir" in page.read_text()
