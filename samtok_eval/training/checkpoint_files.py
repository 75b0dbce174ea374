"""Checkpoints that look complete only when they are, whenever the process that writes them is killed.

In: what `save_pretrained` and the trainers of `transformers` and `trl` write. Out: `checkpoint-STEP` folders that
appear whole, so that neither a resumed run nor `samtok-eval watch` nor anybody else takes half of one; and checkpoints
beside other files of a run, whose `config.json`, without which nothing loads them, is the last to appear.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from samtok_eval.files import writing
from samtok_eval.unfinished import CONTENT, flush, put, unfinished, workspace

CONFIG = "config.json"
WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
"""Of an earlier checkpoint, which may have been of more files."""


@contextmanager
def checkpoint_into(out: Path) -> Iterator[Path]:
    """A folder to write a checkpoint to, whose files appear in `out` at the end, in the place of an earlier checkpoint.

    Args:
        out: may hold other files, which stay, or not exist yet.

    Raises:
        UsageError: the system refuses, e.g. because the disk is full; an earlier checkpoint then stays.
    """
    with writing(out):
        if not out.is_dir() or not any(out.iterdir()):
            with whole_folder(out) as content:
                yield content
            return
        with workspace(out) as place:
            yield place / CONTENT
            flush(place / CONTENT)
            _move(place / CONTENT, out)


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """The same for a folder that holds nothing else: an earlier one is exchanged in one step.

    Raises:
        UsageError: the system refuses; an earlier folder then stays.
    """
    with writing(out), unfinished(out) as content:
        yield content
        flush(content)


class WholeCheckpoints(Trainer):  # type: ignore[misc]
    """For a trainer: `checkpoint-STEP` is written beside its place and moved there when all processes have written."""

    _place: Path | None = None

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._place is None else str(self._place)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        out, name = Path(super()._get_output_dir(trial)), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        first = self.is_world_process_zero()
        with ExitStack() as stack:
            shared: list[Any] = [None]
            if first:
                stack.enter_context(writing(out / name))
                out.mkdir(parents=True, exist_ok=True)
                shared = [str(stack.enter_context(workspace(out)))]
            broadcast_object_list(shared)
            self._place = place = Path(shared[0])
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._place = None
            # Every process writes its random state.
            self.accelerator.wait_for_everyone()
            if first:
                flush(place / name)
                put(place / name, out / name)
                # The trainer looked for older ones where this one was written.
                rotate_checkpoints(
                    str(out), self.args.save_total_limit, self.state.best_model_checkpoint, use_mtime=True
                )
        self.accelerator.wait_for_everyone()


def _move(content: Path, out: Path) -> None:
    (out / CONFIG).unlink(missing_ok=True)
    for path in {path for pattern in WEIGHTS for path in out.glob(pattern)}:
        path.unlink()
    for path in sorted(content.iterdir(), key=lambda path: path.name == CONFIG):
        put(path, out / path.name)
