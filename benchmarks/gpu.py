"""Smoke, equality and speed on the GPU at hand, as a page: `make gpu PYTHON=...`, nothing set up, no network.

Out: `docs/performance/<card>.md`. Weights are random, at the sizes of the published models; without a GPU the models
are small and the page, of the CPU, says so.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

NEEDED = ("torch", "torchvision", "transformers", "sam2", "pycocotools", "pydantic", "typer", "scipy")
QUESTIONS_EQUAL = 32
ROUNDS = 3
NEW_TOKENS = 16


def main(words: Sequence[str] | None = None) -> Path:
    """Measure, write the page, and return its path."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/performance"), help="Folder of the page.")
    parser.add_argument("--questions", type=int, default=QUESTIONS_EQUAL, help="Asked on both devices.")
    given = parser.parse_args(words)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        parser.error(f"{sys.executable} lacks {', '.join(missing)}; install samtok-eval[model] there, or only these")
    import torch

    on_gpu = torch.cuda.is_available()
    card = torch.cuda.get_device_name() if on_gpu else "CPU, small models"
    device = "cuda" if on_gpu else "cpu"
    sections = [smoke(device), equality(device, given.questions), speed(device)]
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"{re.sub('[^a-z0-9]+', '_', card.lower()).strip('_')}.md"
    path.write_text("\n\n".join([heading(card), *sections]) + "\n")
    return path


def heading(card: str) -> str:
    """What was measured with what."""
    from samtok_eval.run.fingerprints import git_commit, now, versions

    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"# {card}\n\nWritten by `make gpu` on {now()}, commit {git_commit()}; {packages}."


def smoke(device: str) -> str:
    """The bundled checkpoint from question to number."""
    from samtok_eval import evaluate

    with tempfile.TemporaryDirectory() as folder:
        run = evaluate("gres", model="demo", device=device, limit=16, out=Path(folder), profile=True)
        value = run.metrics["strict"]["giou"]["value"]
    return f"`run --task gres --limit 16` with the bundled checkpoint: gIoU {100 * value:.1f}, no errors."


def equality(device: str, questions: int) -> str:
    """The bundled checkpoint in fp32, on the device and on the CPU."""
    from samtok_eval.models.select import ModelOptions
    from samtok_eval.registry import load_tasks
    from samtok_eval.run.precision import agreement, compute
    from samtok_eval.run.samples import read_samples
    from samtok_eval.run.settings import RunSettings

    task = load_tasks()["gres"]
    samples = read_samples(task, "val", "demo", questions)
    on_cpu, here = (ModelOptions("demo", RunSettings(device=name, dtype="fp32")) for name in ("cpu", device))
    exact = compute(on_cpu, task, samples, None)
    found = agreement(exact, compute(here, task, samples, exact.codes))
    rows = [
        (f"equal codes, of {found.masks}", f"{found.equal_codes:.1%}"),
        ("IoU of masks from the same codes, mean and least", f"{found.mean_iou:.5f}, {found.least_iou:.5f}"),
        (f"equal texts, of {found.texts}", f"{found.equal_texts:.1%}"),
    ]
    return table(f"Bundled checkpoint in fp32, {device} against CPU", rows)


def speed(device: str) -> str:
    """Random weights at the published sizes, small ones on a CPU."""
    import torch

    from benchmarks.random_models import QWEN3_VL_4B, TINY, asked, picture, qwen3
    from samtok_eval.models.transformers_backend import LoadedBackend
    from samtok_eval.run.measure import best_seconds, device_rates, sizes_of, work_of
    from samtok_eval.run.profile import Work, least_seconds
    from samtok_eval.run.settings import RunSettings
    from samtok_eval.tokenizer import MaskTokenizer, MaskTokenizerConfig

    full = device == "cuda"
    side, dtype = (640, torch.bfloat16) if full else (64, torch.float32)
    tokenizer = MaskTokenizer(MaskTokenizerConfig() if full else small_tokenizer()).to(device)
    image, codes = picture(side), torch.zeros(8, tokenizer.config.codebook_depth, dtype=torch.int64)
    timed = partial(best_seconds, device, rounds=ROUNDS)
    rows = []
    for name in ("float32", "bfloat16"):
        tokenizer.autocast_dtype = getattr(torch, name)
        rows += [
            (f"mask tokenizer, {name}: {count} masks on a new picture",
             f"{1000 * timed(lambda count=count: tokenizer.decode(image, codes[:count])):.1f} ms")
            for count in (1, 8)
        ]  # fmt: skip
    model, processor = qwen3(QWEN3_VL_4B if full else TINY, side, dtype, device)
    naive, shared = (
        LoadedBackend(model, processor, "random", settings)
        for settings in (RunSettings(group_pictures=False), RunSettings(share_prefix=True, profile=True))
    )
    requests = [request for seed in range(8 if full else 1) for request in asked(picture(side, seed))]
    alone = len(requests) * timed(lambda: naive.generate(requests[:1], NEW_TOKENS))
    shared.generate(requests, NEW_TOKENS)
    before = work_of(shared)
    together = best_seconds(device, lambda: shared.generate(requests, NEW_TOKENS), rounds=1)
    work = Work(**(work_of(shared) - before))
    rates = device_rates(device, dtype)
    least = sum(least_seconds(sizes_of(shared, None), work, rates).values())
    peak = torch.cuda.max_memory_allocated() / 1e9 if full else None
    rows += [
        (f"{len(requests)} questions of 8 on a picture, {NEW_TOKENS} tokens each", f"{together:.3f} s"),
        ("answers and tokens a second", f"{len(requests) / together:.1f}, {work.written / together:.0f}"),
        ("times as fast as one by one, nothing shared", f"{alone / together:.1f}"),
        ("least that the device allows (arithmetic)", f"{least:.3f} s"),
        ("matrix products; copies", f"{rates.flops / 1e12:.2f} TFLOP/s; {rates.copied_bytes / 1e9:.0f} GB/s"),
        *([("most memory", f"{peak:.1f} GB")] if peak else []),
    ]
    shape = "Hiera-L mask tokenizer, shape of Qwen3-VL-4B" if full else "small models"
    return table(f"Random weights: {shape}, {side}x{side} pixels, language model in {str(dtype)[6:]}", rows)


def small_tokenizer() -> object:
    """The bundled mask tokenizer's configuration."""
    from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
    from samtok_eval.tokenizer.checkpoint import find_tokenizer, read_config

    return read_config(find_tokenizer(DEMO_CHECKPOINT))


def table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """A Markdown table of two columns under its title."""
    return "\n".join([f"## {title}", "", "| what | found |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


if __name__ == "__main__":
    sys.stdout.write(f"{main()}\n")
