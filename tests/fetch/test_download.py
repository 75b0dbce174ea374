"""One file over HTTP: what servers do wrong, and what is on disk then."""

from __future__ import annotations

import fcntl
import hashlib
import threading

import pytest

from samtok_eval.errors import DataError, UsageError
from samtok_eval.fetch.download import CHUNK, Content, Patience, StoppedError, download
from tests.support.faulty_server import answers, breaks_after

BODY = bytes(range(256)) * 40
QUICK = Patience(tries=3, first_wait=0.001, timeout=5)
KNOWN = Content(len(BODY), hashlib.sha256(BODY).hexdigest())


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "file.bin"


def left(target):
    """Names beside the target, without it."""
    return sorted(path.name for path in target.parent.glob("*") if path != target)


def get(server, target, content=KNOWN, patience=QUICK, path="/file.bin"):
    download(server.address + path, target, content, patience)


def test_a_file_comes_whole_and_nothing_else_is_left(server, target):
    server.files["/file.bin"] = BODY
    told = []
    download(server.address + "/file.bin", target, KNOWN, QUICK, told.append)
    assert target.read_bytes() == BODY
    assert left(target) == []
    assert sum(told) == len(BODY)


def test_a_name_with_brackets_and_signs_is_asked_for_as_it_is(server, target):
    server.files["/refcoco+/refs(unc).p"] = BODY
    get(server, target, path="/refcoco+/refs(unc).p")
    assert target.read_bytes() == BODY


def test_a_broken_connection_goes_on_where_it_broke(server, target):
    server.files["/file.bin"] = BODY
    server.faults["/file.bin"] = [breaks_after(1000, BODY)]
    get(server, target)
    assert target.read_bytes() == BODY
    assert server.ranges == [None, "bytes=1000-"]


def test_the_next_command_goes_on_where_the_last_one_stopped(server, target):
    server.files["/file.bin"] = BODY
    server.faults["/file.bin"] = [breaks_after(1000, BODY), answers(503), answers(503), answers(503)]
    with pytest.raises(DataError, match="503 Service Unavailable after 3 tries; the same command goes on later"):
        get(server, target)
    assert not target.exists()
    assert (target.parent / ".file.bin.part").read_bytes() == BODY[:1000]
    server.ranges.clear()
    get(server, target)
    assert target.read_bytes() == BODY
    assert server.ranges == ["bytes=1000-"]
    assert left(target) == []


def test_bytes_of_two_versions_are_never_put_together(server, target):
    other = BODY[::-1]
    server.files["/file.bin"] = other
    server.faults["/file.bin"] = [breaks_after(1000, BODY)]
    get(server, target, Content())
    assert target.read_bytes() == other


def test_without_a_version_nothing_is_resumed(server, target):
    server.tags = False
    server.files["/file.bin"] = BODY
    target.parent.mkdir()
    (target.parent / ".file.bin.part").write_bytes(b"of whom nobody knows")
    get(server, target)
    assert server.ranges == [None]
    assert target.read_bytes() == BODY


def test_a_server_without_ranges_sends_everything_again(server, target):
    server.knows_ranges = False
    server.files["/file.bin"] = BODY
    server.faults["/file.bin"] = [breaks_after(1000, BODY)]
    get(server, target)
    assert target.read_bytes() == BODY
    assert server.ranges == [None, "bytes=1000-"]


def unfinished(server, target, body):
    """All bytes of an earlier call, which did not come to its end."""
    server.files["/file.bin"] = body
    server.faults["/file.bin"] = [breaks_after(len(body), body + b"more"), answers(503), answers(503), answers(503)]
    with pytest.raises(DataError):
        get(server, target, Content())
    part = target.parent / ".file.bin.part"
    assert part.read_bytes() == body
    version = part.with_name(".file.bin.part.json")
    tag = hashlib.sha256(body).hexdigest()[:16]
    version.write_text(version.read_text().replace(hashlib.sha256(body + b"more").hexdigest()[:16], tag))


def test_416_for_a_file_that_is_whole_already_ends_it(server, target):
    unfinished(server, target, BODY)
    get(server, target)
    assert target.read_bytes() == BODY
    assert server.ranges[-1] == f"bytes={len(BODY)}-"


def test_416_for_more_bytes_than_the_file_has_begins_anew(server, target):
    unfinished(server, target, BODY)
    (target.parent / ".file.bin.part").write_bytes(BODY + b"too long")
    get(server, target)
    assert target.read_bytes() == BODY
    assert server.ranges[-2:] == [f"bytes={len(BODY) + 8}-", None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Content(size=5), "has 10240 bytes, its publisher says 5; it is another version"),
        (Content(size=20000), "has 10240 bytes, its publisher says 20000"),
        (
            Content(sha256="0" * 64),
            "has sha256 [0-9a-f]{64} instead of 0{64}; it is another version",
        ),
        (Content(git_blob="0" * 40), "has git hash [0-9a-f]{40} instead of 0{40}"),
    ],
)
def test_another_content_than_known_is_refused_and_not_kept(server, target, content, message):
    server.files["/file.bin"] = BODY
    with pytest.raises(DataError, match=message):
        get(server, target, content)
    assert left(target) == [] and not target.exists()


def test_git_s_hash_is_git_s(server, target):
    server.files["/file.bin"] = b"hello\n"
    # What `git hash-object` says of it.
    get(server, target, Content(git_blob="ce013625030ba8dba906f756967f9e9ca394464a"))
    assert target.read_bytes() == b"hello\n"


