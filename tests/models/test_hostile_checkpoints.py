"""Checkpoints of strangers: their code is never run, and what their configuration says of sizes is not believed."""

from __future__ import annotations

import json
import random
import shutil
from contextlib import suppress

import pytest
import torch

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.errors import CheckpointError, UsageError
from samtok_eval.models.checkpoint import load_vision_language
from samtok_eval.tokenizer import MaskTokenizer
from samtok_eval.training.tokenizer.state import CHECKPOINT, load_checkpoint, save_checkpoint


@pytest.mark.parametrize("model_type", ["qwen3_vl", "a_model_of_theirs"])
def test_code_in_a_checkpoint_is_never_run(tmp_path, model_type):
    folder = shutil.copytree(DEMO_CHECKPOINT, tmp_path / "model")
    code = f"from pathlib import Path\nPath({str(tmp_path / 'was_run')!r}).touch()\n"
    for name in ("configuration_x.py", "modeling_x.py", "processing_x.py"):
        (folder / name).write_text(code)
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        content["auto_map"] = {
            "AutoConfig": "configuration_x.X", "AutoModelForImageTextToText": "modeling_x.X",
            "AutoProcessor": "processing_x.X", "AutoTokenizer": ["processing_x.X", None],
        }  # fmt: skip
        if name == "config.json":
            content["model_type"] = model_type
        (folder / name).write_text(json.dumps(content))
    if model_type == "qwen3_vl":
        load_vision_language(folder, torch.float32)
    else:
        with pytest.raises(CheckpointError, match="cannot be loaded"):
            load_vision_language(folder, torch.float32)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    ("part", "name", "size"),
    [
        ("text_config", "hidden_size", 10**9),
        ("text_config", "num_hidden_layers", 10**9),
        ("vision_config", "depth", 10**6),
        ("text_config", "vocab_size", 10**12),
        ("text_config", "intermediate_size", 1e18),
    ],
)
def test_a_checkpoint_of_absurd_sizes_is_refused_before_it_is_built(tmp_path, part, name, size):
    folder = shutil.copytree(DEMO_CHECKPOINT, tmp_path / "model")
    content = json.loads((folder / "config.json").read_text())
    assert name in content[part]
    content[part][name] = size
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=f"{name} is .* beside weights .* copy the checkpoint again"):
        load_vision_language(folder, torch.float32)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("embed_dim", 10**8),
        ("stages", [10**9, 1, 1, 1]),
        ("codebook_size", 10**9),
        ("image_size", 2**30),
        ("window_spec", [8, 4, 2**40, 4]),
    ],
)
def test_a_mask_tokenizer_of_absurd_sizes_is_refused_before_it_is_built(tmp_path, name, size):
    folder = shutil.copytree(DEMO_CHECKPOINT / "mask_tokenizer", tmp_path / "mask_tokenizer")
    content = json.loads((folder / "config.json").read_text()) | {name: size}
    content["backbone_channel_list"] = [content["embed_dim"] * factor for factor in (8, 4, 2, 1)]
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=name):
        MaskTokenizer.from_pretrained(folder)


def test_a_state_of_training_that_is_cut_or_changed_is_read_or_refused(tmp_path):
    path, rng = tmp_path / CHECKPOINT, random.Random(0)
    save_checkpoint(path, {"step": 3, "weights": {"a": torch.ones(4)}})
    assert load_checkpoint(path)["step"] == 3
    whole = path.read_bytes()
    for at in rng.sample(range(len(whole)), 60):
        path.write_bytes(rng.choice([whole[:at], whole[:at] + bytes([rng.randrange(256)]) + whole[at + 1 :]]))
        with suppress(CheckpointError):
            load_checkpoint(path)
    path.write_bytes(whole[:100])
    with pytest.raises(CheckpointError, match=r"cannot be read .* start anew"):
        load_checkpoint(path)


def test_a_state_that_cannot_be_written_leaves_nothing_half_written(tmp_path):
    (tmp_path / "no folder").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        save_checkpoint(tmp_path / "no folder" / CHECKPOINT, {"step": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["no folder"]
