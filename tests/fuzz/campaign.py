"""Runs cases in worker processes: a case that ends its worker, hangs or takes the memory is a finding as well.

A case is a target and a seed, so that it can be made again: `python -m tests.fuzz.campaign --case 'TARGET' SEED`.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import typer

from samtok_eval import registry
from tests.fuzz.targets import BY_NAME, TARGETS, FindingError, Target

MEMORY = 6 * 2**30
"""Bytes of address space; importing torch takes half of it."""
GROWTH = 1_500_000
"""Kilobytes that one case may add to the most that its worker ever held."""
SECONDS = 120
"""Of one case, after which it counts as a hang."""
HUNG = f"it hung for {SECONDS} seconds"
CASES = 400
"""Of one worker, which is replaced then."""
CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Finding:
    """What went wrong, and with which files."""

    target: str
    seed: int | str
    what: str
    files: Mapping[str, bytes]

    @property
    def kind(self) -> str:
        """The same for findings of one cause: its last words without numbers and names."""
        lines = [line.strip() for line in self.what.splitlines() if line.strip()]
        frames = [line for line in lines if (line.startswith("File ") and "samtok_eval" in line) or "/tasks/" in line]
        return f"{lines[-1][:60] if lines else ''} | {frames[-1] if frames else ''}"


class Bench:
    """A target's files in a folder of its own."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        target.prepare(self.folder)
        self.good = {path: path.read_bytes() for path in self._files()}
        patterns = [sorted(self.folder.glob(pattern)) for pattern in target.damaged]
        self.open = [path for found in patterns for path in found if path.is_file()]
        assert self.open, target.name

    def damage(self, seed: int) -> dict[str, bytes]:
        """The files that a seed damages."""
        rng = Random(f"{self.target.name}:{seed}")
        chosen = {rng.choice(self.open) for _ in range(rng.choice([1, 1, 1, 2]))}
        return {
            str(path.relative_to(self.folder)): self.target.damage(rng, path.name, self.good[path])
            for path in sorted(chosen)
        }

    def read(self, files: Mapping[str, bytes]) -> str | None:
        """Read the target with some files replaced; what went wrong."""
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            self.target.read(self.folder)
            left = [path.name for path in self.folder.rglob("*.part*")]
            if left:
                raise FindingError(f"half written files are left: {left}")
            more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held
            if more > GROWTH:
                raise FindingError(f"{more} kilobytes of memory")
        except BaseException:  # noqa: BLE001 - whatever it is, it is told
            return traceback.format_exc()
        finally:
            self._restore()
        return None

    def _files(self) -> Iterator[Path]:
        return (path for path in sorted(self.folder.rglob("*")) if path.is_file() and not path.is_symlink())

    def _restore(self) -> None:
        for path in self._files():
            if path not in self.good:
                path.unlink()
        for path, content in self.good.items():
            if not path.is_file() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

    def close(self) -> None:
        """Forget the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def encoded(files: Mapping[str, bytes]) -> dict[str, str]:
    """Bytes as text of JSON: as they are where they are printable, else as base64."""
    return {
        name: content.decode() if content.isascii() else "base64:" + base64.b64encode(content).decode()
        for name, content in files.items()
    }


def decoded(files: Mapping[str, str]) -> dict[str, bytes]:
    """`encoded`, back again."""
    return {
        name: base64.b64decode(text.removeprefix("base64:")) if text.startswith("base64:") else text.encode()
        for name, text in files.items()
    }


def work() -> None:
    """A worker: reads `TARGET SEED` or files as JSON lines, answers each with what went wrong or null."""
    os.environ["PATH"] = "/nonexistent"  # No Java: METEOR takes seconds to start.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What every command builds anew and no case can change: parsers of options, and the tasks.
    typer.main.get_command = cache(typer.main.get_command)
    registry._tasks_of = cache(registry._tasks_of)
    benches: dict[str, Bench] = {}
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        case = json.loads(line)
        if case["target"] not in benches:
            benches[case["target"]] = Bench(BY_NAME[case["target"]])
        bench = benches[case["target"]]
        files = decoded(case["files"]) if "files" in case else bench.damage(case["seed"])
        # Told before it is read, since the reading may end this process.
        talk.write(json.dumps({"files": encoded(files)}) + "\n")
        talk.flush()
        talk.write(json.dumps({"what": bench.read(files)}) + "\n")
        talk.flush()


class Worker:
    """A process that reads cases."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.fuzz.campaign", "--work"]
        # Its files go with it, however it ends.
        self._files = tempfile.mkdtemp(prefix="fuzz-")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=CORPUS.parents[2],
            env={**os.environ, "TMPDIR": self._files},
        )  # fmt: skip
        self.cases, self._read = 0, b""

    def read(self, case: Mapping[str, Any], seconds: float = SECONDS) -> tuple[str | None, dict[str, bytes], bool]:
        """What went wrong with a case, the damaged files, and whether the worker lives."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(case).encode() + b"\n")
        self._process.stdin.flush()
        self.cases += 1
        files: dict[str, bytes] = {}
        # The first case of a target also writes its good files.
        told = self._line(seconds + 60)
        if told:
            files = decoded(json.loads(told)["files"])
            told = self._line(seconds)
        if told:
            return json.loads(told)["what"], files, True
        if told is None:
            self._process.kill()
        code = self._process.wait()
        self.close()
        what = HUNG if told is None else f"the process ended with {code}"
        return what, files, False

    def _line(self, seconds: float) -> bytes | None:
        """The next line; empty at the end of the process, None when it does not come in time."""
        assert self._process.stdout is not None
        ends = time.monotonic() + seconds
        while b"\n" not in self._read:
            ready, *_ = select.select([self._process.stdout], [], [], max(0.0, ends - time.monotonic()))
            if not ready:
                return None
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            if not chunk:
                return b""
            self._read += chunk
        line, self._read = self._read.split(b"\n", 1)
        return line

    def close(self) -> None:
        """End the process, which keeps nothing."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        shutil.rmtree(self._files, ignore_errors=True)


