"""Settings of tokenizing: what decides the bytes of a conversation (`ConversationRecipe`), and what does not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from samtok_eval.errors import UsageError
from samtok_eval.setting import COUNT, FROM_ZERO, Setting, check_ranges

Answers = Literal["json", "words"]
"""How a segmentation is answered: `json` as the released training data has it, a fenced list of masks with labels;
`words` as the task's oracle says it, mask words alone. Answers that say more than masks are the same in both."""


@dataclass(frozen=True)
class ConversationRecipe:
    """Which conversations are written, and how."""

    answers: Annotated[
        Answers,
        Setting("Write segmentations as a JSON list with labels, as in released data, or as mask words only."),
    ] = "json"
    prompt: Annotated[str | None, Setting("Another published wording of the task's question.")] = None
    limit: Annotated[int | None, Setting("Only N samples, the first of the file.", within=COUNT)] = None
    seed: Annotated[int | None, Setting("Draw the --limit samples from the whole split.", within=FROM_ZERO)] = None
    batch_size: Annotated[
        int, Setting("Pictures encoded together; their codes may depend on it in last bits.", within=COUNT)
    ] = 8

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            UsageError: names the setting, its value and its range.
        """
        check_ranges(self)
        if self.seed is not None and self.limit is None:
            raise UsageError(f"--seed {self.seed}: expected together with --limit; it draws those samples")


@dataclass(frozen=True)
class ConversationJob:
    """What is tokenized with what, and where; device and dtype are kept by the tokenizer, which the manifest names."""

    data_root: Annotated[str, Setting("Folder of the benchmarks' own files, or demo.")] = "demo"
    out: Annotated[Path, Setting("Conversations go to OUT/TASK/SPLIT.")] = Path("conversations")
    tokenizer: Annotated[str, Setting("Mask tokenizer: demo, a folder, a file or a Hub id.")] = "demo"
    device: Annotated[str, Setting("auto, cpu or cuda.")] = "auto"
    dtype: Annotated[str, Setting("auto (bf16 on CUDA, fp32 on CPU), fp32, bf16, fp16.")] = "auto"
    max_errors: Annotated[
        int, Setting("Skipped samples allowed before exit code 3, over all processes.", within=FROM_ZERO)
    ] = 0
    rank: Annotated[int | None, Setting("This process's share; torchrun's own by default.")] = None
    world_size: Annotated[int | None, Setting("Processes; torchrun's own by default.")] = None
    tasks_dirs: Annotated[tuple[Path, ...], Setting("Folder with task files of your own.", "--tasks-dir")] = ()
    fresh: Annotated[bool, Setting("Start anew, or resume where a run stopped (default).", "--fresh/--resume")] = False

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            UsageError: names the setting, its value and its range.
        """
        check_ranges(self)

    def share(self) -> tuple[int, int]:
        """Which share of how many this process takes; `torchrun` tells its processes by RANK and WORLD_SIZE.

        Raises:
            UsageError: half of it is given, or there is no such share.
        """
        if (self.rank is None) != (self.world_size is None):
            raise UsageError("--rank and --world-size belong together; give both or neither")
        if self.rank is not None and self.world_size is not None:
            rank, world_size = self.rank, self.world_size
        else:
            try:
                rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
            except ValueError as error:
                raise UsageError(
                    f"RANK and WORLD_SIZE must be numbers ({error}); give --rank and --world-size"
                ) from error
        if not 0 <= rank < world_size:
            raise UsageError(f"--rank {rank} --world-size {world_size}: expected 0 <= rank < world size")
        return rank, world_size
