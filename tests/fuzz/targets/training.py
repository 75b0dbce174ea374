"""Checkpoints, and what models and mask tokenizers are trained on."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

from tests.fuzz.targets.benchmarks import copied, tiny_root
from tests.fuzz.targets.target import REFUSED, Target, command, refused


def _prepare_checkpoint(folder: Path) -> None:
    """A mask tokenizer of some thousand parameters, and the bundled model's small files beside it."""
    import torch

    from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
    from samtok_eval.tokenizer import MaskTokenizer, MaskTokenizerConfig

    config = json.loads((DEMO_CHECKPOINT / "mask_tokenizer" / "config.json").read_text())
    del config["model_type"]
    torch.manual_seed(0)
    MaskTokenizer(MaskTokenizerConfig(**config)).save_pretrained(folder / "model" / "mask_tokenizer")
    for path in DEMO_CHECKPOINT.iterdir():
        if path.is_file() and path.suffix != ".jsonl":
            shutil.copy(path, folder / "model" / path.name)


def _load_mask_tokenizer(folder: Path) -> None:
    from samtok_eval.tokenizer import MaskTokenizer

    refused(lambda: MaskTokenizer.from_pretrained(folder / "model"))


def _run_checkpoint(folder: Path) -> None:
    command("run", "--task", "gres", "--model", folder / "model", "--data-root", tiny_root(), "--limit", "1", "--out",
            folder / "out", "--max-new-tokens", "4", "--quiet", codes=REFUSED | {3})  # fmt: skip


def _prepare_sft(folder: Path) -> None:
    copied(folder, ("coco",))
    picture = next((folder / "coco" / "train2014").iterdir()).relative_to(folder)
    talk = [{"from": "human", "value": "<image>\nWhere is the dog?"},
            {"from": "gpt", "value": "<|mt_start|><|mt_0044|><|mt_0442|><|mt_end|>"}]  # fmt: skip
    rows = [{"id": str(i), "image": str(picture), "conversations": talk} for i in range(3)]
    (folder / "sft.json").write_text(json.dumps(rows))
    (folder / "sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _validate_sft(folder: Path) -> None:
    for name in ("sft.json", "sft.jsonl"):
        command("tokenize", "--validate", folder / name, "--data-root", folder)


SOURCE_FILES = ("refcoco/instances.json", "panoptic.json", "panoptic/a.png", "prompts.jsonl")


def _prepare_sources(folder: Path) -> None:
    """A COCO file, a panoptic one, and prompts for reinforcement."""
    from PIL import Image

    copied(folder, ("coco/train2014", "refcoco/instances.json"))
    pictures = sorted((folder / "coco" / "train2014").iterdir())
    (folder / "panoptic").mkdir()
    Image.new("RGB", (128, 128), (7, 0, 0)).save(folder / "panoptic" / "a.png")
    listed = [{"id": 1, "file_name": pictures[0].name, "height": 128, "width": 128}]
    segments = [{"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 7}, {"id": 8}]}]
    (folder / "panoptic.json").write_text(json.dumps({"images": listed, "annotations": segments}))
    row = {"problem": "<image>\nSegment it.", "answer": "No target.", "source": "thinking_gres"}
    cycle = {"cap_problem": "<image>\nDescribe it.", "seg_answer": "x", "source": "cycle"}
    rows = [{**each, "images": [f"coco/train2014/{pictures[0].name}"]} for each in (row, cycle)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))


def _sources(folder: Path) -> None:
    from samtok_eval.training.grpo.prompts import read_prompts
    from samtok_eval.training.tokenizer.sources import open_source

    def every(spec: str) -> None:
        source = open_source(spec)
        for index in range(len(source)):
            opened = source.open(index)
            for number in range(opened.count):
                # What is broken in one mask is counted by who trains.
                with contextlib.suppress(ValueError):
                    opened.mask(number)

    refused(lambda: every(f"coco:{folder / 'refcoco' / 'instances.json'}@{folder / 'coco' / 'train2014'}"))
    refused(lambda: every(f"panoptic:{folder / 'panoptic.json'}@{folder / 'coco' / 'train2014'}"))
    refused(lambda: read_prompts(folder / "prompts.jsonl"))


TARGETS: tuple[Target, ...] = (
    Target("training data", _prepare_sources, SOURCE_FILES, _sources, weight=15, tags=frozenset({"torch"})),
    Target("conversations", _prepare_sft, ("sft.json", "sft.jsonl"), _validate_sft, weight=10),
    Target(
        "mask tokenizer", _prepare_checkpoint, ("model/mask_tokenizer/*",), _load_mask_tokenizer, weight=10,
        tags=frozenset({"torch"}),
    ),
    Target(
        "checkpoint", _prepare_checkpoint, ("model/*.json", "model/*.jinja", "model/mask_tokenizer/*.json"),
        _run_checkpoint, weight=3, tags=frozenset({"torch"}),
    ),
)  # fmt: skip
