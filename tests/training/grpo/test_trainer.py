"""Reinforcement learning: prompts, rewards as `trl` calls them, the watch over masks, and runs of a few steps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

pytest.importorskip("trl")

from samtok_eval import evaluate
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.demo.training.corpus import DEVELOPMENT, build_scene
from samtok_eval.demo.training.grpo import _prompts, stages_of, train_on_scenes
from samtok_eval.demo.training.grpo_questions import scene_prompts, scene_questions
from samtok_eval.errors import CheckpointError, DataError, UsageError
from samtok_eval.mask_tokens import Codes, render
from samtok_eval.prediction import Record
from samtok_eval.sample import ImageRef, Sample, Target, Turn
from samtok_eval.training.grpo import trainer as grpo
from samtok_eval.training.grpo.decoded import DECODED, decoded_rewards
from samtok_eval.training.grpo.from_data import train_from_data
from samtok_eval.training.grpo.held_out import (
    Answered,
    answer_questions,
    attempted,
    bought,
    quality,
    report,
    sample_questions,
)
from samtok_eval.training.grpo.monitor import HeldOutMonitor
from samtok_eval.training.grpo.prompts import GCG, GRES, GrpoPrompt, dataset_of, read_prompts
from samtok_eval.training.grpo.recipe import GrpoJob, GrpoRecipe, read_weights
from samtok_eval.training.grpo.trainer import load_policy, reward_functions, train_grpo
from samtok_eval.training.grpo.trl_settings import check_sources, trl_config
from tests.models.test_transformers_backend import qwen25


def recipe(preset, changes=None):
    return stages_of(preset, changes)[preset]


WEIGHTS = {"gres": {"matched_answer": 1.0, "decoded_iou": 1.0}, **recipe("demo-gcg").weights}
TINY = GrpoRecipe(
    steps=4, prompts_per_step=2, samples=2, sequences_per_device=4, max_new_tokens=10, held_out_tokens=10,
    learning_rate=1e-3, weights=WEIGHTS, evaluate_every=2, save_every=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def scenes(demo_tokenizer):
    return [build_scene(seed, demo_tokenizer) for seed in range(6)]


@pytest.fixture(scope="module")
def prompts(scenes):
    return scene_prompts(scenes, 2, 0.2, 0.25, 0)


# ---- prompts ----


def test_scenes_give_the_asked_shares_of_captions_and_of_questions_without_target(scenes):
    found = scene_prompts(scenes, 200, 0.2, 0.25, 0)
    captions = [p for p in found if p.source == GCG]
    empty = [p for p in found if p.reference == "No target."]
    assert len(captions) / len(found) == pytest.approx(0.25, abs=0.05)
    assert len(empty) / (len(found) - len(captions)) == pytest.approx(0.2, abs=0.05)
    assert found == scene_prompts(scenes, 200, 0.2, 0.25, 0)
    assert {p.source for p in scene_prompts(scenes, 5, 0.0, 0.0, 0)} == {GRES}
    with pytest.raises(UsageError, match="--gcg-share must lie between 0 and 1, got 2"):
        scene_prompts(scenes, 1, 0.1, 2, 0)


def test_the_recipe_for_captions_asks_for_each_of_another_scene(demo_tokenizer):
    settings = recipe("demo-gcg", {"steps": 2, "prompts_per_step": 3})
    found = _prompts(settings, GrpoJob(Path("unused")), demo_tokenizer)
    assert [p.source for p in found] == [GCG] * 6
    assert len({p.images for p in found}) == 6


def test_every_epoch_has_its_own_order_and_thinking_is_asked_for_behind_the_text():
    rows = dataset_of([GrpoPrompt((), f"q{i}", "a", GRES) for i in range(9)], True, 2, 0)
    asked = [row[0]["content"] for row in rows["prompt"]]
    assert sorted(asked[:9]) == sorted(asked[9:]) != asked[:9]
    assert asked[:9] != asked[9:]
    assert asked[0][2:].startswith(" A conversation between User and Assistant.")


def write_rows(folder, rows, kind):
    Image.new("RGB", (8, 6), "red").save(folder / "a.png")
    path = folder / f"prompts.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        from datasets import Dataset

        content = (folder / "a.png").read_bytes()
        packed = [row | {"images": [{"bytes": content, "path": None}] * len(row["images"])} for row in rows]
        Dataset.from_list(packed).to_parquet(path)
    return path


ROW = {"problem": " <image>\nSegment it. ", "answer": "No target.", "images": ["a.png"], "source": "thinking_gres"}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_prompt_files_have_the_released_columns(tmp_path, kind):
    (prompt,) = read_prompts(write_rows(tmp_path, [ROW], kind))
    assert (prompt.text, prompt.reference, prompt.source) == ("\nSegment it.", "No target.", "thinking_gres")
    assert prompt.images[0].opened().size == (8, 6)
    (row,) = dataset_of([prompt], False, 1, 0)
    assert row["images"][0].size == (8, 6)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem": "x"}, "row 1 lacks answer, images, source"),
        (ROW | {"problem": "Segment <image> it."}, "expected as many <image> at the start"),
        (ROW | {"images": []}, "has 0 pictures"),
        (ROW | {"images": ["none.png"]}, r"picture 'none\.png' cannot be read"),
        (ROW | {"images": ["prompts.jsonl"]}, "cannot be read"),
        ([1], "must be a JSON object"),
    ],
)
def test_broken_rows_name_file_and_row(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read_prompts(write_rows(tmp_path, [row], "jsonl"))


@pytest.mark.parametrize(
    ("name", "content"), [("a.jsonl", b"{"), ("a.parquet", b"no"), ("b.jsonl", b""), ("c.txt", None)]
)
def test_files_that_hold_no_prompts_are_refused(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_prompts(tmp_path / name)


# ---- rewards and settings, as trl gets them ----


def test_rewards_see_phrase_marks_although_the_checkpoint_flags_them_as_special(demo_tokenizer):
    from transformers import AutoProcessor, GenerationConfig

    processor = AutoProcessor.from_pretrained(DEMO_CHECKPOINT)
    span = "<|mt_start|><|mt_0001|><|mt_0300|><|mt_end|>"
    caption = f"A <|object_ref_start|> red circle <|object_ref_end|> {span}."
    ids = processor.tokenizer(f"{caption}<|im_end|><|endoftext|>")["input_ids"]
    assert "object_ref" not in processor.tokenizer.decode(ids, skip_special_tokens=True)
    generation = GenerationConfig(eos_token_id=[1])
    functions = {f.__name__: f for f in reward_functions(TINY, processor, generation, demo_tokenizer)}
    inputs = {"completion_ids": [ids, ids], "reference": [caption, span], "source": [GCG, GRES], "images": [[], []]}
    assert functions["closed_phrases"](**inputs) == [0.3, None]
    assert functions["matched_answer"](**inputs) == [1.0, 1.0]


def test_a_reward_on_masks_sees_what_words_cannot(scenes, demo_tokenizer):
    scene = scenes[0]
    codes = [tuple(row[3:]) for row in scene.labels.tolist()]
    image = Image.fromarray(scene.image)
    other_second = (codes[0][0], (codes[0][1] + 1) % 256)
    said = [render(codes[:1]), render([other_second]), render(codes[1:2]), "No target.", "No target."]
    true = [render(codes[:1])] * 4 + ["No target."]
    for agreement in DECODED.values():
        found = decoded_rewards(agreement, said, true, [image] * 5, demo_tokenizer)
        assert found[0] == found[4] == 1
        assert found[1] > 0.5 > found[2]
        assert found[3] == 0


def test_masks_are_united_or_matched_one_to_one(scenes, demo_tokenizer):
    codes = [tuple(row[3:]) for row in scenes[0].labels.tolist()]
    image = Image.fromarray(scenes[0].image)
    said = [render([codes[1], codes[0]]), render([codes[0]] * 2), render(codes[:1])]

    def rewards(name):
        return decoded_rewards(DECODED[name], said, [render(codes[:2])] * 3, [image] * 3, demo_tokenizer)

    united, matched = rewards("decoded_iou"), rewards("decoded_matched_iou")
    assert united[0] == matched[0] == 1
    assert united[1] == united[2]
    assert matched[1] == pytest.approx(matched[2], abs=0.1)
    assert matched[2] == 0.5


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
    for text in ("matched_answer", "matched_answer=", "=x"):
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
    with pytest.raises(UsageError, match=r"needs prompts; give a \.parquet or \.jsonl file"):
        train_from_data(recipe("paper-gcg"), GrpoJob(tmp_path), [])
    with pytest.raises(UsageError, match="--resume and --fresh exclude each other"):
        train_on_scenes(stages_of("demo"), GrpoJob(tmp_path, resume=True, fresh=True))


# ---- what held-out answers are worth ----


def referred(number, inter, union, truth, *codes):
    record = Record(str(number), "x", "strict", "ok", inter=inter, union=union, gt_area=truth, pred_area=union - truth,
                    no_target=not truth)  # fmt: skip
    return Answered(number, GRES, record, list(codes))


def captioned(number, truths, hits, *codes):
    record = Record(str(number), "x", "strict", "ok", values={"truths": truths}, series={"hits": hits})
    return Answered(number, GCG, record, list(codes))


ANSWERS = [
    referred(0, 3, 6, 4, Codes(1, 2)),
    referred(1, 0, 4, 4),
    referred(2, 0, 0, 0),
    captioned(3, 2, [1, 0], Codes(1, 2), Codes(3, 4)),
]


def test_a_report_counts_masks_misses_and_codes():
    found = report(ANSWERS)
    assert found["giou"] == 0.5
    assert found["false_no_target"] == 0.5
    assert found["distinct_codes"] == 2
    assert found["gcg_mask_recall"] == 0.5
    # Half of the truth is reached at a precision of one half: 51 of the 101 points of recall.
    assert found["gcg_ap50"] == pytest.approx(0.5 * 51 / 101, abs=1e-4)
    assert quality(ANSWERS[::-1]) == [0.5, 0.0, 1.0, 0.5]
    assert attempted(ANSWERS[::-1]) == [1.0, 0.0]
    assert report([]) == {"distinct_codes": 0}


@pytest.mark.parametrize(
    ("change", "rewards", "verdict"),
    [
        ([-0.1] * 20, (0.3, 0.4), True),
        ([-0.1] * 20, (0.4, 0.3), False),
        ([0.0] * 20, (0.3, 0.4), False),
        ([0.1] * 20, (0.3, 0.4), False),
        ([0.9, -0.9] * 9 + [-0.1, -0.1], (0.3, 0.4), False),
        ([-0.9], (0.3, 0.4), False),
    ],
)
def test_reward_is_bought_when_it_rises_while_masks_fall_beyond_chance(change, rewards, verdict):
    start = [0.5] * len(change)
    assert bought(start, [a + b for a, b in zip(start, change, strict=True)], *rewards) is verdict


QUALITY, ATTEMPTED = "held-out quality", "share of targets that get a mask"


def monitored(tmp_path, falls=QUALITY, **changes):
    """A monitor of a run in which one number gets worse after the first report and the other does not."""
    settings = recipe("demo-gcg", {"evaluate_every": 1, **changes})
    monitor = HeldOutMonitor(settings, None, None, [], tmp_path, "", lambda *_: None)
    monitor._start = {QUALITY: [0.9] * 10, ATTEMPTED: [0.9] * 10}
    control = SimpleNamespace(should_training_stop=False, should_save=False)
    stops = []
    for step in range(1, 5):
        state = SimpleNamespace(global_step=step, is_world_process_zero=True)
        monitor._now = {**monitor._start, falls: [0.9 - 0.1 * (step > 1)] * 10}
        monitor.on_log(None, state, control, {"reward": 0.1 * step, "held_out/giou": 0.9})
        stops.append(control.should_training_stop)
    return stops, monitor


@pytest.mark.parametrize("falls", [QUALITY, ATTEMPTED])
def test_a_run_that_buys_reward_is_warned_and_ended(tmp_path, caplog, falls):
    stops, monitor = monitored(tmp_path, falls)
    assert stops == [False, False, True, True]
    assert [line.get("held_out/bought") for line in monitor.lines] == [None, 1, 1, 1]
    assert f"reward rose from 0.100 to 0.200 while {falls} fell from 0.900 to 0.800" in caplog.text
    assert [json.loads(line)["step"] for line in (tmp_path / "training_log.jsonl").open()] == [1, 2, 3, 4]


def test_or_only_warned(tmp_path, caplog):
    stops, _ = monitored(tmp_path, stop_when_bought=False)
    assert stops == [False] * 4
    assert caplog.text.count("raise --kl-weight") == 3


def test_held_out_questions_come_from_scenes_or_from_a_benchmark(tmp_path):
    drawn = scene_questions(DEVELOPMENT, 3)
    assert sum(q.source == GCG for q in drawn) == 3
    assert any(not q.truth for q in drawn)
    Image.fromarray(drawn[0].image).save(tmp_path / "a.png")
    sample = Sample(
        "1", ImageRef("1", tmp_path / "a.png", 128, 128), (Turn("user", ("Where?",)),), Target(drawn[0].truth)
    )
    (read,) = sample_questions([sample], GRES)
    assert (read.text, read.truth, read.source) == ("Where?", drawn[0].truth, GRES)
    assert np.array_equal(read.image, drawn[0].image)


def test_held_out_questions_are_scored_by_the_tasks_of_their_sources_and_leave_training_as_it_was(demo_tokenizer):
    policy, processor = load_policy(DEMO_CHECKPOINT)
    policy.train()
    questions, state = scene_questions(DEVELOPMENT, 1), torch.get_rng_state()
    found = answer_questions(policy, processor, demo_tokenizer, list(enumerate(questions)), 60)
    assert policy.training
    assert torch.equal(torch.get_rng_state(), state)
    assert sorted(answer.number for answer in found) == list(range(len(questions)))
    assert {answer.is_caption: "hits" in answer.record.series for answer in found} == {True: True, False: False}


# ---- runs ----


def train(prompts, tokenizer, out, resume=False, around=None, **changes):
    job = GrpoJob(out, model=str(DEMO_CHECKPOINT), resume=resume, device="cpu", **(around or {}))
    return train_grpo(replace(TINY, **changes), job, tokenizer, prompts, scene_questions(DEVELOPMENT, 1))


@pytest.fixture(scope="module")
def trained(prompts, demo_tokenizer, tmp_path_factory):
    out = tmp_path_factory.mktemp("grpo")
    return out, train(prompts, demo_tokenizer, out)


def test_training_moves_words_and_leaves_the_vision_tower(trained):
    out, _ = trained
    before, after = (load_file(folder / "model.safetensors") for folder in (DEMO_CHECKPOINT, out))
    moved = {name for name in before if not torch.equal(before[name].float(), after[name].float())}
    assert moved
    assert not any("visual" in name for name in moved)
    assert (
        json.loads((out / "generation_config.json").read_text())["eos_token_id"]
        == json.loads((DEMO_CHECKPOINT / "generation_config.json").read_text())["eos_token_id"]
    )


def test_reward_and_held_out_masks_stand_in_one_log(trained):
    out, lines = trained
    written = [json.loads(line) for line in (out / "training_log.jsonl").open()]
    assert written == lines
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    assert [line["step"] for line in lines if "held_out/giou" in line] == [0, 2, 4]
    assert all("reward" in line and "kl" in line for line in lines[1:])
    assert {"held_out/false_no_target", "held_out/distinct_codes", "held_out/gcg_ap50"} <= set(lines[0])
    assert list((out / "runs").rglob("events.out.tfevents.*"))


def test_a_resumed_run_ends_with_exactly_the_same_weights(trained, prompts, demo_tokenizer, tmp_path):
    train(prompts, demo_tokenizer, tmp_path, steps=2)
    # What was logged after the last save is not part of the resumed run, nor is a line that was cut off.
    with (tmp_path / "training_log.jsonl").open("a") as log:
        log.write('{"step": 3}\n{"step": 4, "rewa')
    with pytest.raises(UsageError, match=r"learning_rate was 0\.001, now 0\.1; give the old ones"):
        train(prompts, demo_tokenizer, tmp_path, resume=True, learning_rate=0.1)
    with pytest.raises(UsageError, match="holds a run already; give --resume"):
        train(prompts, demo_tokenizer, tmp_path)
    lines = train(prompts, demo_tokenizer, tmp_path, resume=True)
    whole, resumed = (load_file(folder / "model.safetensors") for folder in (trained[0], tmp_path))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    assert [line.get("reward") for line in lines] == [line.get("reward") for line in trained[1]]


def test_tasks_are_evaluated_beside_the_reward_and_the_training_does_not_notice(
    trained, prompts, demo_tokenizer, tmp_path
):
    out = tmp_path / "out"
    asked = {"eval_tasks": "gres:val", "eval_every": 2, "eval_limit": 4}
    lines = train(prompts, demo_tokenizer, out, around=asked)
    straight, same = (load_file(folder / "model.safetensors") for folder in (trained[0], out))
    assert all(torch.equal(straight[name], same[name]) for name in straight)
    names = {"eval_gres:val_giou"}
    for line, plain in zip(lines, trained[1], strict=True):
        assert set(line) - set(plain) == (names if line["step"] in (2, 4) else set())
        assert line.get("reward") == plain.get("reward")
    assert json.loads((out / "training_log.jsonl").read_text().splitlines()[-1]) == lines[-1]
    # At the last step it is the checkpoint that is written.
    options = {"tokenizer": str(DEMO_CHECKPOINT), "limit": 4, "out": tmp_path / "runs", "dtype": "fp32"}
    run = evaluate("gres", model=str(out), **options)
    assert lines[-1]["eval_gres:val_giou"] == run.metrics.protocols["strict"]["giou"].value
    assert len(list((out / "evaluations").rglob("metrics.json"))) == 2
    with pytest.raises(UsageError, match="did you mean gres"):
        train(prompts, demo_tokenizer, tmp_path / "other", around={**asked, "eval_tasks": "gress"})


def test_too_little_memory_names_the_knobs(prompts, demo_tokenizer, tmp_path, monkeypatch):
    def no_memory(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(grpo.MonitoredTrainer, "train", no_memory)
    with pytest.raises(UsageError, match=r"4 answers per pass and 4 drawn at once .* lower --sequences-per-device"):
        train(prompts, demo_tokenizer, tmp_path)


def test_nothing_to_resume_and_no_checkpoint_say_so(prompts, demo_tokenizer, tmp_path):
    with pytest.raises(UsageError, match="holds no run to resume"):
        train(prompts, demo_tokenizer, tmp_path, resume=True)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be loaded as a vision-language model"):
        grpo.load_policy(tmp_path)


def test_a_qwen25_checkpoint_trains_on_a_prompt_file_by_a_paper_recipe(tmp_path, demo_tokenizer):
    model = tmp_path / "model"
    model.mkdir()
    qwen25(model)
    data = write_rows(tmp_path, [ROW, ROW | {"source": "gres"}], "jsonl")
    small = {"prompts_per_step": 2, "samples": 2, "updates_per_rollout": 1, "max_new_tokens": 4, "held_out_tokens": 4}
    job = GrpoJob(tmp_path / "out", model=str(model), tokenizer=str(DEMO_CHECKPOINT), data=data, device="cpu")
    held_out = scene_questions(DEVELOPMENT, 1)
    lines = train_from_data(recipe("paper-gres", small | {"epochs": 1, "max_pixels": 112 * 112}), job, held_out)
    assert [line["step"] for line in lines] == [0, 1]
    assert "rewards/format/mean" in lines[1]
    sizes = [json.loads((folder / "processor_config.json").read_text())["image_processor"]["size"]
             for folder in (tmp_path / "model", tmp_path / "out")]  # fmt: skip
    assert sizes[0] == sizes[1]


def test_stages_in_turn_are_the_same_recipes_one_by_one_and_go_on_where_they_were_stopped(tmp_path, monkeypatch):
    small = {"steps": 1, "prompts_per_step": 2, "samples": 2, "sequences_per_device": 4, "max_new_tokens": 8}
    changes, bundled = small | {"held_out_tokens": 8, "save_every": 1}, str(DEMO_CHECKPOINT)
    first = GrpoJob(tmp_path / "first", model=bundled, held_out_scenes=1, device="cpu")
    second = replace(first, out=tmp_path / "second", model=str(tmp_path / "first"), tokenizer=bundled)
    train_on_scenes(stages_of("demo-gres", changes), first)
    train_on_scenes(stages_of("demo-gcg", changes), second)
    stages, job = stages_of("demo", changes), replace(first, out=tmp_path / "both")
    begun = []

    def stopped_before_the_second(settings, job, *arguments):
        begun.append((settings.gcg_share, job.resume))
        if settings.gcg_share == 1 and len(begun) == 2:
            raise KeyboardInterrupt
        return train_grpo(settings, job, *arguments)

    monkeypatch.setattr(grpo, "train_grpo", stopped_before_the_second)
    with pytest.raises(KeyboardInterrupt):
        train_on_scenes(stages, job)
    with pytest.raises(UsageError, match="demo-gres holds a run already; give --resume"):
        train_on_scenes(stages, job)
    for _ in range(2):
        train_on_scenes(stages, replace(job, resume=True))
    assert begun == [(0, False), (1, False), (0, False), (0, True), (1, False), (1, True)]
    for ours, alone in (("both/demo-gres", "first"), ("both", "second")):
        found, expected = (load_file(tmp_path / folder / "model.safetensors") for folder in (ours, alone))
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    with pytest.raises(UsageError, match="both holds a run already; give --resume"):
        train_on_scenes(stages, job)


def test_nothing_is_built_on_a_stage_that_the_watch_ended(tmp_path, monkeypatch, caplog):
    begun = []
    monkeypatch.setattr(grpo, "train_grpo", lambda settings, *_, **__: begun.append(settings) or [{"step": 1}])
    job = GrpoJob(tmp_path, model=str(DEMO_CHECKPOINT), scenes=1, held_out_scenes=1)
    assert train_on_scenes(stages_of("demo", {"steps": 2, "prompts_per_step": 1}), job) == [{"step": 1}]
    assert [settings.gcg_share for settings in begun] == [0]
    assert f"demo-gres ended early, so that nothing is built on it; its run is in {tmp_path}/demo-gres" in caplog.text


def test_a_fresh_run_of_several_stages_clears_all_their_folders_first(tmp_path, monkeypatch):
    left = []
    for folder in (tmp_path, tmp_path / "demo-gres"):
        (folder / "checkpoint-1").mkdir(parents=True)
        (folder / "training.json").write_text("{}")

    def ended_by_the_watch(*_):
        left.extend(path.name for path in tmp_path.rglob("*"))
        return [{"step": 1}]

    monkeypatch.setattr(grpo, "train_grpo", ended_by_the_watch)
    job = GrpoJob(tmp_path, model=str(DEMO_CHECKPOINT), scenes=1, held_out_scenes=1, device="cpu", fresh=True)
    train_on_scenes(stages_of("demo", {"steps": 2, "prompts_per_step": 1}), job)
    assert left == ["demo-gres"]
