"""Recipes and launch configurations of fine-tuning, and the commands around them."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from samtok_eval.cli import train_sft
from samtok_eval.demo.training.sft import PRESETS as DEMO_PRESETS
from samtok_eval.demo.training.sft import SceneJob
from samtok_eval.errors import UsageError
from samtok_eval.training.sft.recipe import CONFIGS, PRESETS, FinetuneRecipe


def command(*arguments):
    """Run one of the commands of `samtok-eval train`."""
    app = typer.Typer()
    train_sft.register(app)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_recipes_are_the_released_ones():
    paper = PRESETS["paper-4b"].recipe
    assert (paper.lora_rank, paper.lora_alpha, paper.lora_dropout) == (128, 256, 0.05)
    assert (paper.learning_rate, paper.epochs, paper.global_batch, paper.max_length) == (2e-5, 1, 32, 8192)
    assert (paper.weight_decay, paper.warmup, paper.clip_norm) == (0.05, 0.05, 1)
    assert (paper.vision, paper.embeddings) == ("frozen", "trained")
    assert (paper.min_pixels, paper.max_pixels) == (4 * 784, 2048 * 784)
    swift = PRESETS["swift-4b"].recipe
    assert (swift.lora_rank, swift.lora_alpha, swift.global_batch, swift.max_pixels) == (64, 128, 64, 2048 * 1024)
    assert paper.accumulation(8) == 1
    assert paper.accumulation(1) == 8
    with pytest.raises(UsageError, match="no multiple of 3 processes x --batch-size 4"):
        paper.accumulation(3)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"steps": 0}, {"warmup": 1.0}, {"lora_rank": -1}])
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(UsageError, match="--" + next(iter(wrong)).replace("_", "-")):
        FinetuneRecipe(**wrong)


@pytest.mark.parametrize("wrong", [{"scenes": 0}, {"threads": 0}, {"threads": -1}])
def test_settings_of_scenes_out_of_range_are_named(wrong):
    with pytest.raises(UsageError, match="--" + next(iter(wrong))):
        SceneJob(**wrong)


@pytest.mark.parametrize(
    "name, kind, stage", [("ddp", "MULTI_GPU", 0), ("zero2", "DEEPSPEED", 2), ("zero3", "DEEPSPEED", 3),
                          ("fsdp", "FSDP", 0)]
)  # fmt: skip
def test_launch_configurations_are_accelerates_own(name, kind, stage):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    assert config.distributed_type.value == kind
    assert (config.mixed_precision, config.num_processes, config.use_cpu) == ("bf16", 8, False)
    assert config.deepspeed_config.get("zero_stage", 0) == stage
    assert bool(config.fsdp_config) == (name == "fsdp")
    assert {file.stem for file in CONFIGS.iterdir()} == {"ddp", "zero2", "zero3", "fsdp"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--data", "c.json"], "takes no --data"),
        (["--device", "cpu"], "--preset demo takes no --device"),
        (["--preset", "demo-early", "--fresh"], "--preset demo-early takes no --fresh/--resume"),
        (["--preset", "paper-4b", "--data", "c.json", "--threads", "3"], "--threads belong to the demo presets"),
        (["--preset", "paper-4b"], "--data is missing"),
        (["--preset", "paper-4b", "--data", "c.json", "--scenes", "3"], "belong to the demo presets"),
        (["--preset", "paper-4b", "--data", "c.json", "--lora-rank", "many"], "expected a whole number or off"),
        (["--preset", "big", "--data", "c.json"], "choose from paper-3b, paper-4b, paper-7b, swift-4b, demo"),
        (["--preset", "demo", "--learning-rate", "1"], "--preset demo takes no --learning-rate"),
    ],
)
def test_options_that_do_not_go_together_say_so(tmp_path, arguments, message):
    done = command("sft", "--out", tmp_path / "out", *arguments)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def test_the_demo_recipes_stay_reachable(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(train_sft, "train_on_scenes", lambda *arguments: called.append(arguments))
    assert command("sft", "--out", tmp_path, "--preset", "demo-choices", "--threads", 2).exit_code == 0
    assert called == [(DEMO_PRESETS["demo-choices"], SceneJob(threads=2), tmp_path, None)]


def test_configurations_are_named_with_their_paths():
    assert str(CONFIGS / "zero3.yaml") in command("configs").output.replace("\n", "")
