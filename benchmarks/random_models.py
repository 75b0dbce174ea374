"""Qwen2.5-VL and Qwen3-VL of any size with random weights, and mask tokenizers: the cost is that of trained ones.

Text tokenizer and chat template are the demo's, so that a question has about as many tokens as elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samtok_eval.demo.training.tiny_vlm import CHAT_TEMPLATE, build_tokenizer
from samtok_eval.messages import Message
from samtok_eval.models.backend import Request, request_of

MERGE = 2
"""Patches along each side of a visual token."""
QUESTIONS = (
    "Please segment the red circle.",
    "Please segment the large square on the left.",
    "Please segment the small blue triangle.",
    "Please segment the circle above the square.",
    "Please segment the green shape on the right.",
    "Please segment the two yellow squares.",
    "Please segment the triangle that is not red.",
    "Please segment everything below the circle.",
)


@dataclass(frozen=True)
class Size:
    """Widths and depths; heads of the vision encoder are 64 wide."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vision_hidden: int
    vision_layers: int
    vision_intermediate: int
    deepstack: tuple[int, ...]
    vocabulary: int | None = None
    """That of the demo's tokenizer by default."""


TINY = Size(64, 2, 128, 2, 1, 32, 64, 2, 128, (1,))
MIDDLE = Size(1024, 12, 3072, 16, 8, 64, 512, 6, 1536, (1, 3, 5))
QWEN3_VL_4B = Size(2560, 36, 9728, 32, 8, 128, 1024, 24, 4096, (5, 11, 17), 151936)
"""The shape of Qwen3-VL-4B-Instruct as it is known; its configuration file was not at hand to check it against."""


def qwen3(size: Size, side: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> tuple[Any, Any]:
    """A Qwen3-VL and its processor.

    Args:
        size: of the model.
        side: of every picture in pixels, a multiple of 32.
        dtype: of the weights.
        device: where they are drawn.
    """
    from transformers import Qwen2VLImageProcessor, Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor
    from transformers import Qwen3VLVideoProcessor as VideoProcessor

    tokenizer = build_tokenizer()
    images = Qwen2VLImageProcessor(patch_size=16, merge_size=MERGE, min_pixels=side**2, max_pixels=side**2)
    processor = Qwen3VLProcessor(images, tokenizer, VideoProcessor(patch_size=16), chat_template=CHAT_TEMPLATE)
    config = Qwen3VLConfig(
        text_config=_text(size, tokenizer, mrope_interleaved=True),
        vision_config={
            **_vision(size),
            "patch_size": 16,
            "num_position_embeddings": 48**2,
            "deepstack_visual_indexes": list(size.deepstack),
        },
        tie_word_embeddings=True,
        **_words(tokenizer),
    )
    return _drawn(Qwen3VLForConditionalGeneration, config, tokenizer, dtype, device), processor


def qwen2_5(size: Size, side: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> tuple[Any, Any]:
    """A Qwen2.5-VL and its processor; arguments as `qwen3`, the side a multiple of 28."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = build_tokenizer()
    images = Qwen2VLImageProcessor(patch_size=14, merge_size=MERGE, min_pixels=side**2, max_pixels=side**2)
    processor = Qwen2_5_VLProcessor(images, tokenizer, Qwen2VLVideoProcessor(), chat_template=CHAT_TEMPLATE)
    config = Qwen2_5_VLConfig(
        text_config=_text(size, tokenizer),
        vision_config={**_vision(size), "patch_size": 14, "fullatt_block_indexes": list(size.deepstack)},
        tie_word_embeddings=True,
        **_words(tokenizer),
    )
    return _drawn(Qwen2_5_VLForConditionalGeneration, config, tokenizer, dtype, device), processor


Family = Callable[..., tuple[Any, Any]]


def picture(side: int, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 (side, side, 3), noise."""
    return np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)


def asked(image: NDArray[np.uint8], count: int = len(QUESTIONS)) -> list[Request]:
    """Questions about one picture."""
    return [request_of(str(i), image, [Message("user", (image, text))]) for i, text in enumerate(QUESTIONS[:count])]


def _text(size: Size, tokenizer: Any, **rope: Any) -> dict[str, Any]:
    # A quarter of the head turns with time, three eighths each with height and width, as in the published models.
    height = size.head_dim * 5 // 32 if rope else size.head_dim * 3 // 16
    return {
        "vocab_size": size.vocabulary or len(tokenizer),
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "head_dim": size.head_dim,
        "rope_parameters": {
            "rope_type": "default",
            "mrope_section": [size.head_dim // 2 - 2 * height, height, height],
            "rope_theta": 5e6,
            **rope,
        },
        "tie_word_embeddings": True,
    }


def _vision(size: Size) -> dict[str, Any]:
    return {
        "depth": size.vision_layers,
        "hidden_size": size.vision_hidden,
        "intermediate_size": size.vision_intermediate,
        "num_heads": max(1, size.vision_hidden // 64),
        "out_hidden_size": size.hidden,
        "spatial_merge_size": MERGE,
    }


def _words(tokenizer: Any) -> dict[str, int]:
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad", "vision_start_token_id": "vision_start",
             "vision_end_token_id": "vision_end"}  # fmt: skip
    return {key: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()}


def _drawn(kind: Any, config: Any, tokenizer: Any, dtype: torch.dtype, device: str) -> Any:
    from transformers import GenerationConfig

    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = kind(config)
    finally:
        torch.set_default_dtype(before)
    # A word that the model does not write ends an answer, so that all answers have the length that was asked for.
    pad = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    model.generation_config = GenerationConfig(eos_token_id=pad, pad_token_id=pad, do_sample=False)
    return model.eval()
