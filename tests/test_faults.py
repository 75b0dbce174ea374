"""A machine that fails: what each fault costs, and that nothing whole is lost by it.

A test per fault, named after it. Others stand where their parts are tested: a full disk and a torn line in
`test_files.py` and `cli/test_main.py`, what killed writers left in `test_unfinished.py`, killed trainings and exports
in `training/test_checkpoint_files.py`, missing Java in `metrics/test_captions.py` and `run/test_absent_metrics.py`,
full memory and a missing chat template in `run/test_failures.py`, Ctrl-C in `run/test_interruption.py`, a killed run
in `run/test_predict.py`, a lost rank in `e2e/test_ranks.py`, servers that lie, stall or die in `models/openai/`,
archives in `fetch/test_unpack.py`, pictures that are larger than they look in `test_hostile_input.py`, checkpoints of
absurd sizes in `models/test_hostile_checkpoints.py`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from samtok_eval.append_log import AppendLog
from samtok_eval.errors import DataError, SamtokError, UsageError
from samtok_eval.metrics import captions, judges
from samtok_eval.metrics.caption_programs import CaptionToolsError
from samtok_eval.registry import load_tasks
from samtok_eval.reports.leaderboard import kept_records
from samtok_eval.reports.result_file import RecordsEntry
from samtok_eval.reports.runs import read_scored
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.folder import RunFolder, find_run, load_run, slug
from samtok_eval.run.samples import read_samples
from samtok_eval.run.settings import RunOptions
from tests.conftest import right
from tests.support.command import command

FEW = 20


def lines_of(result) -> str:
    """The one line of error of a command."""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in result.stderr
    return line


def in_child(work) -> int:
    """Do some work in a process of its own; how it ended, as `os.waitpid` says."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except SamtokError as error:
            code = error.exit_code
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def scored_again(demo_root, folder: Path, out: Path):
    """Score a run folder's predictions into a folder."""
    return score_file(RunOptions(task="gres", data_root=str(demo_root), limit=FEW, out=out), folder)


# ---- the disk ----


@pytest.mark.parametrize("command_words", [("runs",), ("report",), ("compare",)])
def test_a_run_folder_that_cannot_be_read(make_run, command_words):
    folder = make_run("baseline", right, limit=FEW)
    RunFolder(folder).records.unlink()
    RunFolder(folder).records.mkdir()
    result = command(*command_words, folder)
    if command_words == ("runs",):
        assert result.returncode == 0
    else:
        assert result.returncode == DataError.exit_code
        assert "records.jsonl is not an ordinary file" in lines_of(result)


@pytest.mark.parametrize("where", ["/proc/self/nobody-may-write-here", "a-file/out"])
def test_a_folder_that_may_not_be_written(make_run, tmp_path, where):
    folder = make_run("baseline", right, limit=FEW)
    (tmp_path / "a-file").write_text("x")
    result = command("report", folder, "--out", tmp_path / where, "--no-samples")
    assert result.returncode == UsageError.exit_code
    assert "cannot be written" in lines_of(result) and "choose a folder that may be written" in lines_of(result)


@pytest.mark.parametrize(
    "words",
    [
        "run --task gres --model random --limit 2 --out {}",
        "score --task gres --limit 20 --predictions RUN --out {}",
        "view RUNS --export {}/site",
        "export RUN --format coco --out {}/results.json",
        "gate --baseline RUN --candidate RUN --json {}/gate.json",
        "tokenize --task gres:val --limit 2 --out {}",
        "tasks new mine --dir {}/mine",
        "data build-demo --out {}/demo",
    ],
)
def test_a_disk_that_is_read_only_is_one_line_for_every_command_that_writes(make_run, demo_root, tmp_path, words):
    """`/proc` is one for whoever runs the tests, root too."""
    folder = make_run("baseline", right, limit=FEW)
    known = {"RUN": str(folder), "RUNS": str(folder.parent)}
    given = [known.get(word, word.format("/proc/self")) for word in words.split()]
    result = command(*given, *(["--data-root", demo_root] if "--task" in given else []))
    assert result.returncode == UsageError.exit_code, result.stderr
    assert "cannot be written" in lines_of(result) and "choose a folder that may be written" in lines_of(result)


def test_a_name_that_is_too_long_for_the_file_system(make_run, tmp_path):
    folder = make_run("baseline", right, limit=FEW)
    result = command("report", folder, "--out", tmp_path / ("x" * 300), "--no-samples")
    assert result.returncode == UsageError.exit_code
    assert "too long" in lines_of(result)


def test_a_model_whose_name_is_too_long_for_a_folder():
    first, second = (slug("org/" + "model" * 100 + tail) for tail in ("a", "b"))
    assert first != second
    assert len(first) < 200 and first.startswith("org__modelmodel")
    assert slug("org/model") == "org__model"


