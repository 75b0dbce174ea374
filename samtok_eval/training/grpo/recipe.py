"""Settings of reinforcement learning, and what `trl` makes of them.

In: a recipe as a user states it, per update and over all devices. Out: `trl`'s configuration per device, or an error
that says which settings do not fit together.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch
from trl.trainer.grpo_config import GRPOConfig

from samtok_eval.errors import UsageError
from samtok_eval.files import write_json
from samtok_eval.training.grpo.decoded import DECODED
from samtok_eval.training.grpo.prompts import GrpoPrompt
from samtok_eval.training.rewards import SOURCES, check_weights

SETTINGS_FILE = "training.json"


@dataclass(frozen=True)
class GrpoTraining:
    """Every setting of one run."""

    steps: int | None
    """Updates; None follows from `epochs`."""
    epochs: int = 1
    """How often each prompt is met, where `steps` is None."""
    prompts_per_step: int = 128
    """Prompts of one update, over all devices."""
    samples: int = 8
    """Answers drawn per prompt."""
    updates_per_rollout: int = 1
    """Updates made from answers that were drawn at once; above 1 all but the first are slightly off-policy."""
    sequences_per_device: int = 4
    """Answers in one forward and backward pass."""
    learning_rate: float = 1e-6
    schedule: str = "constant"
    """A schedule of `transformers`, such as constant, linear or cosine."""
    warmup_steps: int = 0
    """Updates in which the rate rises from 0."""
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    kl_weight: float = 1e-2
    """Of the divergence from the start, estimated per token as in k3; 0 loads no reference model."""
    clip_low: float = 0.2
    clip_high: float = 0.3
    dual_clip: float | None = 3.0
    """Most that a likelihood ratio counts where the advantage is negative."""
    scale_advantages: Literal["group", "batch", "none"] = "group"
    """By which standard deviation of rewards advantages are divided, as in `trl`. Within a group, small differences
    between answers that are all nearly right weigh as much as large ones."""
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 8192
    held_out_tokens: int = 512
    """Where greedy answers to held-out questions are cut."""
    min_pixels: int | None = None
    max_pixels: int | None = None
    thinking: bool = False
    """Ask for reasoning before the answer."""
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: dict(SOURCES))
    """Weights of the rewards by name, for every source of prompts; those with `decoded` in their name compare masks."""
    no_target_share: float = 0.1
    """Of referring prompts drawn from scenes."""
    gcg_share: float = 0.25
    """Of prompts drawn from scenes."""
    evaluate_every: int = 20
    """Updates between reports on held-out questions."""
    save_every: int = 20
    """Updates between checkpoints to go on from."""
    stop_when_bought: bool = True
    """End training when reward rises while masks get worse; only warn otherwise."""
    patience: int = 2
    """Reports in a row that must say so."""
    vllm: bool = False
    """Draw answers with vLLM, which must be installed."""
    seed: int = 1


def check_sources(settings: GrpoTraining, prompts: Sequence[GrpoPrompt]) -> None:
    """Refuse prompts without rewards and rewards that do not exist.

    Raises:
        UsageError: the message names them.
    """
    for weights in settings.weights.values():
        check_weights(weights, DECODED)
    unknown = sorted({prompt.source for prompt in prompts} - set(settings.weights))
    if unknown:
        raise UsageError(
            f"prompts of the source {unknown[0]!r} have no rewards; expected one of {', '.join(settings.weights)}"
        )


def trl_config(settings: GrpoTraining, out: Path, prompts: int, cpu: bool) -> GRPOConfig:
    """Our settings as `trl` has them.

    Two things cannot be set there: it divides advantages by the standard deviation + 1e-4 (released: 1e-6), and it
    cuts no prompt (released: at 8192 tokens).

    Raises:
        UsageError: the answers of an update cannot be shared out evenly, there are too few prompts, or a checkpoint
            would fall between the updates of one rollout, from where nothing can be resumed exactly.
    """
    per_pass, answers = settings.sequences_per_device * _processes(), settings.prompts_per_step * settings.samples
    if answers % per_pass:
        raise UsageError(
            f"{settings.prompts_per_step} prompts x {settings.samples} samples = {answers} answers per update cannot "
            f"be shared out in passes of {per_pass}; choose sequences_per_device so that they can"
        )
    if settings.save_every % settings.updates_per_rollout:
        raise UsageError(
            f"save_every {settings.save_every} must be a multiple of updates_per_rollout {settings.updates_per_rollout}"
        )
    if prompts < settings.prompts_per_step * settings.updates_per_rollout:
        raise UsageError(
            f"{prompts} prompts are fewer than the {settings.prompts_per_step * settings.updates_per_rollout} of one "
            "rollout; give more prompts, or lower prompts_per_step"
        )
    passes = answers // per_pass
    return GRPOConfig(
        output_dir=str(out),
        max_steps=settings.steps if settings.steps is not None else -1,
        num_train_epochs=1,
        per_device_train_batch_size=settings.sequences_per_device,
        gradient_accumulation_steps=passes,
        steps_per_generation=passes * settings.updates_per_rollout,
        num_generations=settings.samples,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip_norm,
        beta=settings.kl_weight,
        epsilon=settings.clip_low,
        epsilon_high=settings.clip_high,
        delta=settings.dual_clip,
        loss_type="dapo",
        scale_rewards=settings.scale_advantages,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_completion_length=settings.max_new_tokens,
        shuffle_dataset=False,
        use_vllm=settings.vllm,
        use_cpu=cpu,
        bf16=not cpu,
        gradient_checkpointing=not cpu,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=2,
        logging_steps=1,
        report_to="tensorboard" if importlib.util.find_spec("tensorboard") else "none",
        disable_tqdm=True,
        seed=settings.seed,
    )


def epochs_needed(settings: GrpoTraining, prompts: int) -> int:
    """How often the prompts are laid out, so that so many steps never run out of them."""
    if settings.steps is None:
        return settings.epochs
    rollouts = math.ceil(settings.steps / settings.updates_per_rollout)
    return max(1, math.ceil(rollouts * settings.prompts_per_step * settings.updates_per_rollout / prompts))


def write_settings(settings: GrpoTraining, model: str | Path, out: Path, resume: bool) -> None:
    """Keep the settings beside the checkpoint; a run goes on only as it began, and never over another one.

    Raises:
        UsageError: `out` holds a run that is not to be resumed, or one with other settings.
    """
    path = out / SETTINGS_FILE
    now = {"model": str(model), **json.loads(json.dumps(asdict(settings)))}
    if resume and path.is_file():
        before = json.loads(path.read_text())
        changed = [name for name in now if name != "steps" and now[name] != before.get(name)]
        if changed:
            raise UsageError(
                f"{out} was begun with {changed[0]} {before.get(changed[0])}, not {now[changed[0]]}; "
                "go on with the same settings, or train into another folder"
            )
    if not resume:
        refuse_over(out)
    write_json(path, now)


def refuse_over(out: Path) -> None:
    """Refuse to train over another run.

    Raises:
        UsageError: `out` holds one.
    """
    if any(out.glob("checkpoint-*")):
        raise UsageError(f"{out} holds a run already; resume it, or train into another folder")


def on_cpu(device: str) -> bool:
    """Whether to train on the CPU.

    Raises:
        UsageError: CUDA was asked for and is absent, or the name is neither.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device must be auto, cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda: no CUDA device is visible; use cpu")
    return device == "cpu" or not torch.cuda.is_available()


def _processes() -> int:
    from accelerate import PartialState

    return int(PartialState().num_processes)
