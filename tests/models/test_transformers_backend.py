"""The transformers backend on the shipped checkpoint: a real Qwen3-VL through the code path of published ones."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

from samtok_eval import evaluate
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.errors import CheckpointError
from samtok_eval.images import read_image
from samtok_eval.mask_tokens import WORDS, Layout, parse
from samtok_eval.messages import messages
from samtok_eval.models.backend import request_of
from samtok_eval.models.transformers_backend import PINNED, SpanGrammar, TransformersBackend, pinned_generation
from samtok_eval.registry import load_tasks
from samtok_eval.run.settings import RunSettings


@pytest.fixture(scope="module")
def backend():
    return TransformersBackend(str(DEMO_CHECKPOINT), "demo", "cpu", torch.float32)


@pytest.fixture(scope="module")
def requests(demo_root):
    samples = load_tasks()["gres"].read(demo_root, "val")[:13]
    pictures = {}
    for sample in samples:
        pictures.setdefault(sample.image.id, read_image(sample.image))
    return [
        request_of(s.id, pictures[s.image.id], messages(s.turns, pictures[s.image.id], encode=lambda image, masks: []))
        for s in samples
    ]


def texts(backend, requests, size):
    return [a.text for i in range(0, len(requests), size) for a in backend.generate(requests[i : i + size], 60)]


def test_batches_give_the_answers_of_single_questions(backend, requests):
    assert texts(backend, requests, 13) == texts(backend, requests, 1) == texts(backend, requests, 5)


def test_sharing_pictures_changes_nothing(backend, requests):
    alone = TransformersBackend(
        str(DEMO_CHECKPOINT), "demo", "cpu", torch.float32, settings=RunSettings(group_pictures=False)
    )
    assert texts(alone, requests, 13) == texts(backend, requests, 13)


def test_inputs_equal_the_processor(backend, requests):
    pair = [requests[0], requests[-1]]
    chats = [
        [{"role": "user", "content": [{"type": "image", "image": Image.fromarray(r.images[0])},
                                      {"type": "text", "text": r.messages[0].parts[1]}]}]
        for r in pair
    ]  # fmt: skip
    expected = backend.processor.apply_chat_template(
        chats, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt",
        processor_kwargs={"padding": True},
    )  # fmt: skip
    own = TransformersBackend(
        str(DEMO_CHECKPOINT), "demo", "cpu", torch.float32, settings=RunSettings(group_pictures=False)
    ).inputs(pair)
    assert set(own) == set(expected)
    for name, value in expected.items():
        assert torch.equal(own[name].to(value.dtype), value), name


def test_the_word_for_a_picture_in_a_text_is_no_picture(backend, requests):
    request = requests[0]
    message = request.messages[0]
    odd = replace(request, messages=(replace(message, parts=(*message.parts, " <|image_pad|> and more")),))
    image = backend.model.config.image_token_id
    one, other = (int((backend.inputs([r])["input_ids"] == image).sum()) for r in (request, odd))
    assert one == other > 0


def test_padding_is_on_the_left(backend, requests):
    inputs = backend.inputs(requests)
    padded = inputs["attention_mask"] == 0
    assert padded.any()
    assert not padded[:, -1].any()


def test_answers_keep_their_mask_words_and_lose_control_words(backend, requests):
    for text in texts(backend, requests, 13):
        assert "<|im_end|>" not in text
        assert "<|endoftext|>" not in text
    assert any(parse(text) for text in texts(backend, requests, 13))


def test_sampling_settings_of_a_checkpoint_are_overridden_and_recorded():
    from transformers import GenerationConfig

    published = GenerationConfig(
        do_sample=True, temperature=0.7, top_p=0.8, repetition_penalty=1.05, eos_token_id=[5, 6], pad_token_id=None
    )
    pinned, overridden = pinned_generation(published)
    assert (pinned.do_sample, pinned.repetition_penalty, pinned.pad_token_id) == (False, 1.0, 5)
    assert overridden == {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "repetition_penalty": 1.05}
    assert set(overridden) <= set(PINNED)


def test_the_grammar_lets_only_well_formed_spans_out():
    vocabulary, first = 600, 50
    # Ids need not be in order: a vocabulary may have been extended in another way.
    mask_ids = [first, *reversed(range(first + 1, first + len(WORDS)))]
    grammar = SpanGrammar(mask_ids, prompt_length=2)
    generator = torch.Generator().manual_seed(0)
    ids = torch.zeros(4, 2, dtype=torch.int64)
    for _ in range(200):
        scores = grammar(ids, 3 * torch.randn(4, vocabulary, generator=generator))
        scores[:, first] += 3
        ids = torch.cat([ids, torch.multinomial(scores.softmax(1), 1, generator=generator)], dim=1)
    names = dict(zip(mask_ids, WORDS, strict=True))
    for row in ids[:, 2:].tolist():
        spans = parse("".join(names.get(token, " ") for token in row))
        assert len(spans) > 3
        assert {span.status for span in spans[:-1]} == {"ok"}


def test_constrained_runs_are_another_run(demo_root, tmp_path):
    options = {"model": "demo", "data_root": str(demo_root), "out": tmp_path, "limit": 4}
    free, constrained = evaluate("gres", **options), evaluate("gres", **options, constrained=True)
    assert free.path != constrained.path
    assert constrained.metrics["counters"]["repaired"] == constrained.metrics["counters"]["invalid"] == 0


def test_the_pixel_budget_reaches_the_processor():
    small = TransformersBackend(
        str(DEMO_CHECKPOINT), "demo", "cpu", torch.float32, settings=RunSettings(min_pixels=64 * 64, max_pixels=64 * 64)
    )
    assert small.identity()["image_size"] == {"shortest_edge": 4096, "longest_edge": 4096}
    picture = Image.new("RGB", (128, 128))
    grid = small.processor.image_processor([picture], return_tensors="pt")["image_grid_thw"]
    assert grid.tolist() == [[1, 4, 4]]


def copy(tmp_path):
    return shutil.copytree(DEMO_CHECKPOINT, tmp_path / "copy")


def test_a_checkpoint_without_mask_words_is_refused(tmp_path):
    folder = copy(tmp_path)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"] = [t for t in content["added_tokens"] if not t["content"].startswith("<|mt_0007")]
    path.write_text(json.dumps(content))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"lacks 1 of the 514 mask words"):
        TransformersBackend(str(folder), "copy", "cpu", torch.float32)


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json", "tokenizer.json"])
def test_half_a_checkpoint_is_refused(tmp_path, missing):
    folder = copy(tmp_path)
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=r"complete|mask words"):
        TransformersBackend(str(folder), "copy", "cpu", torch.float32)


def test_truncated_weights_are_refused(tmp_path):
    folder = copy(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="incomplete or truncated"):
        TransformersBackend(str(folder), "copy", "cpu", torch.float32)


def test_a_name_that_is_no_folder_is_refused(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="neither a local folder nor"):
        TransformersBackend("nowhere/nothing", "x", "cpu", torch.float32)


def qwen25(folder):
    """A Qwen2.5-VL of the same vocabulary with random weights, saved as published ones are."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    from samtok_eval.demo.training.tiny_vlm import CHAT_TEMPLATE, build_tokenizer

    tokenizer = build_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    images = Qwen2VLImageProcessor(patch_size=14, merge_size=2, min_pixels=56 * 56, max_pixels=112 * 112)
    processor = Qwen2_5_VLProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0},
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
            "patch_size": 14, "spatial_merge_size": 2, "window_size": 56, "fullatt_block_indexes": [1],
        },
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = ids("<|im_end|>")
    model.generation_config.pad_token_id = ids("<|endoftext|>")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def test_qwen25_checkpoints_run_through_the_same_code(tmp_path, requests):
    qwen25(tmp_path)
    together = TransformersBackend(str(tmp_path), "q25", "cpu", torch.float32)
    alone = TransformersBackend(str(tmp_path), "q25", "cpu", torch.float32, settings=RunSettings(group_pictures=False))
    assert texts(together, requests[:6], 6) == texts(alone, requests[:6], 1)


def test_constrained_spans_have_a_word_of_each_book_in_order():
    deep = Layout(4, 3)
    ids = list(range(10, 10 + len(deep.words)))
    start, books, end = ids[0], [ids[1:5], ids[5:9], ids[9:13]], ids[-1]
    grammar = SpanGrammar(ids, prompt_length=0, layout=deep)

    def allowed(last):
        scores = grammar(torch.tensor([[last]]), torch.zeros(1, 30))
        return [i for i in range(30) if scores[0, i] == 0]

    assert [allowed(word) for word in (start, books[0][2], books[1][0], books[2][3])] == [*books, [end]]
    assert allowed(end) == [*range(11), *range(24, 30)]
