"""Checkpoints as published ones are before mask words are added, at a size that loads in a moment."""

from __future__ import annotations

import json
import shutil

import torch

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.mask_tokens import WORDS

SPARE = 300
"""Rows behind the vocabulary, which published checkpoints have too; fewer than there are mask words."""


def tokenizer_without_words(folder, keep=()):
    """Write the demo tokenizer without mask words, but those in `keep`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.loads((DEMO_CHECKPOINT / "tokenizer.json").read_text())
    kept = [word for word in content["added_tokens"] if word["content"] not in WORDS or word["content"] in keep]
    content["added_tokens"] = kept
    (folder / "tokenizer.json").write_text(json.dumps(content))
    for name in ("tokenizer_config.json", "processor_config.json", "chat_template.jinja"):
        shutil.copy(DEMO_CHECKPOINT / name, folder)
    return folder


def qwen3_without_words(folder, tied=True, spare=SPARE):
    """A Qwen3-VL folder whose vocabulary lacks the mask words."""
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

    tokenizer_without_words(folder)
    config = AutoConfig.from_pretrained(DEMO_CHECKPOINT)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = tied
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_pretrained(DEMO_CHECKPOINT, config=config, dtype=torch.float32)
    model.resize_token_embeddings(len(AutoTokenizer.from_pretrained(folder)) + spare, mean_resizing=False)
    model.save_pretrained(folder)
    return folder


def qwen2_5(folder):
    """A random Qwen2.5-VL with a head of its own, the demo tokenizer and 28 x 28 pixels a visual token."""
    from transformers import (
        AutoTokenizer,
        GenerationConfig,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_without_words(folder / "words"))
    ids = tokenizer.convert_tokens_to_ids
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=14, merge_size=2, min_pixels=56 * 56, max_pixels=112 * 112),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=(DEMO_CHECKPOINT / "chat_template.jinja").read_text(),
    )
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 1024,
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config)
    # As published ones have it: two stop words, sampling, a repetition penalty.
    model.generation_config = GenerationConfig(
        eos_token_id=[ids("<|im_end|>"), ids("<|endoftext|>")],
        pad_token_id=ids("<|endoftext|>"),
        do_sample=True,
        temperature=1e-6,
        repetition_penalty=1.05,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    shutil.rmtree(folder / "words")
    return folder
