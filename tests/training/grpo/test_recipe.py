"""Recipes and settings, as `trl` gets them."""

from __future__ import annotations

import pytest

pytest.importorskip("trl")

from samtok_eval.demo.training.grpo import stages_of, train_on_scenes
from samtok_eval.errors import UsageError
from samtok_eval.training.grpo.from_data import train_from_data
from samtok_eval.training.grpo.prompts import GrpoPrompt
from samtok_eval.training.grpo.recipe import GrpoJob, GrpoRecipe, read_weights
from samtok_eval.training.grpo.trl_settings import check_sources, trl_config
from tests.support.grpo import TINY, recipe


def test_unknown_sources_and_rewards_are_refused():
    prompt = GrpoPrompt((), "q", "a", "psg")
    with pytest.raises(UsageError, match="source 'psg' have no rewards; expected one of gres, glamm_gcg"):
        check_sources(TINY, [prompt])
    with pytest.raises(UsageError, match="no reward is called 'format_'"):
        check_sources(recipe("demo-gcg", {"weights": {"psg": {"format_": 1.0}}}), [prompt])
    with pytest.raises(UsageError, match="expected a name such as decoded_iou"):
        check_sources(recipe("demo-gcg", {"weights": {"psg": {"decoded_iuo": 1.0}}}), [prompt])


def test_the_paper_recipes_hold_the_papers_values(tmp_path):
    config = trl_config(recipe("paper-gres"), tmp_path, 8000, cpu=True)
    sequences = config.per_device_train_batch_size * config.gradient_accumulation_steps
    assert (sequences, config.generation_batch_size, config.num_generations) == (1024, 4096, 8)
    assert (config.learning_rate, config.beta, config.epsilon, config.epsilon_high) == (1e-6, 0.01, 0.2, 0.3)
    assert (config.delta, config.temperature, config.weight_decay, config.max_grad_norm) == (3.0, 1.0, 0.01, 1.0)
    assert config.max_completion_length == 8192
    assert recipe("paper-gres").epochs == 16
    assert (recipe("paper-gcg").samples, recipe("paper-gcg").epochs) == (16, 1)
    assert (recipe("paper-gres").thinking, recipe("paper-gcg").thinking) == (True, False)


def test_the_demo_recipe_reaches_the_library(tmp_path):
    config = trl_config(recipe("demo-gcg"), tmp_path, 99, cpu=True)
    assert (config.scale_rewards, config.warmup_steps, config.temperature) == ("batch", 5, 0.7)
    assert GrpoRecipe(steps=1).scale_advantages == "group"


def test_rewards_on_the_command_line_take_the_place_of_the_recipes():
    weights = {"matched_answer": 1.0, "format": 0.5}
    assert read_weights(["matched_answer=1", "format=0.5"]) == weights
    for stage in stages_of("demo", rewards=weights).values():
        assert stage.weights == {"gres": weights, "glamm_gcg": weights}
    for text in ("matched_answer", "matched_answer=", "=x", "matched_answer=nan", "matched_answer=inf"):
        with pytest.raises(UsageError, match="--reward must be NAME=WEIGHT"):
            read_weights([text])


@pytest.mark.parametrize(
    ("changes", "prompts", "message"),
    [
        ({"sequences_per_device": 5}, 99, "24 prompts x 8 samples = 192 answers .* passes of 5"),
        (
            {"updates_per_rollout": 4, "save_every": 6},
            99,
            "--save-every 6 must be a multiple of --updates",
        ),
        ({}, 23, "23 prompts are fewer than the 24"),
    ],
)
def test_settings_that_do_not_fit_together_say_what_to_change(tmp_path, changes, prompts, message):
    with pytest.raises(UsageError, match=message):
        trl_config(recipe("demo-gcg", changes), tmp_path, prompts, cpu=True)


def test_wrong_names_are_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(
        UsageError,
        match="no preset 'big'; choose from demo, demo-gres, demo-gcg, demo-cycle, demo-cyclegrpo, paper-gres",
    ):
        stages_of("big")
    with pytest.raises(UsageError, match="draws its prompts; give --data to one of demo-gres, demo-gcg, demo-cycle"):
        train_on_scenes(stages_of("demo"), GrpoJob(tmp_path, data=tmp_path / "prompts.jsonl"))
    with pytest.raises(UsageError, match="no setting 'lr'"):
        stages_of("demo", {"lr": 1})
    with pytest.raises(UsageError, match="--schedule cosinus: expected one of constant, "):
        stages_of("demo", {"schedule": "cosinus"})
    with pytest.raises(UsageError, match=r"needs prompts; give a \.parquet or \.jsonl file"):
        train_from_data(recipe("paper-gcg"), GrpoJob(tmp_path), [])
    with pytest.raises(UsageError, match="--resume and --fresh exclude each other"):
        train_on_scenes(stages_of("demo"), GrpoJob(tmp_path, resume=True, fresh=True))
