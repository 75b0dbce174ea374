"""Rewards as `trl` calls them, and those on decoded masks."""

from __future__ import annotations

import pytest
from PIL import Image

pytest.importorskip("trl")

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.mask_tokens import render
from samtok_eval.training.grpo.decoded import DECODED, decoded_rewards
from samtok_eval.training.grpo.prompts import GCG, GRES
from samtok_eval.training.grpo.trainer import reward_functions
from tests.support.grpo import TINY


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
