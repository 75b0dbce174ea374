"""What is gained by writing lines, run lengths included, while the next batch is asked instead of after each batch.

`OMP_NUM_THREADS=1 python -m benchmarks.lines` prints, for two sizes of pictures, milliseconds of the run lengths of one
mask, and seconds of a run of batches of 64 masks: the back end waits for each batch as for a GPU, and masks are there
at once. Then processor seconds of answering with the bundled checkpoint. The least of three rounds each.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from samtok_eval import masks
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.mask_tokens import render
from samtok_eval.models.backend import Answer
from samtok_eval.models.transformers_backend import TransformersBackend
from samtok_eval.progress import Progress
from samtok_eval.registry import load_tasks
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.lines import LineWriter
from samtok_eval.run.predict import predict
from samtok_eval.run.samples import read_samples
from samtok_eval.run.settings import RunSettings
from samtok_eval.sample import ImageRef, Sample, Target, Turn
from samtok_eval.tokenizer.model import MaskTokenizer

SIZES = (480, 640), (1024, 1024)
BATCH, BATCHES, WAIT, ROUNDS = 64, 10, 0.2, 3
QUESTIONS = 192
TASK = load_tasks()["gres"]


class AfterEachBatch(LineWriter):
    """Writes everything before the next batch is asked."""

    def write(self, answers: Any) -> Any:
        """Take answers and write them."""
        return super().write(answers) + self.wait()


class Waiting:
    """Answers each question with one mask of its own, some time later."""

    name, batch_size = "waiting", BATCH

    def generate(self, requests: Any, max_new_tokens: int) -> list[Answer]:
        """Wait, then answer."""
        time.sleep(WAIT)
        return [Answer(render([(i, i)])) for i in range(len(requests))]


class Decoded:
    """A mask tokenizer that has decoded its masks before."""

    def __init__(self, drawn: Any) -> None:
        self.drawn = drawn

    def decode_pictures(self, pictures: Any, codes: Any) -> list[Any]:
        """As many masks as are asked for."""
        return [self.drawn[: len(some)] for some in codes]


def drawn(height: int, width: int) -> Any:
    """Stars of 64 sizes, bool (64, height, width)."""
    y, x = np.mgrid[:height, :width] - np.array([height, width])[:, None, None] / 2
    radius = np.hypot(y, x) / (1 + 0.2 * np.sin(7 * np.arctan2(y, x)))
    return np.stack([radius < min(height, width) * share for share in np.linspace(0.1, 0.4, BATCH)])


def milliseconds_of_a_mask(stars: Any) -> float:
    """Processor time of making run lengths."""
    started = time.process_time()
    for star in stars:
        masks.encode(star)
    return (time.process_time() - started) / len(stars) * 1000


def seconds_of_waiting(stars: Any) -> float:
    """Of a run, by the clock."""
    height, width = stars.shape[1:]
    with tempfile.TemporaryDirectory() as name:
        picture = Path(name) / "picture.png"
        Image.new("RGB", (width, height)).save(picture)
        image = ImageRef("picture", picture, height, width)
        samples = [Sample(str(i), image, (Turn("user", ("Where?",)),), Target()) for i in range(BATCH * BATCHES)]
        started = time.perf_counter()
        answer(samples, Waiting(), Decoded(stars), BATCH)
        return time.perf_counter() - started


def seconds_of_the_checkpoint() -> float:
    """Of a run, by the processor, loading left out."""
    samples = read_samples(TASK, "val", "demo", QUESTIONS)
    tokenizer = MaskTokenizer.from_pretrained(DEMO_CHECKPOINT)
    tokenizer.remember_pictures()
    backend = TransformersBackend(str(DEMO_CHECKPOINT), "demo", "cpu", torch.float32, settings=RunSettings())
    started = time.process_time()
    answer(samples, backend, tokenizer, RunSettings().batch_size)
    return time.process_time() - started


def answer(samples: Sequence[Sample], backend: Any, tokenizer: Any, batch_size: int) -> None:
    """Ask everything, in a folder that is then forgotten."""
    with tempfile.TemporaryDirectory() as out, Progress("lines", Console(quiet=True)) as progress:
        predict(TASK, samples, backend, tokenizer, RunFolder(Path(out)), RunSettings(batch_size=batch_size), progress)


def both_ways(seconds: Callable[[], float]) -> str:
    """The least of some rounds after each batch and meanwhile, and their ratio."""
    after, meanwhile = [], []
    for _ in range(ROUNDS):
        with patch("samtok_eval.run.predict.LineWriter", AfterEachBatch):
            after.append(seconds())
        meanwhile.append(seconds())
    least = min(after), min(meanwhile)
    return f"{least[0]:.2f} s after each batch, {least[1]:.2f} s meanwhile ({least[0] / least[1]:.2f} x)"


def main() -> None:
    """Print what the first lines of this file say."""
    for size in SIZES:
        stars = drawn(*size)
        sys.stdout.write(
            f"{size[0]}x{size[1]}: {milliseconds_of_a_mask(stars):.2f} ms a mask; {BATCHES} batches of {BATCH}, each "
            f"waited for {WAIT} s: {both_ways(lambda stars=stars: seconds_of_waiting(stars))}\n"
        )
    sys.stdout.write(
        f"{QUESTIONS} demo questions, bundled checkpoint, by the processor: {both_ways(seconds_of_the_checkpoint)}\n"
    )


if __name__ == "__main__":
    main()
