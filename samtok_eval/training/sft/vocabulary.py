"""Mask words, 514 for 256x2 codes, in the vocabulary of a Qwen2.5-VL or Qwen3-VL checkpoint.

In: a model and its tokenizer. Out: the same two, with the words behind the old vocabulary and rows for them.

New rows of the input embedding are the mean of the old vocabulary's rows plus noise of 0.02 of their standard
deviation, column by column, the deviation being at least 1e-3 (SAMTok, arXiv 2601.16093; `utils/add_special_tokens.py`
of the released code). A tied head shares these rows. A head of its own keeps what the library's resizing gives it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor
from transformers.integrations import is_deepspeed_zero3_enabled, is_fsdp_enabled

from samtok_eval.errors import CheckpointError, UsageError
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, WORDS, Layout
from samtok_eval.models.checkpoint import load_vision_language
from samtok_eval.models.transformers_backend import check_no_further_words
from samtok_eval.training.checkpoint_files import checkpoint_into

logger = logging.getLogger(__name__)

NOISE = 0.02
"""Standard deviation of new rows, as a share of the old rows' own."""
LEAST_STD = 1e-3
FAMILIES = ("qwen2_5_vl", "qwen3_vl")
"""Model types that this code is tested with."""


def add_mask_words(model: Any, tokenizer: Any, seed: int = 0, layout: Layout = DEFAULT_LAYOUT) -> int:
    """Add the mask words that a checkpoint lacks: all of them or none.

    Args:
        model: a `transformers` model, changed in place.
        tokenizer: its tokenizer, changed in place.
        seed: of the new rows.
        layout: of the mask tokenizer whose codes the words name.

    Returns:
        How many words were added: 514 for 256x2, or 0 when the vocabulary has them.

    Raises:
        CheckpointError: the vocabulary has some of the words only or those of another layout, or the model lacks rows
            for words that it has.
        UsageError: the weights are loaded in parts over processes, so that rows cannot be written.
    """
    vocabulary = tokenizer.get_vocab()
    words = layout.words
    present = [word for word in words if word in vocabulary]
    check_no_further_words(vocabulary, "the vocabulary", layout)
    if len(present) == len(words):
        _check_rows(model, max(vocabulary[word] for word in words))
        return 0
    if present:
        raise CheckpointError(
            f"the vocabulary holds {len(present)} of the {len(words)} mask words of layout {layout} ({present[0]} "
            "first); expected all or none: train on conversations of the checkpoint's own layout, take the checkpoint "
            "as it was published, or remove these words from its tokenizer"
        )
    if is_deepspeed_zero3_enabled() or is_fsdp_enabled():
        raise UsageError(
            "the mask words cannot be added while ZeRO-3 or FSDP loads weights in parts; write a checkpoint that has "
            "them with `samtok-eval train words`, and train that one"
        )
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in words])
    first = tokenizer.convert_tokens_to_ids(words[0])
    _grow(model, first + len(words), seed)
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        embedding[first : first + len(words)] = new_rows(embedding[:first], seed, len(words)).to(embedding)
    logger.info("added %d mask words, ids %d to %d", len(words), first, first + len(words) - 1)
    return len(words)


def new_rows(known: Tensor, seed: int, count: int = len(WORDS)) -> Tensor:
    """Rows of the mask words, drawn around the old vocabulary's.

    Args:
        known: (V, D) rows of the old vocabulary.
        seed: of the noise.
        count: words.

    Returns:
        float32 (count, D) on the CPU, equal on every machine.
    """
    rows = known.detach().float().cpu()
    noise = torch.randn(count, rows.shape[1], generator=torch.Generator().manual_seed(seed))
    return rows.mean(0) + NOISE * noise * rows.std(0).clamp(min=LEAST_STD)


def write_with_mask_words(source: Path, out: Path, seed: int = 0, layout: Layout = DEFAULT_LAYOUT) -> int:
    """Write a copy of a checkpoint that has the mask words.

    Args:
        source: checkpoint folder.
        out: new folder.
        seed: of the new rows.
        layout: of the mask tokenizer whose codes the words name.

    Returns:
        How many words were added.

    Raises:
        CheckpointError: see `load_checkpoint` and `add_mask_words`.
        UsageError: `out` exists and is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"--out {out} exists and is not empty; choose another folder")
    model, processor = load_checkpoint(source, "auto")
    added = add_mask_words(model, processor.tokenizer, seed, layout)
    with checkpoint_into(out) as content:
        model.save_pretrained(content)
        processor.save_pretrained(content)
    return added


def load_checkpoint(folder: Path, dtype: torch.dtype | str) -> tuple[Any, Any]:
    """A vision-language model of a family that can be fine-tuned, and its processor.

    Args:
        folder: checkpoint folder.
        dtype: of the weights; `auto` takes the checkpoint's own.

    Raises:
        CheckpointError: nothing loadable there, or another family than `FAMILIES`.
    """
    model, processor = load_vision_language(folder, dtype)
    if model.config.model_type not in FAMILIES:
        raise CheckpointError(
            f"{folder} is of model type {model.config.model_type}; expected one of {', '.join(FAMILIES)}"
        )
    return model, processor


def _grow(model: Any, rows: int, seed: int) -> None:
    """Give the model at least so many rows; published checkpoints may have spare ones, which are kept."""
    if model.get_input_embeddings().weight.shape[0] >= rows:
        return
    # The library draws new rows from the global generator; training must start alike on every process.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.resize_token_embeddings(rows)


def _check_rows(model: Any, last: int) -> None:
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        # A parameter that ZeRO-3 has split shows its full shape elsewhere.
        shape = getattr(layer.weight, "ds_shape", layer.weight.shape)
        if shape[0] <= last:
            raise CheckpointError(
                f"the tokenizer has mask words up to id {last}, the model only {shape[0]} rows; "
                "tokenizer and weights are of different checkpoints"
            )
