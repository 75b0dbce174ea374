"""Records that are kept beside a result: they score to the same numbers again, and rank models picture by picture."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from zlib import crc32

import pytest

from samtok_eval.errors import DataError, UsageError
from samtok_eval.registry import load_tasks
from samtok_eval.reports.leaderboard.build import build, paired_by, submit
from samtok_eval.reports.leaderboard.kept_records import read_kept, records_beside
from samtok_eval.reports.leaderboard.verify import verify
from samtok_eval.reports.result_file import RecordsEntry, read_result
from samtok_eval.run.folder import load_run
from tests.conftest import shifted
from tests.support.command import command
from tests.support.results import PUBLISHED

PLACE = "https://example.org/records/gres.jsonl.gz"


@pytest.fixture(scope="module")
def tasks():
    return load_tasks()


@pytest.fixture
def run(make_run):
    return load_run(make_run("whole", shifted(3), limit=None))


@pytest.fixture
def kept(run, tmp_path, tasks):
    """A result file with its records beside it."""
    return submit(run, tmp_path / "board", "org/model", "r1", tasks=tasks)


def edited(path, change):
    """Change a result file as a forger would."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def packed_again(path, change):
    """Change the records beside a result, and its hash with them."""
    lines = gzip.decompress(records_beside(path).read_bytes()).decode().splitlines()
    text = "".join(f"{line}\n" for line in change(lines)).encode()
    records_beside(path).write_bytes(gzip.compress(text))
    edited(path, lambda content: content["records"].update(sha256=hashlib.sha256(text).hexdigest()))


def test_records_are_kept_whole_small_and_score_to_the_same_numbers(kept, run, tasks):
    beside = records_beside(kept)
    assert beside.name == "gres.records.jsonl.gz"
    original = (run.path / "records.jsonl").read_bytes()
    assert gzip.decompress(beside.read_bytes()) == original
    assert len(beside.read_bytes()) < len(original) / 10
    assert read_result(kept).records == RecordsEntry(sha256=hashlib.sha256(original).hexdigest())
    found = verify(kept, tasks)
    assert (found.verdict, found.reason) == ("equal", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["protocols"]["strict"]["giou"].update(value=0.99),
            "protocol strict giou = 0.99, the records give 0.",
        ),
        (
            lambda c: c["protocols"]["samtok"]["ciou"].update(low=0.0),
            "protocol samtok ciou low = 0.0, the records give",
        ),
        (lambda c: c["protocols"]["strict"]["n_acc"].update(n=7), "n = 7, the records give"),
        (lambda c: c["protocols"]["official"].update(bonus=c["protocols"]["official"]["giou"]), "has ['bonus'], which"),
        (lambda c: c["counters"].update(invalid=5), "counter invalid = 5, the records give 0"),
        (lambda c: c["dataset"].update(samples=594), "the result says {'strict': 594"),
        (lambda c: (c["protocols"].pop("samtok"), c["signature"].pop("samtok")), "records per protocol"),
        (lambda c: c["records"].update(sha256="0" * 64), "holds other records"),
    ],
)
def test_a_number_that_does_not_follow_is_named(kept, tasks, change, message):
    edited(kept, change)
    found = verify(kept, tasks)
    assert found.verdict == "unequal" and message in found.reason


def test_a_metric_that_the_result_lacks_is_said_and_no_difference(kept, tasks):
    edited(kept, lambda content: content["protocols"]["official"].pop("giou"))
    found = verify(kept, tasks)
    assert (found.verdict, found.reason) == ("equal", "giou: not in the result, the records give it")


def test_other_records_are_found_even_under_a_new_hash(kept, tasks):
    def change(lines):
        first = json.loads(lines[0])
        first["inter"] = first["union"]
        return [json.dumps(first), *lines[1:]]

    packed_again(kept, change)
    found = verify(kept, tasks)
    assert found.verdict == "unequal" and re.search("iou.* = .*, the records give", found.reason)
    packed_again(kept, lambda lines: lines[:-1])
    assert "records per protocol" in verify(kept, tasks).reason


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "ends too early"),
        (lambda data: data[:50] + b"\x00" * 50 + data[100:], "not a whole gzip file"),
        (lambda data: b"", "holds other records"),
    ],
)
def test_a_broken_file_of_records_is_named(kept, tasks, damage, message):
    beside = records_beside(kept)
    beside.write_bytes(damage(beside.read_bytes()))
    found = verify(kept, tasks)
    assert found.verdict == "unequal" and message in found.reason and str(beside) in found.reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(records=None), "it keeps no records"),
        (lambda c: c.update(task_version=99), "scored by version 99 of the task"),
        (lambda c: c.update(task="someones_own"), "no known task file defines someones_own"),
        (lambda c: c["records"].update(place=PLACE), f"get its records from {PLACE}"),
    ],
)
def test_what_cannot_be_checked_says_why(kept, tasks, change, message):
    edited(kept, change)
    found = verify(kept, tasks)
    assert found.verdict == "not checked" and message in found.reason


