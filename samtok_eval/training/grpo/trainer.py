"""Reinforcement learning of a vision-language model on mask words: GRPO with rewards on text, watched by masks.

In: a checkpoint shaped like Qwen2.5-VL or Qwen3-VL, prompts with right answers, held-out questions. Out: the trained
checkpoint, `best/` with the state of the highest held-out gIoU if it beat the start, and `training_log.jsonl`. The
vision tower is frozen, everything else is trained. The algorithm is `trl`'s `GRPOTrainer`; settings and rewards are
those of SAMTok (arXiv 2601.16093, `rl/config.yaml` and `rl/reward_function/text2mask.py`). Prompts whose captions are
checked by finding the region again are trained on as in CycleGRPO (`cycle_trainer.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging as transformers_logging

from samtok_eval.device import choose_device, memory_named
from samtok_eval.errors import CheckpointError
from samtok_eval.hub import local_folder
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout
from samtok_eval.models.checkpoint import bound_pixels, load_vision_language
from samtok_eval.models.transformers_backend import answer_text, mask_word_ids, stop_ids
from samtok_eval.training import eval_callback
from samtok_eval.training.checkpoint_files import checkpoint_into
from samtok_eval.training.cycle import CYCLES, cycle_of
from samtok_eval.training.eval_callback import EvaluationCallback
from samtok_eval.training.folder import TrainingFolder, start_of
from samtok_eval.training.grpo.cycle_trainer import CycleSettings, CycleTrainer
from samtok_eval.training.grpo.decoded import DECODED, decoded_rewards
from samtok_eval.training.grpo.held_out import HeldOutQuestion
from samtok_eval.training.grpo.monitor import LOG_FILE, START_FILE, HeldOutMonitor
from samtok_eval.training.grpo.monitored import MonitoredTrainer
from samtok_eval.training.grpo.prompts import GROUNDING_PROMPTS, THINK, GrpoPrompt, check_references, dataset_of
from samtok_eval.training.grpo.recipe import GrpoJob, GrpoRecipe
from samtok_eval.training.grpo.trl_settings import check_sources, epochs_needed, passes_per_update, trl_config
from samtok_eval.training.ranks import Ranks
from samtok_eval.training.rewards import rewards_of

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer

VISION = "visual"
"""Name of the vision tower in both families."""
LOWER = ("--sequences-per-device", "--updates-per-rollout or --samples", "--max-new-tokens or --max-pixels")
ALSO = "--kl-weight 0 saves the reference model, --vllm draws answers in less memory"
"""What saves memory."""


def train_grpo(
    recipe: GrpoRecipe,
    job: GrpoJob,
    mask_tokenizer: MaskTokenizer,
    prompts: Sequence[GrpoPrompt],
    held_out: Sequence[HeldOutQuestion],
) -> list[dict[str, Any]]:
    """Train, report, save.

    A run that is resumed ends with the same weights as one that was never interrupted: prompts keep their order, and
    checkpoints hold weights, optimizer and random state. Under torchrun every process takes its share.

    Args:
        recipe: settings.
        job: the checkpoint to start from, where to run, and the folder of the new checkpoint, of `checkpoint-N/` to
            go on from, of the log and of TensorBoard's `runs/`.
        mask_tokenizer: decodes held-out answers; its layout is that of all mask words.
        prompts: what is trained on.
        held_out: what is reported on; must not overlap with the prompts.

    Returns:
        The lines of `training_log.jsonl`.

    Raises:
        UsageError: settings that do not fit together or the machine, or too little memory; the message says what to
            change.
        CheckpointError: the checkpoint cannot be loaded or has not the mask words of the layout.
        DataError: the prompts' right answers are in words of another layout.
    """
    model, out = job.start_model(), job.out
    torch.set_num_threads(job.threads)
    # First of all: on CPUs nothing else knows of the other processes before settings are shared out among them.
    Ranks(job.device)
    transformers_logging.disable_progress_bar()
    check_sources(recipe, prompts)
    layout = mask_tokenizer.config.layout
    check_references(prompts, layout)
    policy, processor = load_policy(model, layout)
    published = Published.of(policy, processor)
    bound_pixels(processor, recipe.min_pixels, recipe.max_pixels)
    config = trl_config(recipe, out, len(prompts), choose_device(job.device) == "cpu")
    rows = dataset_of(prompts, recipe.thinking, epochs_needed(recipe, len(prompts)), recipe.seed)
    state = grpo_folder(out).begin({"model": model, **asdict(recipe)}, start_of(job.resume, job.fresh))
    suffix = f" {THINK}" if recipe.thinking else ""
    monitor = HeldOutMonitor(recipe, processor, mask_tokenizer, held_out, out, suffix, published.save)
    rewards = reward_functions(recipe, processor, published.generation, mask_tokenizer)
    drawn = recipe.sequences_per_device * passes_per_update(recipe) * recipe.updates_per_rollout
    around = (monitor, policy, rewards, config, rows, processor, drawn)
    load = f"{recipe.sequences_per_device} answers per pass and {drawn} drawn at once per device"
    trainer: MonitoredTrainer
    if cycle_of(recipe.weights):
        cycle = _cycle(recipe, processor, published.generation, layout, suffix)
        trainer = CycleTrainer(cycle, *around)
        load += f", then {recipe.groundings} to the grounding question of each caption"
    else:
        trainer = MonitoredTrainer(*around)
    if job.eval_tasks is not None:
        trainer.add_callback(
            EvaluationCallback.asked_by(
                job, trainer, processor, layout,
                tokenizer=job.tokenizer or model, out=out, device=job.device, log=monitor.hold,
            )
        )  # fmt: skip
    with memory_named(load, LOWER, ALSO):
        trainer.train(resume_from_checkpoint=str(state) if state else None)
    if trainer.accelerator.is_main_process:
        with checkpoint_into(out) as content:
            published.save(policy, processor, content)
    trainer.accelerator.wait_for_everyone()
    return monitor.lines


class Published(NamedTuple):
    """What training changes in a checkpoint's settings and must not be saved: `trl` its generation, we its pictures."""

    generation: Any
    image_size: dict[str, Any]

    @classmethod
    def of(cls, policy: Any, processor: Any) -> Published:
        """As they are now."""
        return cls(copy.deepcopy(policy.generation_config), dict(processor.image_processor.size))

    def save(self, policy: Any, processor: Any, out: Path) -> None:
        """Write model and processor as any checkpoint, with these settings, and leave both as they are."""
        used = Published.of(policy, processor)
        policy.generation_config, processor.image_processor.size = copy.deepcopy(self.generation), self.image_size
        policy.save_pretrained(out)
        processor.save_pretrained(out)
        policy.generation_config, processor.image_processor.size = used


