"""The architecture of the demo checkpoint: a real Qwen3-VL with its real processor, at a size that trains on a CPU.

Out: a `transformers` model and processor that save and load as any published checkpoint does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from samtok_eval.demo.world.language import vocabulary_lines
from samtok_eval.demo.world.scenes import SIDE
from samtok_eval.mask_tokens import QWEN_MARKS, WORDS

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

PATCH = 16
MERGE = 1
CELL = PATCH * MERGE
"""Side in pixels of the square that one visual token covers."""
HIDDEN = 128
VOCABULARY = 600
"""Byte-pair entries before control and mask words are added."""
EMBEDDING_STD = 0.08
CONTROL_WORDS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    *QWEN_MARKS,
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] in ('image', 'image_url') %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer() -> Qwen2Tokenizer:
    """Byte-pair tokenizer trained on the demo grammar, with Qwen's control words and the 514 mask words."""
    from transformers import Qwen2Tokenizer
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.NFC()
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    trained.train_from_iterator(vocabulary_lines(), trainer)
    import json

    model = json.loads(trained.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(CONTROL_WORDS),
        padding_side="left",
    )
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in WORDS])
    return tokenizer


def build_processor() -> Qwen3VLProcessor:
    """Processor whose image budget is one demo picture."""
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    images = Qwen2VLImageProcessor(
        patch_size=PATCH,
        merge_size=MERGE,
        min_pixels=SIDE * SIDE,
        max_pixels=SIDE * SIDE,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    videos = Qwen3VLVideoProcessor(patch_size=PATCH, merge_size=MERGE)
    return Qwen3VLProcessor(
        image_processor=images, tokenizer=build_tokenizer(), video_processor=videos, chat_template=CHAT_TEMPLATE
    )


def build_model(processor: Qwen3VLProcessor, seed: int) -> Qwen3VLForConditionalGeneration:
    """Qwen3-VL with random weights.

    Args:
        processor: gives the vocabulary.
        seed: of the weights.
    """
    from transformers import GenerationConfig, Qwen3VLConfig, Qwen3VLForConditionalGeneration

    tokenizer = processor.tokenizer
    ids = tokenizer.convert_tokens_to_ids
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": HIDDEN,
            "intermediate_size": 384,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": 32,
            "max_position_embeddings": 1024,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [8, 4, 4],
                "mrope_interleaved": True,
                "rope_theta": 10000.0,
            },
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_heads": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "out_hidden_size": HIDDEN,
            "num_position_embeddings": (SIDE // PATCH) ** 2,
            "deepstack_visual_indexes": [1],
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config)
    for module in model.modules():
        # The library's fixed deviation of 0.02 suits wide layers; in narrow ones attention would start out flat.
        if isinstance(module, torch.nn.Linear | torch.nn.Conv3d):
            torch.nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    # Mask and text words start wide apart: the dense warm-up reads visual tokens out through these rows.
    torch.nn.init.normal_(model.model.language_model.embed_tokens.weight, std=EMBEDDING_STD)
    torch.nn.init.normal_(model.model.visual.pos_embed.weight, std=0.2)
    model.tie_weights()
    model.generation_config = GenerationConfig(
        eos_token_id=[ids("<|im_end|>"), ids("<|endoftext|>")], pad_token_id=ids("<|endoftext|>"), do_sample=False
    )
    return model
