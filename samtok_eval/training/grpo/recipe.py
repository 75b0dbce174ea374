"""Settings of reinforcement learning: what changes a number (`GrpoRecipe`), what does not (`GrpoJob`), and the paper's.

The values of `paper-gres` and `paper-gcg` are those of `rl/config.yaml` and its shell scripts: groups of 8 (GRES) or 16
(GCG) answers, 512 prompts per rollout and 128 per update, learning rate 1e-6 held constant, divergence 1e-2, clipping
0.2 below and 0.3 above with a dual clip of 3, pictures of 3,136 to 1,605,632 pixels, 16 epochs (GRES) or 1 (GCG), 8
GPUs, the language model trained in full with the vision tower frozen. They start from a supervised checkpoint.
`paper-cyclegrpo` is `projects/rl/qwen3vl_4b_mt.sh` of CycleGRPO: 128 prompts of 8 answers and one update per rollout, 6
answers to the grounding question of each caption, no thinking, 1 epoch; `paper-closed-cycle` is the same without the
gaps of its rewards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from samtok_eval.errors import UsageError
from samtok_eval.files import finite_number
from samtok_eval.setting import COUNT, FROM_ZERO, POSITIVE, SHARE, Range, Setting, check_ranges
from samtok_eval.training.cycle import cycle_sources
from samtok_eval.training.eval_options import EvaluatedWhileTraining
from samtok_eval.training.rewards import SOURCES

SCHEDULES = (
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
)
"""Those of transformers that need no further settings."""


@dataclass(frozen=True)
class GrpoRecipe:
    """Every setting of one run that its numbers depend on."""

    steps: Annotated[int | None, Setting("Updates; without them the recipe's, or its epochs.", free=True, within=COUNT)]
    epochs: Annotated[
        int, Setting("How often each prompt is met, in place of a number of steps.", within=COUNT, clears="steps")
    ] = 1
    prompts_per_step: Annotated[int, Setting("Prompts of an update, over all devices.", within=COUNT)] = 128
    samples: Annotated[int, Setting("Answers drawn per prompt.", within=Range(least=2))] = 8
    updates_per_rollout: Annotated[
        int,
        Setting(
            "Updates made from answers drawn at once; above 1 all but the first are slightly off-policy.", within=COUNT
        ),
    ] = 1
    sequences_per_device: Annotated[
        int, Setting("Answers in one forward and backward pass of a device.", within=COUNT)
    ] = 4
    learning_rate: Annotated[float, Setting("At its highest.", within=POSITIVE)] = 1e-6
    schedule: Annotated[str, Setting(f"Of the learning rate: {', '.join(SCHEDULES)}.")] = "constant"
    warmup_steps: Annotated[int, Setting("Updates in which the rate rises from 0.", within=FROM_ZERO)] = 0
    weight_decay: Annotated[float, Setting("Of AdamW.", within=FROM_ZERO)] = 0.01
    clip_norm: Annotated[float, Setting("Longest gradient; a longer one is shortened to it.", within=POSITIVE)] = 1.0
    kl_weight: Annotated[
        float,
        Setting(
            "Of the divergence from the start, estimated per token as in k3; 0 loads no reference model.",
            within=FROM_ZERO,
        ),
    ] = 1e-2
    clip_low: Annotated[float, Setting("Of likelihood ratios, below 1.", within=SHARE)] = 0.2
    clip_high: Annotated[float, Setting("Of likelihood ratios, above 1.", within=FROM_ZERO)] = 0.3
    dual_clip: Annotated[
        float | None, Setting("Most that a likelihood ratio counts where the advantage is negative.", within=POSITIVE)
    ] = 3.0
    scale_advantages: Annotated[
        Literal["group", "batch", "none"],
        Setting(
            "By which standard deviation of rewards advantages are divided. Within a group, small differences between "
            "answers that are all nearly right weigh as much as large ones."
        ),
    ] = "group"
    temperature: Annotated[float, Setting("At which answers are drawn.", within=POSITIVE)] = 1.0
    top_p: Annotated[
        float, Setting("Share of the likelihood from which words are drawn.", within=Range(above=0, most=1))
    ] = 1.0
    max_new_tokens: Annotated[int, Setting("Where drawn answers are cut.", within=COUNT)] = 8192
    held_out_tokens: Annotated[int, Setting("Where greedy answers to held-out questions are cut.", within=COUNT)] = 512
    min_pixels: Annotated[
        int | None, Setting("Least pixels of a picture; the processor's own by default.", within=COUNT)
    ] = None
    max_pixels: Annotated[
        int | None, Setting("Most pixels of a picture; the processor's own by default.", within=COUNT)
    ] = None
    thinking: Annotated[bool, Setting("Ask for reasoning before the answer.")] = False
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: dict(SOURCES))
    """Weights of the rewards by name, for every source of prompts; those with `decoded` in their name compare masks."""
    groundings: Annotated[
        int,
        Setting(
            "Answers drawn to the grounding question of a caption, where the rewards are cyclegrpo or closed_cycle.",
            within=Range(least=2),
        ),
    ] = 6
    train_groundings: Annotated[
        bool, Setting("Train on the answers to grounding questions, too; without it they only reward captions.")
    ] = True
    grounding_prompt: Annotated[
        Literal["ground-caption", "find-described"],
        Setting("The grounding question: the released one, or that of GroundingSuite."),
    ] = "ground-caption"
    no_target_share: Annotated[float, Setting("Of referring prompts drawn from scenes.", within=SHARE)] = 0.1
    gcg_share: Annotated[
        float, Setting("Of prompts drawn from scenes, those that ask for a grounded caption.", within=SHARE)
    ] = 0.25
    region_share: Annotated[
        float, Setting("Of prompts drawn from scenes, those that ask for the caption of a region.", within=SHARE)
    ] = 0.0
    evaluate_every: Annotated[int, Setting("Updates between reports on held-out questions.", within=COUNT)] = 20
    save_every: Annotated[int, Setting("Updates between checkpoints to go on from.", within=COUNT)] = 20
    stop_when_bought: Annotated[
        bool, Setting("End training when reward rises while masks get worse, or only warn.")
    ] = True
    patience: Annotated[int, Setting("Reports in a row that must say so.", within=COUNT)] = 2
    vllm: Annotated[bool, Setting("Draw answers with vLLM, which must be installed.")] = False
    seed: Annotated[int, Setting("Of prompts and sampling.", within=FROM_ZERO)] = 1

    def __post_init__(self) -> None:
        """Check ranges and names.

        Raises:
            UsageError: names the setting, its value and what it may be.
        """
        check_ranges(self)
        if self.schedule not in SCHEDULES:
            raise UsageError(f"--schedule {self.schedule}: expected one of {', '.join(SCHEDULES)}")


@dataclass(frozen=True)
class GrpoJob(EvaluatedWhileTraining):
    """What a run starts from, where it runs, and what around it changes no weight."""

    out: Annotated[Path, Setting("Folder of the run; the best checkpoint is OUT/best.")]
    model: Annotated[str | None, Setting("Checkpoint to start from; the bundled one by default.")] = None
    tokenizer: Annotated[
        str | None,
        Setting("Mask tokenizer, when not beside the model: demo, a folder, a file or a hub id."),
    ] = None
    data: Annotated[Path | None, Setting("Prompts, .parquet or .jsonl; the demos draw their own.")] = None
    data_root: Annotated[str | None, Setting("Benchmark that is held out; drawn scenes without it.")] = None
    scenes: Annotated[
        int | None,
        Setting("Drawn training scenes; by default so many that every drawn prompt is met once.", within=COUNT),
    ] = None
    held_out_scenes: Annotated[int | None, Setting("Drawn scenes of a report; 80 by default.", within=COUNT)] = None
    resume: Annotated[bool, Setting("Go on from the last checkpoint in --out.", "--resume")] = False
    fresh: Annotated[bool, Setting("Start anew over the run in --out.", "--fresh")] = False
    device: Annotated[str, Setting("auto, cpu or cuda.")] = "auto"
    threads: Annotated[int, Setting("CPU threads.", within=COUNT)] = 1

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            UsageError: names the setting, its value and its range.
        """
        check_ranges(self)

    def start_model(self) -> str:
        """Checkpoint to start from.

        Raises:
            UsageError: none is named.
        """
        if self.model is None:
            raise UsageError("--model is missing; give a folder or a hub id")
        return self.model

    def prompt_file(self) -> Path:
        """Prompts that the user brings.

        Raises:
            UsageError: none are named.
        """
        if self.data is None:
            raise UsageError(
                "--data is missing: this recipe needs prompts; give a .parquet or .jsonl file with problem, answer, "
                "images and source"
            )
        return self.data