def corpus() -> list[tuple[str, str, dict[str, bytes]]]:
    """Name, target and files of the inputs that broke something once."""
    found = []
    for path in sorted(CORPUS.glob("*.json")):
        entry = json.loads(path.read_text())
        found.append((path.stem, entry["target"], decoded(entry["files"])))
    return found


def run(minutes: float, seed: int, only: str = "") -> list[Finding]:
    """Read cases for some minutes; findings as they come, one of each kind."""
    targets = [target for target in TARGETS if only in target.name]
    weights = [target.weight for target in targets]
    rng, ends = Random(seed), time.monotonic() + 60 * minutes
    findings: dict[str, Finding] = {}
    counts, kinds = Counter[str](), Counter[str]()
    worker = Worker()
    while time.monotonic() < ends:
        target, number = rng.choices(targets, weights)[0], rng.randrange(2**40)
        if worker.cases >= CASES:
            worker.close()
            worker = Worker()
        case = {"target": target.name, "seed": number}
        what, files, lives = worker.read(case)
        if what == HUNG:
            # Other programs may have held the processor.
            worker = Worker()
            what, files, lives = worker.read(case)
        counts[target.name] += 1
        if what is not None:
            finding = Finding(target.name, number, what, files)
            kinds[finding.kind] += 1
            if finding.kind not in findings:
                findings[finding.kind] = finding
                print(f"FOUND {target.name} {number}: {finding.kind}", flush=True)
        if not lives:
            worker = Worker()
    worker.close()
    found = f"{sum(kinds.values())} findings of {len(kinds)} kinds"
    print(f"{sum(counts.values())} cases of {len(counts)} targets in {minutes:g} minutes, {found}")
    for kind, count in kinds.most_common():
        print(f"{count:6} {kind}")
    return list(findings.values())


def main() -> None:
    """The command; see `--help`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=None, help="of the cases; the time by default")
    parser.add_argument("--only", default="", help="targets with this in their names")
    parser.add_argument("--case", nargs=2, metavar=("TARGET", "SEED"), help="one case, in this process")
    parser.add_argument("--keep", type=Path, default=None, help="folder for the files of findings")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work()
        return
    if given.case:
        bench = Bench(BY_NAME[given.case[0]])
        files = bench.damage(int(given.case[1]))
        print({name: content[:1500] for name, content in files.items()})
        print(bench.read(files))
        bench.close()
        return
    seed = int(time.time()) if given.seed is None else given.seed
    print(f"seed {seed}")
    findings = run(given.minutes, seed, given.only)
    for number, finding in enumerate(findings):
        print(f"\n== {finding.target} {finding.seed}\n{finding.what}")
        if given.keep:
            given.keep.mkdir(parents=True, exist_ok=True)
            content = {"target": finding.target, "files": encoded(finding.files)}
            (given.keep / f"{number}.json").write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