@pytest.mark.parametrize(
    "fault",
    [
        answers(200, b"<!DOCTYPE html><p>sign in", Content_Type="text/html; charset=utf-8"),
        answers(200, b"\n <HTML><p>moved", Content_Type="application/octet-stream"),
    ],
)
def test_a_web_page_is_not_taken_for_the_file(server, target, fault):
    server.faults["/file.bin"] = [fault]
    with pytest.raises(DataError, match="sends a web page, not the file: it moved, or asks for a sign-in"):
        get(server, target, Content())
    assert not target.exists()


@pytest.mark.parametrize(
    ("status", "told"),
    [(404, "404, it is not there"), (410, "gone"), (401, "needs a sign-in"), (403, "refuses"), (400, "Bad Request")],
)
def test_a_final_no_is_asked_once(server, target, status, told):
    server.files["/file.bin"] = BODY
    server.faults["/file.bin"] = [answers(status)]
    with pytest.raises(DataError, match=f"{told}.*see the page of the benchmark"):
        get(server, target)
    assert server.asked["/file.bin"] == 1


def test_a_busy_server_is_asked_again(server, target):
    server.files["/file.bin"] = BODY
    server.faults["/file.bin"] = [answers(503), answers(429, Retry_After="0")]
    get(server, target)
    assert target.read_bytes() == BODY


def test_tries_count_only_those_in_a_row_that_bring_nothing(server, target):
    server.files["/file.bin"] = BODY
    cuts = []
    for cut in (1000, 2000, 3000, 4000):
        cuts += [answers(503), _part_up_to(server, cut)]
    server.faults["/file.bin"] = cuts
    get(server, target)
    assert target.read_bytes() == BODY


def _part_up_to(server, cut):
    """Answers like a good server, and breaks the connection at a byte of the file."""

    def fault(handler):
        begin = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206 if begin else 200)
        handler.send_header("Content-Range", f"bytes {begin}-{len(BODY) - 1}/{len(BODY)}")
        handler.send_header("Content-Length", str(len(BODY) - begin))
        handler.send_header("ETag", f'"{hashlib.sha256(BODY).hexdigest()[:16]}"')
        handler.end_headers()
        handler.wfile.write(BODY[begin:cut])
        handler.close_connection = True

    return fault


def test_nobody_there_is_an_error_with_the_reason(target):
    with pytest.raises(DataError, match="Connection refused after 2 tries"):
        download("http://127.0.0.1:9/file.bin", target, KNOWN, Patience(2, 0.001, 1))
    assert left(target) == []


def test_a_server_that_falls_silent_is_given_up(server, target):
    wait = threading.Event()
    server.faults["/file.bin"] = [lambda handler: wait.wait(5)] * 2
    try:
        with pytest.raises(DataError, match="timed out after 2 tries"):
            get(server, target, patience=Patience(2, 0.001, 0.05))
    finally:
        wait.set()


def test_more_bytes_than_stated_are_not_taken(server, target):
    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(BODY + b"x" * CHUNK)
        handler.close_connection = True

    server.faults["/file.bin"] = [endless]
    with pytest.raises(DataError, match="sends more than the 10240 bytes that it should have"):
        get(server, target)
    assert not target.exists()


def test_a_packed_answer_is_refused(server, target):
    server.faults["/file.bin"] = [answers(200, b"\x1f\x8b", Content_Encoding="gzip")]
    with pytest.raises(DataError, match="comes packed as gzip"):
        get(server, target, Content())


def test_an_answer_about_another_part_is_not_used(server, target):
    server.files["/file.bin"] = BODY
    server.faults["/file.bin"] = [
        breaks_after(1000, BODY),
        answers(206, BODY[500:], Content_Range=f"bytes 500-{len(BODY) - 1}/{len(BODY)}"),
    ]
    get(server, target)
    assert target.read_bytes() == BODY


def test_a_redirect_to_this_machine_s_files_is_not_followed(server, target, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("of this machine")
    server.faults["/file.bin"] = [answers(302, Location=f"file://{secret}")]
    with pytest.raises(DataError, match="302"):
        get(server, target, Content())
    assert not target.exists()


def test_a_redirect_is_followed(server, target):
    server.files["/there"] = BODY
    server.faults["/file.bin"] = [answers(302, Location=f"{server.address}/there")]
    get(server, target)
    assert target.read_bytes() == BODY


def test_a_disk_that_refuses_is_not_the_server_s_fault(server, target):
    server.files["/file.bin"] = BODY
    target.parent.write_text("a file where a folder should be")
    with pytest.raises(UsageError, match="cannot be written"):
        get(server, target)


def test_a_full_disk_ends_it_and_asks_nobody_again(server, tmp_path):
    server.files["/file.bin"] = BODY
    target = tmp_path / "file.bin"
    # Every write to it fails as on a full disk.
    (tmp_path / ".file.bin.part").symlink_to("/dev/full")
    with pytest.raises(UsageError, match="No space left on device"):
        get(server, target)
    assert server.asked["/file.bin"] == 1
    assert not target.exists()


def test_two_processes_do_not_write_one_file(server, target):
    server.files["/file.bin"] = BODY
    target.parent.mkdir()
    with (target.parent / ".file.bin.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process is writing"):
            get(server, target)


def test_whoever_stops_it_can_go_on(server, target):
    body = BODY * 100
    server.files["/file.bin"] = body
    patience = Patience(tries=3, first_wait=0.001, timeout=5)
    with pytest.raises(StoppedError):
        download(server.address + "/file.bin", target, Content(), patience, lambda count: count and patience.stop.set())
    some = (target.parent / ".file.bin.part").stat().st_size
    assert 0 < some < len(body)
    get(server, target, Content(len(body)))
    assert target.read_bytes() == body
    assert server.ranges[-1] == f"bytes={some}-"