class Preset(NamedTuple):
    """A recipe for prompts from a file."""

    recipe: GrpoRecipe
    task: str
    """Whose default split is held out."""
    source: str
    """Under which its answers are compared."""


PAPER = GrpoRecipe(
    steps=None,
    prompts_per_step=128,
    updates_per_rollout=4,
    sequences_per_device=4,
    min_pixels=3136,
    max_pixels=1605632,
    thinking=True,
    evaluate_every=20,
    save_every=20,
    held_out_tokens=2048,
)
CYCLE = replace(PAPER, samples=8, epochs=1, updates_per_rollout=1, thinking=False, weights=cycle_sources("cyclegrpo"))
PRESETS = {
    "paper-gres": Preset(replace(PAPER, samples=8, epochs=16), "gres", "gres"),
    # Its shell script asks for no reasoning (`non_thinking.jinja`), whatever the script asks that evaluates the result.
    "paper-gcg": Preset(replace(PAPER, samples=16, epochs=1, thinking=False), "gcg", "glamm_gcg"),
    "paper-cyclegrpo": Preset(CYCLE, "gres", "gres"),
    "paper-closed-cycle": Preset(replace(CYCLE, weights=cycle_sources("closed_cycle")), "gres", "gres"),
}


def read_weights(texts: Sequence[str]) -> dict[str, float]:
    """Weights of rewards as they are typed, `NAME=WEIGHT`.

    Raises:
        UsageError: a text is not of that form.
    """
    weights = {}
    for text in texts:
        name, _, weight = text.partition("=")
        try:
            weights[name] = finite_number(float(weight))
        except ValueError as error:
            raise UsageError(f"--reward must be NAME=WEIGHT, such as matched_answer=1, got {text!r}") from error
    return weights
