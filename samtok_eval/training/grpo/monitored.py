"""`trl`'s trainer under the watch: its log lines hold what held-out masks are worth, and its rows are read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset
from transformers import PrinterCallback
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from samtok_eval.training.checkpoint_files import WholeCheckpoints

if TYPE_CHECKING:
    from datasets import Dataset
    from trl.trainer.grpo_config import GRPOConfig

    from samtok_eval.training.grpo.monitor import HeldOutMonitor

Reward = Callable[..., list[float | None]]
"""A reward as `trl` calls it."""


class MonitoredTrainer(WholeCheckpoints, GRPOTrainer):
    """GRPO whose log lines also say what held-out masks are worth."""

    def __init__(
        self,
        monitor: HeldOutMonitor,
        policy: Any,
        rewards: list[Reward],
        config: GRPOConfig,
        rows: Dataset,
        processor: Any,
        rollout: int,
    ) -> None:
        """Prepare.

        Args:
            monitor: writes the log.
            policy: the model.
            rewards: named functions.
            config: settings per device.
            rows: prompts, in the order in which they are trained on.
            processor: of the model.
            rollout: answers to these prompts that a device draws at once.
        """
        super().__init__(
            model=policy,
            reward_funcs=rewards,
            args=config,
            train_dataset=rows,
            processing_class=processor,
            callbacks=[monitor],
        )
        self.monitor, self.rollout = monitor, rollout
        # The monitor logs; printed dictionaries are not for libraries.
        self.remove_callback(PrinterCallback)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Put the waiting report into the line of the same update, so that reward and masks stand side by side."""
        super().log({**logs, **self.monitor.take()}, start_time)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Prompts of a rollout, handed out again for every pass of it, as `trl` wants; their pictures are read once."""
        rows = LastRows(self.train_dataset, self.rollout)
        sampler = self._get_train_sampler
        found: DataLoader[Any] = self._get_dataloader(rows, "Training", self.rollout, sampler, is_training=True)
        return found

    def _get_train_sampler(self, dataset: Any = None) -> Sampler[int]:
        """Prompts in their order, each as often as answers are drawn, a rollout as often as it has passes."""
        answers = self.rollout * self.accelerator.num_processes
        found: Sampler[int] = RepeatSampler(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=answers // self.num_generations,
            repeat_count=self.args.steps_per_generation,
            shuffle=False,
        )
        return found


class LastRows(TorchDataset[dict[str, Any]]):
    """Rows of which the last ones are kept, since reading one decodes its pictures."""

    def __init__(self, rows: Sequence[dict[str, Any]], most: int) -> None:
        """Keep up to `most` rows."""
        self.rows, self.most = rows, most
        self._kept: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        """All rows."""
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """A row of one's own, the pictures in it shared."""
        if number not in self._kept:
            if len(self._kept) >= self.most:
                del self._kept[next(iter(self._kept))]
            self._kept[number] = self.rows[number]
        return dict(self._kept[number])
