"""Several processes on one run: every batch is asked once, all end together, and a lost process is named."""

from __future__ import annotations

import json
import threading
import time
from contextlib import nullcontext

import pytest
from torch.distributed import TCPStore

from samtok_eval import evaluate
from samtok_eval.errors import DataError, IncompleteRunError, TooManyErrorsError, UsageError
from samtok_eval.prediction_log import PredictionLog
from samtok_eval.run import ranks
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.ranks import Launch, OtherRankFailedError, Ranks, Shard, launched, shard_of
from samtok_eval.run.settings import RunOptions
from samtok_eval.run.shards import check_shards, mark_shard
from tests.support.command import command

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "29500"}
SRUN = {"SLURM_PROCID": "3", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_STEP_ID": "0"}
PLACE = {"MASTER_ADDR": "node0", "MASTER_PORT": "29500"}


@pytest.fixture
def group():
    """A function that makes the processes of a command, as threads of this one see them."""
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def make(world, silence=10.0):
        return [Ranks(TCPStore("127.0.0.1", server.port), rank, world, silence) for rank in range(world)]

    return make


def at_once(functions):
    """What each function returned or raised, all run at the same time."""
    results = [None] * len(functions)

    def call(i):
        try:
            results[i] = functions[i]()
        except (IncompleteRunError, OtherRankFailedError, TooManyErrorsError) as error:
            results[i] = error

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (TORCHRUN, Launch(3, 8, 1)),
        ({**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"}, None),
        (SRUN | PLACE, Launch(3, 8, 1)),
        (SRUN | TORCHRUN | {"RANK": "2"}, Launch(2, 8, 1)),
        # The batch script itself, before `srun`.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}, None),
    ],
)
def test_torchrun_and_srun_tell_a_process_who_it_is(environment, expected):
    assert launched(environment) == expected


def test_srun_without_a_meeting_place_is_refused_since_all_would_write_one_file():
    with pytest.raises(UsageError, match="8 processes were started, and MASTER_ADDR"):
        launched(SRUN)


def test_every_batch_is_taken_by_exactly_one_process_and_the_faster_one_takes_more(group):
    def asked(crew, seconds):
        share, taken = crew.run(), []
        for batch in share.of(range(30)):
            time.sleep(seconds)
            taken.append(batch)
        share.finish()
        return taken

    fast, slow = at_once([lambda c=c, s=s: asked(c, s) for c, s in zip(group(2), (0.001, 0.03), strict=True)])
    assert sorted(fast + slow) == list(range(30))
    assert len(fast) > len(slow) > 0


@pytest.mark.parametrize(("count", "world"), [(0, 2), (1, 4), (75, 2), (1000, 8)])
def test_batches_are_taken_in_stretches_that_shrink_to_one_and_leave_none_out(count, world):
    stretches = ranks._stretches(count, world)
    sizes = [len(range(count)[stretch]) for stretch in stretches]
    assert [batch for stretch in stretches for batch in range(count)[stretch]] == list(range(count))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-world:] == [1] * min(count, world)
    assert not sizes or sizes[0] <= max(1, count / (4 * world))


def test_two_processes_rarely_part_the_batches_of_one_picture(group):
    """75 batches of 8 questions, 6 on each picture: one by one, 142 pictures are encoded instead of 100."""
    pictures = [{question // 6 for question in range(8 * batch, min(8 * batch + 8, 593))} for batch in range(75)]

    def encoded(crew):
        seen = set()
        for batch in crew.run().of(pictures):
            time.sleep(0.001)
            seen |= batch
        return len(seen)

    both = at_once([lambda c=crew: encoded(c) for crew in group(2)])
    assert 99 <= sum(both) <= 120


def test_the_runs_of_a_command_are_shared_one_after_the_other(group):
    def both(crew):
        return [list(crew.run().of(range(4))) for _ in range(2)]

    one, other = at_once([lambda c=c: both(c) for c in group(2)])
    assert [sorted(mine + yours) for mine, yours in zip(one, other, strict=True)] == [[0, 1, 2, 3]] * 2


def test_the_others_get_the_folder_of_the_first(group):
    values = ["runs/x", None, None]
    assert at_once([lambda c=c, v=v: c.run().same(v) for c, v in zip(group(3), values, strict=True)]) == ["runs/x"] * 3


def test_counters_are_sums_over_all_processes(group):
    first, second = (crew.run() for crew in group(2))
    assert (first.add("errors", 2), second.add("errors", 3), first.add("errors", 0)) == (2, 5, 5)


def test_a_failure_ends_all_processes_with_one_exit_code_and_one_of_them_tells_it(group):
    def fails(crew):
        with crew.together():
            raise TooManyErrorsError("3 samples failed")

    def goes_on(crew):
        with crew.together():
            for _ in crew.run().of(range(10_000)):
                time.sleep(0.01)

    one, other = group(2)
    failed, ended = at_once([lambda: fails(one), lambda: goes_on(other)])
    assert (type(failed), type(ended)) == (TooManyErrorsError, OtherRankFailedError)
    assert failed.exit_code == ended.exit_code == 3


def test_the_first_process_names_the_one_that_is_lost(group):
    first, lost = group(2, silence=0.3)
    next(iter(lost.run().of(range(2))))
    share = first.run()
    assert list(share.of(range(2))) == [1]
    with pytest.raises(IncompleteRunError, match="no sign of rank 1 for"):
        share.finish()


def test_processes_that_lose_their_store_say_so():
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    crew = Ranks(TCPStore("127.0.0.1", server.port), 1, 2)
    del server
    with pytest.raises(IncompleteRunError, match="through which the ranks talk has ended"):
        list(crew.run().of(range(3)))


def test_processes_that_do_not_come_are_an_error(monkeypatch):
    monkeypatch.setattr(ranks, "JOIN_SECONDS", 0.5)
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="rank 0 of 2 does not find the others"):
        ranks.joined.__wrapped__(Launch(0, 2, 0))


def test_ranks_are_refused_where_one_process_takes_several_gpus_by_itself(monkeypatch, tmp_path):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="give --tensor-parallel N instead of starting ranks, or --shard I/N"):
        evaluate("gres", model="vllm:demo", out=tmp_path)