def test_intervals_of_an_unknown_method_are_left_out_and_said(kept, tasks):
    edited(kept, lambda c: c["intervals"].update(method="jackknife"))
    edited(kept, lambda c: c["protocols"]["strict"]["giou"].update(low=0.0))
    found = verify(kept, tasks)
    assert found.verdict == "equal" and "does not know 'jackknife'" in found.reason


def test_records_that_lie_elsewhere_leave_their_hash_and_address(kept, run, tmp_path, tasks):
    path = submit(run, tmp_path / "board", "org/model", "r1", tasks=tasks, records=PLACE, replace=True)
    assert path == kept and not records_beside(path).exists()
    entry = read_result(path).records
    assert entry.place == PLACE
    assert verify(path, tasks, run.path / "records.jsonl").verdict == "equal", "compressed or not"
    packed = tmp_path / "got.gz"
    packed.write_bytes(gzip.compress((run.path / "records.jsonl").read_bytes()))
    assert verify(path, tasks, packed).verdict == "equal"
    assert set(read_kept(packed, entry)) == {"strict", "official", "samtok", "samtok_rl"}
    submit(run, tmp_path / "board", "org/model", "r1", tasks=tasks, records="none", replace=True)
    assert read_result(path).records is None


@pytest.mark.parametrize("place", ["somewhere", "http://a.org/x", "https://a.org/x y", ""])
def test_a_place_of_records_is_an_address(run, tmp_path, tasks, place):
    with pytest.raises(UsageError, match="expected beside, none or an address https://HOST/PATH"):
        submit(run, tmp_path / "board", "org/model", "r1", tasks=tasks, records=place)
    assert not (tmp_path / "board").exists()


def test_the_command_ends_with_the_codes_of_the_design(kept, tmp_path):
    board = tmp_path / "board"
    done = command("leaderboard", "verify", "--folder", board)
    assert done.returncode == 0 and "org/model @ r1" in done.stdout and "equal" in done.stdout, done.stderr
    edited(kept, lambda content: content.update(records=None))
    done = command("leaderboard", "verify", "--folder", board)
    assert done.returncode == 5 and "1 of 1 results not checked" in done.stderr
    edited(kept, lambda content: content["counters"].update(scored=1))
    edited(kept, lambda content: content.update(records={"sha256": "0" * 64}))
    done = command("leaderboard", "verify", kept)
    assert done.returncode == 2 and "unequal" in done.stdout and "1 of 1 results unequal" in done.stderr
    assert command("leaderboard", "verify", "--folder", tmp_path).returncode == 1


def test_records_rank_models_whose_intervals_overlap(make_run, tmp_path, tasks):
    """One more pixel of shift costs every fifth answer a little: the intervals overlap, the pairs do not."""

    def sometimes_further(sample):
        return shifted(4 if crc32(sample.id.encode()) % 5 == 0 else 3)(sample)

    board = tmp_path / "board"
    for name, masks in (("better", shifted(3)), ("worse", sometimes_further)):
        submit(load_run(make_run(name, masks, limit=None)), board, f"org/{name}", "r1", tasks=tasks)
    submit(load_run(tmp_path / "runs" / "worse"), board, "org/same", "r1", tasks=tasks)

    def ranks():
        build(board, tasks=tasks)
        (section,) = json.loads((board / "leaderboard.json").read_text())["sections"]
        table = section["tables"][0]
        return {row["name"].removeprefix("org/"): row["cells"][table["main"]]["rank"] for row in table["rows"]}

    assert ranks() == {"better": [1, 1], "worse": [2, 3], "same": [2, 3]}
    paired = paired_by(board / "results", tasks)
    better, worse, same = (
        read_result(board / "results" / f"org__{name}" / "r1" / "gres.json") for name in ("better", "worse", "same")
    )
    low, high = paired(worse, better, "strict", "giou")
    assert 0 < low < high and paired(better, worse, "strict", "giou") == (-high, -low)
    assert paired(worse, better, "strict", "no_such_metric") is None

    for path in (board / "results").rglob("*.gz"):
        path.unlink()
    assert paired_by(board / "results", tasks)(worse, better, "strict", "giou") is None
    assert ranks() == {"better": [1, 3], "worse": [1, 3], "same": [1, 3]}

    (board / "results" / "org__same" / "r1" / "gres.records.jsonl.gz").write_bytes(b"not it")
    with pytest.raises(DataError, match="holds other records"):
        paired_by(board / "results", tasks)(worse, same, "strict", "giou")


def test_no_shipped_result_differs_from_the_records_that_are_kept_beside_it(tasks):
    paths = sorted((PUBLISHED.parent / "results").rglob("*.json"))
    verdicts = {path: verify(path, tasks) for path in paths if records_beside(path).exists()}
    assert len(verdicts) >= 5
    assert {verdict.reason for verdict in verdicts.values() if verdict.verdict == "unequal"} == set()
