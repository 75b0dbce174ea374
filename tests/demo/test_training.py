"""Training code: every stage runs, shortcuts equal the plain way, and the shipped checkpoint looks at its picture."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.demo.training import sft, tokenizer
from samtok_eval.demo.training.corpus import CHOICE_KINDS, DEVELOPMENT, build_scene, draw_dialogues, masked_picture
from samtok_eval.demo.training.language_model import QuestionPacker, Trainer, held_out_report, patches
from samtok_eval.demo.training.sft import SceneJob, SceneRecipe, scene_recipe, train_on_scenes
from samtok_eval.demo.training.tiny_vlm import build_model, build_processor
from samtok_eval.demo.training.tokenizer import PRESETS as TOKENIZERS
from samtok_eval.demo.world.language import VIEW
from samtok_eval.demo.world.scenes import draw_scene
from samtok_eval.errors import UsageError
from samtok_eval.metrics.codebooks import perplexity
from samtok_eval.tokenizer.quantizer import ResidualQuantizer
from samtok_eval.training.tokenizer.codebooks import start_with_kmeans, update_books
from samtok_eval.training.tokenizer.recipe import TokenizerJob, with_changes
from samtok_eval.training.tokenizer.trainer import train_tokenizer


@pytest.fixture(autouse=True)
def few_held_out_scenes(monkeypatch):
    """Reports on them take longer than the steps of these tests."""
    monkeypatch.setattr(sft, "ROLLED_SCENES", 4)


@pytest.fixture(scope="module")
def scenes(demo_tokenizer):
    return [build_scene(DEVELOPMENT + i, demo_tokenizer) for i in range(24)]


@pytest.fixture(scope="module")
def trainer(scenes, tmp_path_factory):
    processor = build_processor()
    settings = SceneRecipe(warmup_tower_steps=1, steps=1)
    return Trainer(
        settings, build_model(processor, 0), processor, lambda i: scenes[i], scenes, tmp_path_factory.mktemp("t")
    )


def test_patches_equal_the_processor(trainer):
    images = np.stack([draw_scene(seed).image for seed in range(3)])
    expected = trainer.processor.image_processor([Image.fromarray(i) for i in images], return_tensors="pt")
    assert (patches(images) - expected["pixel_values"]).abs().max() < 1e-5


def test_packed_questions_have_exactly_the_loss_of_separate_samples(trainer, scenes):
    """One question, several rounds, a second view and a long answer share two pictures in one batch."""
    kinds = ("attribute", "rounds", "zoomed caption", "scene graph")
    batch = [[next(d for d in scene.dialogues if d.kind == kind) for kind in kinds] for scene in scenes[:2]]
    assert len(batch[0][1].turns) > 1
    packer = QuestionPacker(trainer.processor, trainer.packer.grid)
    with torch.no_grad():
        packed, labels = trainer._answer_logits(packer.pack(batch), trainer._see(scenes[:2]))
        packed_losses = F.cross_entropy(packed, labels, reduction="none")
        separate = [separate_losses(trainer, s, d) for s, ds in zip(scenes, batch, strict=False) for d in ds]
    assert (packed_losses - torch.cat(separate)).abs().max() < 1e-4


def separate_losses(trainer, scene, dialogue):
    """Losses of one dialogue alone, through the processor: answers with their end words."""
    messages = []
    for question, answer in dialogue.turns:
        first, *views = question.split(VIEW)
        content = [] if messages else [{"type": "image"}]
        content += [{"type": "text", "text": first}]
        for text in views:
            content += [{"type": "image"}, {"type": "text", "text": text}]
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    text = trainer.processor.apply_chat_template(messages, tokenize=False).removesuffix("\n")
    shown = [Image.fromarray(scene.image)] * text.count("<|image_pad|>")
    inputs = trainer.processor(text=[text], images=shown, return_tensors="pt")
    ids = inputs["input_ids"][0].tolist()
    mark, end = (trainer.packer._encode(word) for word in ("<|im_start|>assistant\n", "<|im_end|>"))
    places, i = [], 0
    while i < len(ids):
        if ids[i : i + len(mark)] == mark:
            start = i + len(mark)
            i = ids.index(end[0], start)
            places += range(start, i + 1)
        i += 1
    logits = trainer.model(**inputs).logits[0]
    return F.cross_entropy(logits[torch.tensor(places) - 1], torch.tensor(ids)[places], reduction="none")


def test_dialogues_beyond_the_row_budget_are_left_out(trainer, scenes):
    graph = next(d for d in scenes[0].dialogues if d.kind == "scene graph")
    length = len(trainer.packer.tokens(graph)[0])
    small = QuestionPacker(trainer.processor, trainer.packer.grid, budget=length)
    assert small.pack([[graph, graph]]).input_ids.shape[1] == len(small.prefix) + length


def test_every_dialogue_is_drawn_once(scenes):
    rng = np.random.default_rng(0)
    for scene in scenes:
        drawn = draw_dialogues(scene, 1000, rng)
        assert Counter(drawn) == Counter(scene.dialogues)


def test_choice_questions_can_be_asked_more_often(scenes):
    def share(factor):
        rng = np.random.default_rng(0)
        drawn = [d for scene in scenes for d in draw_dialogues(scene, 5, rng, factor)]
        return sum(d.kind.startswith(CHOICE_KINDS) for d in drawn) / len(drawn)

    assert share(4) > share(1) + 0.15


def test_answers_hold_the_codes_of_their_objects(scenes):
    from samtok_eval.mask_tokens import parse

    for scene in scenes:
        known = {tuple(row[3:]) for row in scene.labels.tolist()}
        for dialogue in scene.dialogues:
            for _, answer in dialogue.turns:
                spans = parse(answer)
                assert all(span.status == "ok" and span.codes in known for span in spans)
                without = dialogue.kind == "none" or dialogue.kind.endswith("caption")
                without |= dialogue.kind.startswith(CHOICE_KINDS)
                assert bool(spans) == (not without or dialogue.kind == "grounded caption")


def test_short_answers_weigh_more_per_token(trainer, scenes):
    kinds = ("choice color", "scene graph")
    batch = trainer.packer.pack([[next(d for d in scenes[0].dialogues if d.kind == kind)] for kind in kinds])
    letter, graph = (weights[weights > 0] for weights in batch.weights)
    assert letter.min() > graph.max()


def test_training_goes_on_from_a_checkpoint(tmp_path):
    """One step from the shipped weights leaves them nearly as they are; a fresh model is elsewhere."""
    from safetensors.torch import load_file

    train_on_scenes(scene_recipe("demo-choices", {"steps": 1}), SceneJob(init=DEMO_CHECKPOINT, scenes=12), tmp_path)
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    shipped, trained = (load_file(folder / "model.safetensors")[name].float() for folder in (DEMO_CHECKPOINT, tmp_path))
    assert 0 < (shipped - trained).abs().max() < 0.05
    assert shipped.abs().max() > 0.2


def test_kmeans_start_places_books_on_clusters_and_residuals_shrink():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(16, 8, generator=generator) * 5
    vectors = centres[torch.randint(16, (2000,), generator=generator)] + 0.1 * torch.randn(2000, 8, generator=generator)
    quantizer = ResidualQuantizer(16, 2, 8)
    start_with_kmeans(quantizer, vectors, generator)
    codes = quantizer.encode(vectors)
    first = torch.where(torch.arange(2) == 0, codes, -1)
    one, two = (float((quantizer.decode(c) - vectors).pow(2).mean()) for c in (first, codes))
    assert two < one < 0.5
    assert quantizer.codebooks[0].weight[-1].abs().sum() == 0
    with pytest.raises(ValueError, match="at least 16"):
        start_with_kmeans(quantizer, vectors[:5], generator)


def test_unused_entries_are_restarted_and_used_ones_move_towards_their_vectors():
    generator = torch.Generator().manual_seed(0)
    quantizer = ResidualQuantizer(4, 1, 2)
    book = quantizer.codebooks[0]
    book.weight.data[:-1] = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0]])
    book.embed_ema.copy_(book.weight.data[:-1])
    book.cluster_size_ema.fill_(1.0)
    vectors = torch.full((50, 2), 1.0)
    restarted = sum(update_books(quantizer, vectors, 0.5, 0.05, generator) for _ in range(8))
    assert restarted >= 3
    assert (book.weight[0] - 1).abs().max() < 0.1


def test_perplexity_is_the_number_of_codes_when_all_are_used_alike():
    assert perplexity(torch.full((8,), 3)) == pytest.approx(8)
    assert perplexity(torch.tensor([5, 0, 0])) == pytest.approx(1)


def test_the_tokenizer_recipe_runs_through_all_three_phases(tmp_path):
    settings = replace(TOKENIZERS["demo"], steps=40, unquantized_share=0.5, frozen_share=0.2, evaluate_every=20)
    held_out = [masked_picture(DEVELOPMENT + i) for i in range(3)]
    trained = train_tokenizer(settings, TokenizerJob(tmp_path), lambda i: masked_picture(i % 20), held_out)
    lines = [json.loads(line) for line in (tmp_path / "training_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40]
    assert lines[1]["loss"] < 4
    assert float(trained.quantizer.codebooks[0].cluster_size_ema.std()) > 0
    assert {p.name for p in tmp_path.iterdir()} >= {"config.json", "model.safetensors", "training.json"}


def test_the_sft_recipe_runs_both_stages_and_its_folder_answers_questions(tmp_path, demo_root):
    train_on_scenes(scene_recipe("demo", {"steps": 2}), SceneJob(scenes=20), tmp_path / "out")
    stages = [json.loads(line)["stage"] for line in (tmp_path / "out" / "training_log.jsonl").read_text().splitlines()]
    assert stages == ["tower", "tower", "questions", "questions"]
    from samtok_eval import evaluate

    run = evaluate(
        "gres", model=str(tmp_path / "out"), tokenizer="demo", data_root=str(demo_root), out=tmp_path / "runs", limit=3,
        max_new_tokens=4,
    )  # fmt: skip
    assert run.metrics["counters"]["scored"] == 3


@pytest.mark.parametrize(("preset", "init"), [("demo", None), ("demo-choices", DEMO_CHECKPOINT)])
def test_a_recipe_gives_the_same_weights_again(preset, init, tmp_path):
    for number in (1, 2):
        torch.manual_seed(number)
        train_on_scenes(scene_recipe(preset, {"steps": 2}), SceneJob(init=init, scenes=4), tmp_path / str(number))
    one, two = ((tmp_path / str(number) / "model.safetensors").read_bytes() for number in (1, 2))
    assert one == two


def test_a_recipe_that_ends_early_is_the_whole_one_up_to_there(scenes, tmp_path):
    whole = SceneRecipe(0, 4, pictures=2, dialogues=2, warmup_steps=1, evaluate_every=2)
    logs = []
    for settings in (whole, replace(whole, stop_after=2)):
        processor = build_processor()
        out = tmp_path / str(settings.stop_after)
        Trainer(settings, build_model(processor, 0), processor, lambda i: scenes[i % len(scenes)], scenes, out).run()
        lines = [json.loads(line) for line in (out / "training_log.jsonl").read_text().splitlines()]
        logs.append([{name: value for name, value in line.items() if name != "cpu_minutes"} for line in lines])
    assert [line["step"] for line in logs[1]] == [2]
    assert logs[0][:1] == logs[1]


def test_too_few_steps_to_start_the_codebooks_say_so(tmp_path):
    with pytest.raises(UsageError, match="train for more steps"):
        tokenizer.train_on_scenes(with_changes(TOKENIZERS["demo"], {"steps": 3}), TokenizerJob(tmp_path), 8)


def test_unknown_presets_name_the_known_ones():
    with pytest.raises(UsageError, match="no preset 'big'; choose from demo, demo-choices"):
        scene_recipe("big", {})


def test_of_a_recipe_on_scenes_only_the_steps_can_be_changed():
    assert scene_recipe("demo-early", {"steps": 7}).stop_after is None
    with pytest.raises(UsageError, match=r"--preset demo takes no --learning-rate; .* only --steps"):
        scene_recipe("demo", {"learning_rate": 1.0, "steps": 1})


def test_the_shipped_checkpoint_looks_at_its_picture(scenes, tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(DEMO_CHECKPOINT)
    model = AutoModelForImageTextToText.from_pretrained(DEMO_CHECKPOINT, dtype=torch.float32)
    shipped = Trainer(SceneRecipe(1, 1), model, processor, lambda i: scenes[i], scenes, tmp_path)
    losses = held_out_report(shipped, scenes)
    assert losses["answer_rolled"] > 2 * losses["answer"]
    assert losses["first_code_rolled"] > losses["first_code"] + 1


def test_an_untrained_model_does_not(trainer, scenes):
    losses = held_out_report(trainer, scenes)
    assert losses["answer_rolled"] == pytest.approx(losses["answer"], rel=0.05)