def test_a_repair_cuts_off_torn_lines_of_every_part_and_nothing_else(tmp_path):
    folder = RunFolder(tmp_path)
    folder.part(0).parent.mkdir()
    folder.part(0).write_text('{"id": "1"}\n')
    folder.part(2).write_text('{"id": "2"}\n{"id": "3')
    folder.repair()
    assert [part.read_text() for part in folder.parts()] == ['{"id": "1"}\n', '{"id": "2"}\n']


def test_a_part_that_is_being_written_is_not_repaired(tmp_path):
    folder = RunFolder(tmp_path)
    with PredictionLog(folder.part(1)), pytest.raises(UsageError, match="another process is writing"):
        folder.repair()


def test_shards_share_a_folder_and_a_whole_run_has_it_alone(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.held(shared=True):
        with folder.held(shared=True):
            pass
        with pytest.raises(UsageError, match="wait for it, or use --fresh"), folder.held():
            pass
    with folder.held(), pytest.raises(UsageError, match="another process"), folder.held(shared=True):
        pass


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "a/b", "0/0", "1/2/3"])
def test_a_shard_is_one_of_so_many(text):
    with pytest.raises(UsageError, match="expected I/N with I from 0 to N-1"):
        shard_of(text)


def test_shards_together_take_every_batch_once():
    assert list(Shard().of("abcde")) == list("abcde")
    assert ["".join(shard_of(f"{i}/3").of("abcdefgh")) for i in range(3)] == ["adg", "beh", "cf"]


def test_a_shard_of_another_number_is_refused_before_it_asks_and_leaves_nothing(tmp_path):
    for i in (1, 0, 1):
        mark_shard(tmp_path, Shard(i, 2))
    with pytest.raises(UsageError, match=r"--shard 0/3: .* was begun with shards of 2; give --shard I/2"):
        mark_shard(tmp_path, Shard(0, 3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard-0-of-2", "shard-1-of-2"]
    check_shards(tmp_path)


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ([], None, ""),
        (["shard-1-of-2", "shard-0-of-2", "shard-x-of-2", "shard-2-of-2", "part-0.jsonl"], None, ""),
        (["shard-1-of-4"], IncompleteRunError, "lacks shard 0/4, 2/4, 3/4; copy"),
        (["shard-0-of-1000000000000"], IncompleteRunError, "lacks shard 1/.* and 999999999991 more"),
        (["shard-0-of-2", "shard-1-of-2", "shard-2-of-3"], DataError, "shards of different runs: 0/2 and 2/3"),
    ],
)
def test_a_folder_is_scored_when_all_shards_of_one_number_are_there(tmp_path, names, error, message):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(error, match=message) if error else nullcontext():
        check_shards(tmp_path)


def test_shards_are_scored_like_one_run_and_missing_ones_are_named(demo_root, tmp_path):
    words = ["--task", "gres", "--model", "random", "--data-root", demo_root, "--limit", 12, "--batch-size", 2]
    first = command("run", *words, "--shard", "0/2", "--out", tmp_path / "cut")
    assert first.returncode == 0 and first.stdout.startswith("predictions in "), first.stderr
    (folder,) = (path.parent for path in (tmp_path / "cut").rglob("manifest.json"))
    score = ["score", "--task", "gres", "--data-root", demo_root, "--predictions", folder, "--out", folder]
    early = command(*score)
    assert (early.returncode, "lacks shard 1/2; copy what" in early.stderr) == (5, True), early.stderr
    assert not (folder / "metrics.json").exists()
    assert command("predict", *words, "--shard", "1/2", "--out", tmp_path / "cut").returncode == 0
    assert [part.read_text().count("\n") for part in RunFolder(folder).parts()] == [6, 6]
    assert command(*score).returncode == 0
    (folder / "predictions" / "shard-2-of-3").touch()
    mixed = command(*score)
    assert (mixed.returncode, "shards of different runs: 0/2 and 2/3" in mixed.stderr) == (2, True), mixed.stderr
    whole = evaluate("gres", model="random", data_root=str(demo_root), limit=12, batch_size=2, out=tmp_path / "whole")
    assert whole.path.relative_to(tmp_path / "whole") == folder.relative_to(tmp_path / "cut")
    assert json.loads((folder / "metrics.json").read_text()) == whole.metrics.to_json()
    # The same command without --shard finds all answers, and asks nothing.
    again = evaluate("gres", model="random", data_root=str(demo_root), limit=12, batch_size=2, out=tmp_path / "cut")
    assert again.manifest.counters["predicted"] == 0
    assert again.metrics == whole.metrics
    assert not list((folder / "predictions").glob("shard-*"))
    assert score_file(RunOptions(task="gres", data_root=str(demo_root), out=folder), folder).metrics == whole.metrics