def test_a_disk_that_is_full_before_scoring_ends(make_run, demo_root, tmp_path):
    folder = make_run("baseline", right, limit=FEW)
    before = RunFolder(folder).records.read_bytes()

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        scored_again(demo_root, folder, folder)

    assert os.waitstatus_to_exitcode(in_child(work)) == UsageError.exit_code
    assert RunFolder(folder).records.read_bytes() == before
    assert not list(folder.rglob("*.part"))


# ---- killed at every boundary ----


def test_scoring_killed_before_and_after_each_of_its_files(make_run, demo_root, tmp_path):
    """`Path.replace` is the moment at which a file appears; a real kill hits before it and after it."""
    whole = load_run(make_run("baseline", right, limit=FEW))
    part = RunFolder(whole.path).part()
    killed = 0
    for boundary in range(8):
        out = tmp_path / f"out-{boundary}"

        def work(out=out, boundary=boundary):
            _kill_at(boundary)
            score_file(RunOptions(task="gres", data_root=str(demo_root), limit=FEW, out=out), part)

        status = in_child(work)
        killed += os.WIFSIGNALED(status)
        # What is there is whole, or is missing; it is never half a run.
        try:
            found = load_run(out)
        except SamtokError:
            assert os.WIFSIGNALED(status)
        else:
            assert found.metrics == whole.metrics
        again = score_file(RunOptions(task="gres", data_root=str(demo_root), limit=FEW, out=out), part)
        assert again.metrics == whole.metrics
        assert RunFolder(out).records.read_bytes() == RunFolder(whole.path).records.read_bytes()
        if not os.WIFSIGNALED(status):
            break
    assert killed >= 4


def test_a_report_killed_before_and_after_each_of_its_files(make_run):
    from samtok_eval.cli.main import main_run  # noqa: F401 - imported before the fork

    folder = make_run("baseline", right, limit=FEW)
    assert command("report", folder).returncode == 0
    page = (folder / "report" / "index.html").read_bytes()
    killed = 0
    for boundary in (0, 1, 6, 13, 99):

        def work(boundary=boundary):
            _kill_at(boundary)
            command("report", folder)

        status = in_child(work)
        killed += os.WIFSIGNALED(status)
        assert (folder / "report" / "index.html").read_bytes() == page
        if not os.WIFSIGNALED(status):
            break
    assert killed >= 2
    assert command("report", folder).returncode == 0
    assert (folder / "report" / "samples" / "index.html").is_file()


def _kill_at(boundary: int) -> None:
    """Let this process be killed at the boundary of a number: before a file appears, or right after it."""
    replace, count = Path.replace, [0]

    def counted(self, target):
        for step in (lambda: None, lambda: replace(self, target)):
            done = step()
            if count[0] == boundary:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] += 1
        return done

    Path.replace = counted


# ---- two at once ----


def test_two_writers_of_one_log(tmp_path):
    path = tmp_path / "log.jsonl"
    with AppendLog(path) as first:
        first.write_line("1")
        with pytest.raises(UsageError, match="another process is writing"):
            AppendLog(path)
        first.write_line("2")
    assert path.read_text() == "1\n2\n"


def test_two_commands_that_score_the_same_folder(make_run, demo_root):
    whole = load_run(make_run("baseline", right, limit=FEW))
    folder = whole.path
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            try:
                scored_again(demo_root, folder, folder)
            finally:
                os._exit(0)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
    assert load_run(folder).metrics == whole.metrics
    assert command("compare", folder, folder).returncode == 0
    assert not list(folder.rglob("*.part"))


# ---- clocks ----


def test_a_clock_that_jumps_back_between_two_runs(make_run, monkeypatch):
    """The newest run is the one that says so; a run from before the jump stays readable and is found by its name."""
    from tests.conftest import edit_manifest

    first, second = make_run("a/one", right, limit=FEW), make_run("a/two", right, limit=FEW)
    for folder, year in ((first, "2031"), (second, "1970")):
        edit_manifest(folder, lambda m, year=year: m["times"].update(started=f"{year}-01-01T00:00:00Z", finished=None))
        edit_manifest(folder, lambda m: m["model"].update(name="same"))
    assert find_run(first.parent) == first
    assert load_run(second).metrics == load_run(first).metrics
    assert command("runs", first.parent).returncode == 0
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert command("report", second, "--no-samples").returncode == 0


# ---- Java ----


def java(folder: Path, script: str, monkeypatch) -> None:
    """A program `java` that does something else."""
    path = folder / "bin" / "java"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)


def processes_of(sessions: set[str]) -> list[str]:
    """What still runs in some sessions; an orphan that was killed may wait a while to be taken off the list."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = path.read_text().rpartition(")")
            state, _, _, session, *_ = rest.split()
            found += [name] if session in sessions and state != "Z" else []
    return found


ECHOES = 'case "$*" in *PTBTokenizer*) for last; do :; done; exec cat "$last";; esac'
"""A tokenizer that changes nothing, so that METEOR's turn comes."""


