"""Reinforcement on prompts from a file, watched by a benchmark: a recipe and files -> a trained checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from samtok_eval.registry import load_tasks
from samtok_eval.run.samples import read_samples
from samtok_eval.tokenizer.model import MaskTokenizer
from samtok_eval.training.grpo.held_out import HeldOutQuestion, sample_questions
from samtok_eval.training.grpo.prompts import read_prompts
from samtok_eval.training.grpo.recipe import GrpoJob, GrpoRecipe, Preset
from samtok_eval.training.grpo.trainer import train_grpo

HELD_OUT_SAMPLES = 200


def train_from_data(recipe: GrpoRecipe, job: GrpoJob, held_out: Sequence[HeldOutQuestion]) -> list[dict[str, Any]]:
    """Train on the prompts in `job.data`.

    Args:
        recipe: settings.
        job: prompts, checkpoint, folder and everything around.
        held_out: what is reported on.

    Returns:
        The lines of the log.

    Raises:
        UsageError: no prompts or no checkpoint is named, or what `train_grpo` refuses.
        CheckpointError: a checkpoint cannot be loaded.
        DataError: prompts cannot be read.
    """
    prompts = read_prompts(job.prompt_file())
    mask_tokenizer = MaskTokenizer.from_pretrained(job.tokenizer or job.start_model())
    return train_grpo(recipe, job, mask_tokenizer, prompts, held_out)


def benchmark_questions(preset: Preset, data_root: str) -> list[HeldOutQuestion]:
    """Questions of the benchmark that a preset holds out.

    Raises:
        DataError: it cannot be read.
    """
    task = load_tasks()[preset.task]
    samples = read_samples(task, task.metadata.default_split, data_root, HELD_OUT_SAMPLES)
    return sample_questions(samples, preset.source)
