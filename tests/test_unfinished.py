"""What is written appears whole or not at all; what a killed writer left goes with the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest

from samtok_eval import unfinished as module
from samtok_eval.errors import UsageError
from samtok_eval.files import write_text
from samtok_eval.unfinished import put, unfinished, workspace

WRITES = "import sys; from pathlib import Path; {}\nprint('written', flush=True); sys.stdin.readline()"
FILE = "from samtok_eval.unfinished import unfinished; c = unfinished(Path('file')); c.__enter__().write_text('half')"
FOLDER = (
    "from samtok_eval.unfinished import unfinished; "
    "c = unfinished(Path('d')); p = c.__enter__(); p.mkdir(); (p / 'a').touch()"
)
RECORDS = (
    "from samtok_eval.run.record_file import RecordsWriter; from samtok_eval.prediction import Record; "
    "w = RecordsWriter(Path('records.jsonl')); w.add({p: [Record('a', 'a', p, 'ok')] for p in ('strict', 'official')})"
)


def writer(folder: Path, code: str) -> subprocess.Popen[str]:
    """A process that has begun to write into a folder, and waits."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", WRITES.format(code)], cwd=folder, env=environment, **pipes)
    assert process.stdout.readline() == "written\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def parts(folder: Path) -> list[Path]:
    return [*folder.glob(".*.part")]


@pytest.mark.parametrize("code", [FILE, FOLDER, RECORDS])
def test_a_writer_killed_in_the_middle_leaves_nothing_once_somebody_writes_again(tmp_path, code):
    process = writer(tmp_path, code)
    kill(process)
    assert len(parts(tmp_path)) == 1, "a kill lets nobody tidy up"
    write_text(tmp_path / "another", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["another"]


def test_a_living_writer_is_left_alone_and_a_dead_one_beside_it_is_not(tmp_path):
    living, dead = (writer(tmp_path, FILE) for _ in range(2))
    kill(dead)
    write_text(tmp_path / "another", "whole")
    (left,) = parts(tmp_path)
    assert (left / "content").read_text() == "half"
    kill(living)
    write_text(tmp_path / "another", "whole")
    assert not parts(tmp_path)


def test_writers_at_once_never_remove_each_others(tmp_path):
    """Each of them looks through the folder before every file, while the others begin and end theirs."""
    workers = [get_context("fork").Process(target=_many, args=(tmp_path, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert not parts(tmp_path)
    assert {path.read_text() for path in tmp_path.iterdir()} <= {f"{n} {i}" for n in range(4) for i in range(150)}


def _many(folder: Path, number: int) -> None:
    for i in range(150):
        module._writes_left.clear()
        write_text(folder / f"file-{i % 7}", f"{number} {i}")


def test_what_was_killed_between_two_of_its_steps_is_removed_too(tmp_path):
    (tmp_path / f".{'0' * 16}.part").mkdir()
    (tmp_path / f".{'1' * 16}.part").mkdir()
    (tmp_path / f".{'1' * 16}.part" / "lock").touch()
    write_text(tmp_path / "file", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_of_others_that_look_alike_stay(tmp_path):
    """An unfinished download is kept, and so is a folder in which something lies that no writer of ours has made."""
    (tmp_path / ".photos.zip.part").write_text("to be resumed")
    foreign = tmp_path / f".{'2' * 16}.part"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    write_text(tmp_path / "file", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {".photos.zip.part", foreign.name, "file"}


def test_a_large_folder_is_not_looked_through_for_every_file(tmp_path, monkeypatch):
    for number in range(640):
        (tmp_path / str(number)).touch()
    looked = []
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: looked.append(path) or listed(path))
    for number in range(22):
        write_text(tmp_path / f"file-{number}", "")
    assert looked.count(tmp_path) == 2, "640 entries: at the first and at the twelfth file"


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(module, "_exchanged", lambda one, other: False)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").touch()
    with unfinished(tmp_path / "d") as content:
        content.mkdir()
        (content / "new").touch()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["d", "d/new"]


def test_a_folder_that_cannot_be_exchanged_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_exchanged", lambda one, other: False)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").touch()
    replace = Path.replace

    def refused(self, target):
        if self.name == "content":
            raise PermissionError(self)
        return replace(self, target)

    with workspace(tmp_path) as place:
        (place / "content").mkdir()
        monkeypatch.setattr(Path, "replace", refused)
        with pytest.raises(PermissionError):
            put(place / "content", tmp_path / "d")
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["old"]


def test_an_exception_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), unfinished(tmp_path / "new" / "file") as content:
        content.write_text("half")
        raise KeyError
    assert [*(tmp_path / "new").iterdir()] == []


def test_a_disk_without_locks_is_written_to_and_nothing_is_removed_there(tmp_path, monkeypatch):
    def without(*_):
        raise OSError(95, "Operation not supported")

    left = tmp_path / f".{'3' * 16}.part"
    left.mkdir()
    (left / "lock").touch()
    monkeypatch.setattr(module.fcntl, "flock", without)
    write_text(tmp_path / "file", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"file", left.name}


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path):
    """A process of its own, whose files end after some bytes."""
    pid = os.fork()
    if pid == 0:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            write_text(tmp_path / "file", "x" * 1000)
        except UsageError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert [*tmp_path.iterdir()] == []
