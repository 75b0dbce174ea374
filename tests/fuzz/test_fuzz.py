"""Whatever a file holds, reading it ends in an answer or in one short line of error; `make fuzz` tries for longer.

Every case is read in a worker process with bounded memory and time, so that one that ends its process is a finding and
not the end of the tests.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.campaign import HUNG, Worker, corpus, encoded
from tests.fuzz.mutations import damaged
from tests.fuzz.targets import TARGETS

SEEDS = (1, 2)
QUICK = [target.name for target in TARGETS if "torch" not in target.tags]


class Workers:
    """One worker, replaced where a case ended it."""

    def __init__(self):
        self.worker = Worker()

    def read(self, case):
        what, _, lives = self.worker.read(case)
        if not lives:
            self.worker = Worker()
        return what


@pytest.fixture(scope="module")
def workers():
    both = Workers()
    yield both
    both.worker.close()


@pytest.mark.parametrize("name", QUICK)
def test_damaged_files_are_read_or_refused_in_one_line(workers, name):
    for seed in SEEDS:
        what = workers.read({"target": name, "seed": seed})
        assert what is None, f"python -m tests.fuzz.campaign --case '{name}' {seed}\n{what}"


@pytest.mark.parametrize(
    ("name", "target", "files"), corpus(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_broke_something_once_is_read_or_refused(workers, name, target, files):
    what = workers.read({"target": target, "files": encoded(files)})
    assert what is None, f"corpus/{name}.json\n{what}"


def test_a_worker_that_dies_or_hangs_is_a_finding():
    worker = Worker()
    worker._process.kill()
    what, files, lives = worker.read({"target": QUICK[0], "seed": 1})
    assert (what, files, lives) == ("the process ended with -9", {}, False)
    stopped = Worker()
    what, files, lives = stopped.read({"target": QUICK[0], "seed": 1}, seconds=-60)
    assert (what, files, lives) == (HUNG, {}, False)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", b'{"a": [1, {"b": "c"}]}'),
        ("x.jsonl", b'{"a": 1}\n{"a": 2}\n'),
        ("x.toml", b"a = 1\n"),
        ("x.png", b"\x89PNG"),
    ],
)
def test_damage_follows_from_its_seed_and_is_damage(name, content):
    first, second = ([damaged(Random(seed), name, content) for seed in range(40)] for _ in range(2))
    assert first == second
    assert sum(found != content for found in first) > 30
