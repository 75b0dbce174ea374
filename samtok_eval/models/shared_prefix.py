"""What the questions of one picture have in common is read once: the picture, and the words before they part.

In: the padded inputs of a batch, with the picture that each sequence shows. Out: inputs for `generate` that hold the
cache of the common beginnings, expanded to the questions, and only the tokens behind them are left to be read.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache


def repeat_pictures(vision: Any, rows: Sequence[int]) -> Any:
    """Vision features of distinct pictures, repeated in the order in which sequences show them.

    Args:
        vision: output of `get_image_features`; left as it is.
        rows: index of a picture, one per place where a picture is shown.
    """
    repeated = copy.copy(vision)
    repeated.pooler_output = tuple(vision.pooler_output[row] for row in rows)
    if getattr(vision, "deepstack_features", None):
        repeated.deepstack_features = [tuple(level[row] for row in rows) for level in vision.deepstack_features]
    return repeated


def shared_inputs(model: Any, inputs: dict[str, Any], pictures: Sequence[int]) -> dict[str, Any]:
    """Inputs of a batch with the common beginnings of its questions read.

    Args:
        model: a Qwen2.5-VL or Qwen3-VL; what it knows of its last call is replaced.
        inputs: of a batch, padded on the left, with encoded pictures.
        pictures: which picture stands at each place where one is shown, in the order of the sequences.

    Returns:
        The inputs as they came where nothing can be shared: no two questions of a picture, a question with several
        pictures, or words before the picture that differ.
    """
    prompts = [ids[own == 1].tolist() for ids, own in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
    if len(pictures) != len(prompts) or len(set(pictures)) == len(prompts):
        return inputs
    image_token = model.config.image_token_id
    ends = prefix_ends(prompts, pictures, image_token)
    if any(image_token in prompt[end:] for prompt, end in zip(prompts, ends, strict=True)):
        return inputs
    rows = list(dict.fromkeys(pictures))
    first = [pictures.index(row) for row in rows]
    pad, device = model.generation_config.pad_token_id or 0, inputs["input_ids"].device
    prefix, prefix_mask = padded([prompts[i][: ends[i]] for i in first], pad, device)
    suffix, suffix_mask = padded([prompt[end:] for prompt, end in zip(prompts, ends, strict=True)], pad, device)
    cache, name = DynamicCache(config=model.config.text_config), cache_name(model)
    model.model.rope_deltas = None
    model(
        input_ids=prefix,
        attention_mask=prefix_mask,
        mm_token_type_ids=(prefix == image_token).int(),
        image_grid_thw=inputs["image_grid_thw"][first],
        mm_encoder_outputs={"image": repeat_pictures(inputs["mm_encoder_outputs"]["image"], first)},
        use_cache=True,
        logits_to_keep=1,
        **{name: cache},
    )
    # On the CPU, since the cache of each layer lies where the layer is.
    expanded = torch.tensor([rows.index(row) for row in pictures])
    cache.batch_select_indices(expanded)
    model.model.rope_deltas = model.model.rope_deltas[expanded]
    return {
        "input_ids": torch.cat([prefix[expanded], suffix], dim=1),
        "attention_mask": torch.cat([prefix_mask[expanded], suffix_mask], dim=1),
        name: cache,
    }


def cache_name(model: Any) -> str:
    """What a model calls the cache of what it has read: `cache` since transformers 5.24, `past_key_values` before."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def prefix_ends(prompts: Sequence[Sequence[int]], pictures: Sequence[int], image_token: int) -> list[int]:
    """How many tokens of each prompt are read together with those of its picture's other questions.

    Args:
        prompts: token ids, one picture each.
        pictures: which picture each prompt shows.
        image_token: id of the tokens that stand for a picture.

    Returns:
        Of questions that share a picture their longest common prefix, one token short of the shortest at least. A
        question alone takes as few words behind its picture as the others, so that no sequence grows longer.
    """
    members: dict[int, list[int]] = {}
    for i, picture in enumerate(pictures):
        members.setdefault(picture, []).append(i)
    ends = [len(prompt) - 1 for prompt in prompts]
    words = []
    for together in (group for group in members.values() if len(group) > 1):
        columns = zip(*(prompts[i][:-1] for i in together), strict=False)
        common = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
        words.append(common - _picture_end(prompts[together[0]], image_token))
        for i in together:
            ends[i] = common
    for i in (group[0] for group in members.values() if len(group) == 1):
        ends[i] = min([ends[i], *(_picture_end(prompts[i], image_token) + count for count in words)])
    return ends


def padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids of different lengths, padded on the left: int64 (B, L), and 1 where no padding stands (B, L)."""
    longest = max(map(len, rows))
    ids = [[pad] * (longest - len(row)) + list(row) for row in rows]
    own = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(own, device=device)


def _picture_end(prompt: Sequence[int], image_token: int) -> int:
    return max((i + 1 for i, token in enumerate(prompt) if token == image_token), default=0)