def load_policy(model: str | Path, layout: Layout = DEFAULT_LAYOUT) -> tuple[Any, Any]:
    """The model with a frozen vision tower, float32, and its processor.

    Args:
        model: folder or hub repository.
        layout: of the mask tokenizer that decodes its answers.

    Raises:
        CheckpointError: nothing loadable there, not the mask words of the layout, or no vision tower of a known name.
    """
    policy, processor = load_vision_language(local_folder(str(model)), torch.float32, model)
    mask_word_ids(processor.tokenizer, str(model), layout)
    processor.tokenizer.padding_side = "left"
    frozen = [p for name, p in policy.named_parameters() if VISION in name.split(".")]
    if not frozen:
        raise CheckpointError(
            f"{model} has no vision tower called {VISION!r}; expected a model shaped like Qwen2.5-VL or Qwen3-VL"
        )
    for parameter in frozen:
        parameter.requires_grad_(False)
    return policy, processor


def _cycle(recipe: GrpoRecipe, processor: Any, generation: Any, layout: Layout, suffix: str) -> CycleSettings:
    tokenizer = processor.tokenizer
    return CycleSettings(
        weights=cycle_of(recipe.weights),
        prompt=GROUNDING_PROMPTS[recipe.grounding_prompt],
        suffix=suffix,
        answers=recipe.groundings,
        trained=recipe.train_groundings,
        passes=passes_per_update(recipe),
        text=partial(answer_text, tokenizer=tokenizer, stops=_stops(generation, tokenizer)),
        special=[word for word in tokenizer.all_special_tokens if word not in layout.words],
        layout=layout,
    )


def reward_functions(
    settings: GrpoRecipe, processor: Any, generation: Any, mask_tokenizer: MaskTokenizer
) -> list[Callable[..., list[float | None]]]:
    """One weighted reward function per name, in the form that `trl` calls; None where it takes no part in a prompt.

    Answers are decoded from their ids: `trl` hands on texts without special tokens, and in some checkpoints phrase
    marks or mask words are such, so that every reward would be 0 for ever.
    """
    stops = _stops(generation, processor.tokenizer)
    on_words = rewards_of(mask_tokenizer.config.layout)
    names = list(dict.fromkeys(name for weights in settings.weights.values() for name in weights))

    def function(name: str) -> Callable[..., list[float | None]]:
        def rewards(
            completion_ids: list[list[int]],
            reference: list[str],
            source: list[str],
            images: list[Any],
            agreement: Sequence[float | None] = (),
            **_: Any,
        ) -> list[float | None]:
            weights = [settings.weights[origin].get(name) for origin in source]
            counted = [i for i, weight in enumerate(weights) if weight is not None]
            texts = [answer_text(completion_ids[i], processor.tokenizer, stops) for i in counted]
            true = [reference[i] for i in counted]
            if name in DECODED:
                pictures = [images[i][0] for i in counted]
                values = decoded_rewards(DECODED[name], texts, true, pictures, mask_tokenizer)
            elif name in CYCLES:
                means = [mean for i in counted if (mean := agreement[i]) is not None]
                values = [CYCLES[name].caption(*both).total for both in zip(texts, means, strict=True)]
            else:
                values = [on_words[name](*both) for both in zip(texts, true, strict=True)]
            earned = dict(zip(counted, values, strict=True))
            return [None if weight is None else weight * earned[i] for i, weight in enumerate(weights)]

        rewards.__name__ = name
        return rewards

    return [function(name) for name in names]


def _stops(generation: Any, tokenizer: Any) -> set[int | None]:
    return stop_ids(generation) | {tokenizer.eos_token_id}


def grpo_folder(out: Path) -> TrainingFolder:
    """The folder of a run: `checkpoint-N/` to go on from, `best/`, logs, and the checkpoint."""
    leaves = ("checkpoint-*", "best", LOG_FILE, START_FILE, "runs", eval_callback.FOLDER)
    return TrainingFolder(out, _newest, leaves, GrpoRecipe)


def _newest(out: Path) -> Path | None:
    found = get_last_checkpoint(str(out))
    return Path(found) if found else None
