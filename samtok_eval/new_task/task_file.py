"""My benchmark: one sentence about a picture means one object, or nothing.

A task file: card, reader, prompt, rules and scorer of one benchmark. It runs as it is, on two pictures that it draws:

    samtok-eval run --task my_benchmark --tasks-dir FOLDER --model oracle

To make it yours: fill in the card, read your files in `samples_of`, then delete the split `toy` and `toy_folder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samtok_eval import masks
from samtok_eval.files import cache_folder, inside, read_json, reading, text, whole_number, write_json
from samtok_eval.metrics.ratio import Metric
from samtok_eval.metrics.referring import ciou, giou, no_target_accuracy
from samtok_eval.metrics.scoring import score_region
from samtok_eval.prediction import Prediction, Record
from samtok_eval.prompts import SEGMENT_PHRASE, Prompt
from samtok_eval.protocol import Protocol
from samtok_eval.sample import ImageRef, Sample, Target, Turn
from samtok_eval.task import Task, TaskMetadata


class MyBenchmarkTask(Task):
    """CIoU, gIoU and N-acc over sentences; all masks of an answer are united."""

    metadata = TaskMetadata(
        name="my_benchmark",  # what --task names
        title="My benchmark",
        version=1,  # raise it whenever samples, prompt or scoring change
        paper="none yet",
        data="where the annotations come from",
        licence="unknown",
        splits=("toy", "val"),
        default_split="toy",  # val, as soon as there are data
        sizes={"toy": "2 images, 3 sentences", "val": "unknown"},
        files=("my_benchmark/val.json", "my_benchmark/images"),  # under --data-root
        main_metric="giou",
        metrics=("giou", "ciou", "n_acc"),  # in the order of tables
    )
    # `Prompt("my-words", "Where is {phrase}?", "who asks so")` is one of your own.
    prompt: Prompt = SEGMENT_PHRASE
    # `strict` first. Another protocol is another set of rules for the same answers, such as those of a released script.
    protocols = (Protocol("strict", policy="final", missing_second="skip", errors_fail=True),)

    def read(self, data_root: Path, split: str) -> Sequence[Sample]:
        """All questions of a split, in the order of the file."""
        return samples_of(toy_folder() if split == "toy" else data_root / "my_benchmark", split, self.prompt)

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol[Any]) -> Record:
        """Pixels of the united answer against the united target, as integers; a missing prediction is None."""
        return score_region(sample, prediction, protocol)

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """Each metric as a ratio of sums; values, slices, intervals and tests follow from it."""
        return {"giou": giou(records), "ciou": ciou(records), "n_acc": no_target_accuracy(records)}


def samples_of(folder: Path, split: str, prompt: Prompt) -> list[Sample]:
    """Samples from `SPLIT.json`: a list of rows with `id`, `image`, `height`, `width`, `phrase` and `masks`.

    A mask is a COCO segmentation (polygons or run lengths) at the size of the picture, in pixels.

    Raises:
        DataError: the file is missing, or not of this structure.
    """
    path = folder / f"{split}.json"
    samples = []
    with reading(f"{path} is not a file of My benchmark"):
        for row in read_json(path):
            height, width = whole_number(row["height"]), whole_number(row["width"])
            # Samples with one picture share the id of the picture: intervals draw whole pictures.
            image = ImageRef(text(row["image"]), inside(folder / "images", row["image"]), height, width)
            found = tuple(masks.from_segmentation(mask, height, width) for mask in row["masks"])
            samples.append(
                Sample(
                    id=str(whole_number(row["id"])),  # unique and stable
                    image=image,
                    turns=(Turn("user", (prompt(phrase=text(row["phrase"])),)),),
                    target=Target(masks=found),  # no masks: nothing in the picture is meant
                    phrase=text(row["phrase"]),
                    slices={"targets": "one" if found else "none"},  # results are broken down by these
                )
            )
    return samples


def toy_folder() -> Path:
    """Two pictures, 128 x 128, and `toy.json`; drawn here, so that the file runs before there are data."""
    folder = cache_folder() / "toy-my_benchmark"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:128, :128]
    square = (abs(rows - 40) < 20) & (abs(columns - 40) < 20)  # bool (H, W), 39 x 39 pixels
    circle = (rows - 80) ** 2 + (columns - 90) ** 2 < 20**2
    drawn = (
        ("one.png", "the red square", square, (220, 40, 40)),
        ("two.png", "the blue circle", circle, (40, 80, 230)),
    )
    questions: list[dict[str, Any]] = []
    for name, phrase, mask, color in drawn:
        picture = np.full((128, 128, 3), 30, dtype=np.uint8)  # RGB (H, W, 3)
        picture[mask] = color
        Image.fromarray(picture).save(folder / "images" / name)
        questions.append({"image": name, "phrase": phrase, "masks": [masks.encode(mask).to_coco()]})
    questions.append({"image": "two.png", "phrase": "the green cross", "masks": []})
    write_json(folder / "toy.json", [{"id": i, "height": 128, "width": 128, **row} for i, row in enumerate(questions)])
    return folder


TASKS = (MyBenchmarkTask(),)