@pytest.mark.parametrize("script", ["exit 1", "kill -9 $$", "echo nonsense; exit 0", "exec cat"])
@pytest.mark.parametrize("tokenizer", ["", ECHOES])
def test_a_java_that_is_killed_or_talks_nonsense(tmp_path, monkeypatch, script, tokenizer):
    java(tmp_path, f"{tokenizer}\n{script}", monkeypatch)
    scorer = captions.CaptionScorer(patience=20)
    with pytest.raises(CaptionToolsError, match="METEOR" if tokenizer else "tokenizer"):
        scorer.score(["a red square"], [["a red square"]])
    scorer.close()


# The second is a wrapper whose child outlives it unless both are ended.
@pytest.mark.parametrize("script", ["exec sleep 1000", "sleep 1000; exit 0", "kill -STOP $$"])
@pytest.mark.parametrize("tokenizer", ["", ECHOES])
def test_a_java_that_hangs_is_given_up_and_ended_with_what_it_started(tmp_path, monkeypatch, script, tokenizer):
    java(tmp_path, f"echo $$ >>{tmp_path}/sessions\n{tokenizer}\n{script}", monkeypatch)
    scorer = captions.CaptionScorer(patience=0.4)
    begun = time.monotonic()
    with pytest.raises(
        CaptionToolsError, match=r"did not (end|answer) within 0\.4.* seconds; see whether this machine"
    ):
        # More than a pipe holds, which a program that hangs does not read.
        scorer.score(["a red square " * 300], [["a red square " * 300] * 30])
    scorer.close()
    assert time.monotonic() - begun < 10
    sessions = {*(tmp_path / "sessions").read_text().split()}
    while processes_of(sessions) and time.monotonic() - begun < 30:
        # On a busy machine a process that is killed takes a moment to end.
        time.sleep(0.05)
    assert not processes_of(sessions)
    with pytest.raises(CaptionToolsError, match=r"did not|was ended"):
        scorer.score(["a red square"], [["a red square"]])


def test_a_java_that_hangs_costs_its_metrics_and_nothing_else(demo_root, tmp_path, monkeypatch):
    """Of the captions before it hangs there is no METEOR either, since it would be of these alone."""
    script = f"""{ECHOES}
while read -r line; do
  if [ -e {tmp_path}/asked ]; then exec sleep 1000; fi
  touch {tmp_path}/asked
  echo {"1 " * 23}
done"""
    java(tmp_path, script, monkeypatch)
    monkeypatch.setattr(judges, "CaptionScorer", lambda: captions.CaptionScorer(patience=0.5))
    names = [sample.id for sample in read_samples(load_tasks()["region_caption"], "refcocog-val", str(demo_root), 3)]
    (tmp_path / "captions.json").write_text(json.dumps(dict.fromkeys(names, "a red circle")))
    options = RunOptions(task="region_caption", data_root=str(demo_root), limit=3, out=tmp_path / "out")
    found = score_file(options, tmp_path / "captions.json")
    assert found.metrics.absent.keys() == {"meteor", "cider"}
    assert "METEOR did not answer within 0.5 seconds" in found.metrics.absent["meteor"]
    assert all(values.keys() == {"empty"} for values in found.metrics.protocols.values())
    assert read_scored(found.path).metrics("strict").keys() == {"empty"}


# ---- archives ----


def test_records_that_unpack_to_more_than_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_records, "MAX_BYTES", 2**20)
    path = tmp_path / "records.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n" * 2**24))
    assert path.stat().st_size < 2**16
    with pytest.raises(DataError, match="holds more than"):
        kept_records.read_kept(path, RecordsEntry(sha256=hashlib.sha256().hexdigest()))


def test_a_run_folder_copied_through_a_link(make_run, tmp_path):
    """Links that a user makes are followed; one that leads nowhere, or to itself, is one line."""
    folder = make_run("baseline", right, limit=FEW)
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert load_run(link).metrics == load_run(folder).metrics
    records = RunFolder(folder).records
    records.unlink()
    records.symlink_to(records)
    result = command("compare", folder)
    assert result.returncode == DataError.exit_code
    assert "cannot be read" in lines_of(result) or "is missing" in lines_of(result)


def test_a_manifest_that_names_files_elsewhere(make_run, tmp_path):
    """What a run folder says of paths is shown and not followed."""
    folder = make_run("baseline", right, limit=FEW)
    path = RunFolder(folder).manifest
    manifest = json.loads(path.read_text())
    manifest["settings"]["tasks_dirs"] = [str(tmp_path / "tasks")]
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "evil.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n")
    path.write_text(json.dumps(manifest))
    command("report", folder, "--no-samples")
    command("compare", folder)
    assert not (tmp_path / "was_run").exists()
