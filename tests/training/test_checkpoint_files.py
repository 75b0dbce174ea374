"""A checkpoint looks complete only when it is: killed anywhere, neither a resumed run nor a watch takes half of one."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import Dataset
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from samtok_eval.errors import UsageError
from samtok_eval.reports.watch.checkpoints import whole_checkpoints
from samtok_eval.tokenizer.model import MaskTokenizer
from samtok_eval.training.checkpoint_files import WholeCheckpoints, checkpoint_into, whole_folder
from tests.training.tokenizer.test_trainer import MODEL


class Line(PreTrainedModel):
    """The smallest model that a trainer trains."""

    config_class = PretrainedConfig

    def __init__(self, config):
        super().__init__(config)
        self.weight = torch.nn.Linear(1, 1)
        self.post_init()

    def forward(self, x, labels=None):
        return {"loss": ((self.weight(x) - labels) ** 2).mean()}


class Points(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        return {"x": torch.tensor([float(i)]), "labels": torch.tensor([2.0 * i])}


class LineTrainer(WholeCheckpoints, Trainer):
    """The trainer of the library, with checkpoints that appear whole."""


def trainer(out: Path) -> LineTrainer:
    torch.manual_seed(0)
    arguments = TrainingArguments(
        str(out), max_steps=6, save_steps=2, save_total_limit=2, per_device_train_batch_size=2, use_cpu=True,
        report_to="none", disable_tqdm=True, logging_steps=1,
    )  # fmt: skip
    return LineTrainer(Line(PretrainedConfig()), arguments, train_dataset=Points())


def killed(place, name: str, reached, work) -> bool:
    """Work in a process that is killed in a call: whether it came so far.

    Args:
        place: module or class of the function.
        name: of the function.
        reached: of the number of the call and its arguments, whether this is the one; it is still carried out.
        work: what the process does.
    """
    pid = os.fork()
    if pid == 0:
        plain, calls = getattr(place, name), itertools.count()

        def deadly(*args, **kwargs):
            number, found = next(calls), plain(*args, **kwargs)
            if reached(number, args):
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        setattr(place, name, deadly)
        try:
            work()
        finally:
            os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    out = tmp_path_factory.mktemp("straight")
    trainer(out).train()
    return out


def test_a_trainer_leaves_whole_checkpoints_and_only_as_many_as_were_asked_for(straight):
    assert {path.name for path in straight.iterdir()} == {"checkpoint-4", "checkpoint-6"}
    assert {"trainer_state.json", "optimizer.pt", "rng_state.pth", "model.safetensors"} <= {
        path.name for path in (straight / "checkpoint-6").iterdir()
    }
    assert [found.step for found in whole_checkpoints(straight)] == [4, 6]


STATES = ("optimizer.pt", "scheduler.pt", "rng_state.pth")


def kill_while_saving(folder: Path) -> None:
    """Train in processes that are killed right after they have written one of the states of step 4."""
    for state in STATES:
        end, out = f"checkpoint-4/{state}", folder / state
        assert killed(torch, "save", lambda _, args, end=end: str(args[1]).endswith(end), trainer(out).train)


@pytest.fixture(scope="module")
def killed_runs(tmp_path_factory):
    """In a process of its own, since torch does not survive a fork once it has computed."""
    folder = tmp_path_factory.mktemp("killed")
    code = f"from {__name__} import *; kill_while_saving(Path({str(folder)!r}))"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    return folder


@pytest.mark.parametrize("state", STATES)
def test_a_run_killed_while_it_saves_leaves_no_checkpoint_and_goes_on_from_the_one_before(straight, killed_runs, state):
    out = killed_runs / state
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-2"]
    assert len([*out.glob(".*.part")]) == 1
    assert [found.step for found in whole_checkpoints(out)] == [2]
    trainer(out).train(resume_from_checkpoint=get_last_checkpoint(str(out)))
    assert {path.name for path in out.iterdir()} == {"checkpoint-4", "checkpoint-6"}
    expected, found = (load_file(folder / "checkpoint-6" / "model.safetensors") for folder in (straight, out))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def checkpoint(value: float, shards: int = 1):
    """A function that writes a checkpoint, as `save_pretrained` does."""
    names = (
        ["model.safetensors"] if shards == 1 else [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(2)]
    )

    def write(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", *names, "tokenizer.json"):
            (folder / name).write_text(json.dumps(value))

    return write


def values_of(folder: Path) -> set[float]:
    """Of the files of a checkpoint, beside which those of a training may lie."""
    files = [path for path in folder.iterdir() if path.is_file() and path.name != "training.json"]
    return {json.loads(path.read_text()) for path in files}


def looks_whole(folder: Path) -> bool:
    """Nothing loads a checkpoint without its configuration."""
    return (folder / "config.json").is_file()


def test_an_export_killed_anywhere_leaves_no_mixture_that_looks_whole(tmp_path):
    """Over an earlier checkpoint, beside the files of its training; a real kill after each step on the disk."""

    def work(out):
        with checkpoint_into(out) as content:
            checkpoint(2, shards=2)(content)

    seen = set()
    for function in ("replace", "unlink", "write_text"):
        for boundary in itertools.count():
            out = tmp_path / f"{function}-{boundary}"
            checkpoint(1)(out)
            (out / "training.json").write_text("{}")
            ended = not killed(Path, function, lambda number, _, at=boundary: number == at, lambda out=out: work(out))
            values = values_of(out)
            whole = looks_whole(out)
            assert not whole or len(values) == 1, (function, boundary)
            seen.add(values.pop() if whole else None)
            work(out)
            names = {path.name for path in out.iterdir()}
            assert names >= {"config.json", "tokenizer.json", "training.json"} and len(names) == 5
            assert values_of(out) == {2}
            if ended:
                break
    assert seen == {1, None, 2}


def test_a_folder_of_its_own_is_the_old_or_the_new_one_whenever_it_is_killed(tmp_path):
    def work(out):
        with whole_folder(out) as content:
            checkpoint(2)(content)

    for function in ("replace", "unlink", "write_text"):
        for boundary in itertools.count():
            out = tmp_path / f"{function}-{boundary}" / "best"
            checkpoint(1)(out)
            ended = not killed(Path, function, lambda number, _, at=boundary: number == at, lambda out=out: work(out))
            assert values_of(out) in ({1}, {2}) and len([*out.iterdir()]) == 3
            work(out)
            assert [path.name for path in out.parent.iterdir()] == ["best"]
            if ended:
                break


def test_an_export_that_the_disk_refuses_leaves_the_earlier_checkpoint(tmp_path):
    checkpoint(1)(tmp_path)
    with pytest.raises(UsageError, match="cannot be written"), checkpoint_into(tmp_path) as content:
        checkpoint(2)(content)
        raise OSError(28, "No space left on device")
    assert {path.read_text() for path in tmp_path.iterdir()} == {"1"}


def test_new_weights_of_a_mask_tokenizer_never_lie_beside_the_configuration_of_others(tmp_path):
    first, second = (MaskTokenizer(MODEL.model_copy(update={"codebook_size": size})) for size in (16, 32))
    first.save_pretrained(tmp_path)
    assert killed(Path, "replace", lambda number, _: number == 0, lambda: second.save_pretrained(tmp_path))
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".part"} == {"model.safetensors"}
    second.save_pretrained(tmp_path)
    assert MaskTokenizer.from_pretrained(tmp_path).config == second.config
    # The same configuration stays, so that the weights of a later step replace those of an earlier one in one.
    assert killed(Path, "replace", lambda number, _: number == 0, lambda: second.save_pretrained(tmp_path))
    assert MaskTokenizer.from_pretrained(tmp_path).config == second.config
