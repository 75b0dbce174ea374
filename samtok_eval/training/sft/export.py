"""From what a trainer leaves to a checkpoint folder as published ones are.

In: trained weights, or a base checkpoint and a LoRA adapter. Out: config, generation settings, chat template,
processor, tokenizer and safetensors in one folder, which `transformers`, `transformers serve` and this harness load as
it is. Everything is read from disk on one process, so that it works after training of any kind, sharded or not.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from samtok_eval.datasets.sft import noted_layout
from samtok_eval.device import torch_dtype
from samtok_eval.errors import CheckpointError, UsageError
from samtok_eval.files import read_object
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout
from samtok_eval.training.checkpoint_files import checkpoint_into
from samtok_eval.training.folder import BINDING, CARD
from samtok_eval.training.sft.vocabulary import add_mask_words, load_checkpoint

SPARE_DTYPE = torch.bfloat16
"""For checkpoints whose config names none; published ones are in it."""


def export_full(trained: Path, base: Path, out: Path, dtype: str) -> None:
    """Write a fully trained model.

    Args:
        trained: folder that the trainer saved, with the processor.
        base: checkpoint that training began with; its generation settings are kept.
        out: the checkpoint folder.
        dtype: `auto` (that of `base`), `bf16`, `fp16` or `fp32`.

    Raises:
        CheckpointError: a folder cannot be loaded.
        UsageError: unknown dtype.
    """
    model, processor = load_checkpoint(trained, _export_dtype(base, dtype))
    _write(model, processor, base, out)


def adapter_layout(adapter: Path, named: Layout | None) -> Layout:
    """The layout of the mask words that an adapter was trained on: of its run, else the named one, else 256x2.

    Args:
        adapter: folder `adapter` of a training run.
        named: of the mask tokenizer that the user names, if any.

    Raises:
        UsageError: the run and the mask tokenizer are of different layouts.
        DataError: the card of the run is broken.
    """
    card = adapter.absolute().parent / CARD
    if not card.is_file():
        return named or DEFAULT_LAYOUT
    begun_with = read_object(card, "give the folder as training left it").get(BINDING)
    layout = noted_layout(begun_with if isinstance(begun_with, dict) else {}, card)
    if named and named != layout:
        raise UsageError(
            f"{adapter} was trained on mask words of layout {layout}, the mask tokenizer is of {named}; name its own "
            "with --tokenizer, or leave it out"
        )
    return layout


def merge_adapter(base: Path, adapter: Path, out: Path, dtype: str = "auto", layout: Layout = DEFAULT_LAYOUT) -> None:
    """Write a base checkpoint with a LoRA adapter merged into it.

    Sums are taken in float32 and rounded once.

    Args:
        base: checkpoint that the adapter was trained on; mask words that it lacks are added as in training.
        adapter: folder with `adapter_config.json`.
        out: the checkpoint folder.
        dtype: as in `export_full`.
        layout: of the mask words.

    Raises:
        CheckpointError: a folder cannot be loaded, or the adapter does not fit the base.
        UsageError: unknown dtype.
    """
    from peft import PeftModel

    if not (adapter / "adapter_config.json").is_file():
        raise CheckpointError(f"{adapter} has no adapter_config.json; expected the `adapter` folder of a training run")
    wanted = _export_dtype(base, dtype)
    model, processor = load_checkpoint(base, torch.float32)
    add_mask_words(model, processor.tokenizer, layout=layout)
    try:
        adapted = PeftModel.from_pretrained(model, adapter)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the adapter {adapter} does not fit {base} ({str(error).strip().splitlines()[0][:200]}); "
            "give the checkpoint that it was trained on"
        ) from error
    _write(adapted.merge_and_unload().to(wanted), processor, base, out)


def _write(model: Any, processor: Any, base: Path, out: Path) -> None:
    from transformers import GenerationConfig

    # The trainer aligns stop words with the tokenizer's one; published settings hold several.
    if (base / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(base)
    with warnings.catch_warnings():
        # Published generation settings may hold values that greedy decoding ignores.
        warnings.simplefilter("ignore", UserWarning)
        with checkpoint_into(out) as content:
            model.save_pretrained(content)
            processor.save_pretrained(content)


def _export_dtype(base: Path, dtype: str) -> torch.dtype:
    from transformers import AutoConfig

    from samtok_eval.models.checkpoint import NO_CODE

    if dtype != "auto":
        return torch_dtype(dtype)
    config = AutoConfig.from_pretrained(base, **NO_CODE)
    found = config.dtype or config.get_text_config().dtype
    return found if isinstance(found, torch.dtype) else SPARE_DTYPE
