"""Prompts of reinforcement learning: questions with pictures and right answers, drawn from scenes or read from files.

In: demo scenes, or a file with the columns of the released RL data (`problem`, `answer`, `images`, `source`), or of
CycleGRPO's. Out: `GrpoPrompt`s, and the rows in which `trl` wants them. The `source` of a prompt decides which rewards
it earns.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from samtok_eval.datasets.sft import IMAGE_MARK
from samtok_eval.errors import DataError
from samtok_eval.files import MEND_THE_LINE, MISFITS, read_json_lines, reading, shortened
from samtok_eval.files import text as as_text
from samtok_eval.images import UNREADABLE, open_image
from samtok_eval.mask_tokens import Layout, parse
from samtok_eval.prompts import CAPTION_ONE_REGION, DESCRIBE_WITH_MASKS_RL, FIND_DESCRIBED, GROUND_CAPTION

if TYPE_CHECKING:
    from datasets import Dataset

GRES, GCG = "gres", "glamm_gcg"
"""Sources of the demo's prompts."""
REGION = re.compile(r"<\|mt_start\|>(?:<\|mt_\d+\|>)+<\|mt_end\|>")
"""Mask words of a region, of any layout."""
COLUMNS = ("problem", "answer", "images", "source")
CYCLE_COLUMNS = {"cap_problem": "problem", "seg_answer": "answer"}
"""CycleGRPO's names of two columns; it has more, of videos and of captions that nothing is compared with."""
GROUNDING_PROMPTS = {prompt.id: prompt for prompt in (GROUND_CAPTION, FIND_DESCRIBED)}
"""Questions by which a caption is checked."""
THINK = DESCRIBE_WITH_MASKS_RL.template[DESCRIBE_WITH_MASKS_RL.template.index("A conversation between") :]
"""What the released code appends to a prompt whose answer is to be reasoned about (`rl/format_prompt/r1v.jinja`)."""


class StoredPicture(NamedTuple):
    """A picture as a file or as the bytes of one, so that many of them fit into memory."""

    path: str | None
    bytes: bytes | None

    def opened(self) -> Image.Image:
        """The picture, its pixels not yet read.

        Raises:
            OSError: there is none.
        """
        return open_image(BytesIO(self.bytes) if self.bytes else str(self.path))


@dataclass(frozen=True)
class GrpoPrompt:
    """One question."""

    images: tuple[StoredPicture, ...]
    """Shown before the text."""
    text: str
    reference: str
    """The right answer."""
    source: str
    """A key of the reward weights."""


def read_prompts(path: Path) -> list[GrpoPrompt]:
    """Questions of a `.parquet` or `.jsonl` file with the columns of the released RL data, or of CycleGRPO's.

    Pictures are paths, relative to the file's folder, or (in Parquet) bytes. Blanks around a problem go, the newline
    behind a picture's mark stays, as in the released code. That of CycleGRPO, whose columns have names of their own,
    takes it away and asks for one region where a problem names several (`_one_region`).

    Raises:
        DataError: the file, a column or a picture is missing or broken, or a picture stands behind the text.
    """
    rows = _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path)
    prompts = []
    for number, row in enumerate(rows, start=1):
        if "cap_problem" in row:
            with reading(f"{path}: row {number}", MEND_THE_LINE):
                row = _one_region({CYCLE_COLUMNS.get(name, name): value for name, value in row.items()}, number)
        lacking = [name for name in COLUMNS if name not in row]
        if lacking:
            raise DataError(f"{path}: row {number} lacks {', '.join(lacking)}; expected the columns {COLUMNS}")
        with reading(f"{path}: row {number}", MEND_THE_LINE):
            problem, answer = as_text(row["problem"]), as_text(row["answer"])
            # Released files leave the source of some rows open; the rewards know it by this name.
            source = "None" if row["source"] is None else as_text(row["source"])
            problem, pictures = problem.strip(), list(row["images"])
        images = tuple(_picture(value, path, number) for value in pictures)
        text = problem.removeprefix(IMAGE_MARK * len(images)) if images else problem
        if IMAGE_MARK in text or (images and text == problem):
            raise DataError(
                f"{path}: row {number} has {len(images)} pictures, expected as many {IMAGE_MARK} at the start of the "
                f"problem and none later, got {problem[:60]!r}"
            )
        prompts.append(GrpoPrompt(images, text, answer, source))
    if not prompts:
        raise DataError(f"{path} holds no prompts; give a file with at least one row")
    return prompts


def check_references(prompts: Sequence[GrpoPrompt], layout: Layout) -> None:
    """Refuse right answers in words of another layout, which no answer could match.

    Raises:
        DataError: they hold mask words, and no complete span of the layout.
    """
    statuses = [span.status for prompt in prompts for span in parse(prompt.reference, layout)]
    if statuses and "ok" not in statuses:
        raise DataError(
            f"none of the {len(statuses)} masks in the prompts' right answers is named in words of layout {layout}, "
            "that of the mask tokenizer; name the one that they were written with by --tokenizer"
        )


def dataset_of(prompts: Sequence[GrpoPrompt], thinking: bool, epochs: int, seed: int) -> Dataset:
    """Rows for `trl`, in the order in which they are trained on.

    Every epoch has its own order, written out, so that a resumed run meets the same prompts whatever was skipped.

    Args:
        prompts: the questions.
        thinking: ask for reasoning before the answer.
        epochs: how often each is met, at least 1.
        seed: of the orders.
    """
    from datasets import Dataset, Features, List, Value
    from datasets import Image as Picture

    text = Value("string")
    turns = List({"role": text, "content": text})
    features = Features({"prompt": turns, "images": List(Picture()), "reference": text, "source": text})
    rows = [
        {
            "prompt": [{"role": "user", "content": f"{prompt.text} {THINK}" if thinking else prompt.text}],
            "images": [picture._asdict() for picture in prompt.images],
            "reference": prompt.reference,
            "source": prompt.source,
        }
        for prompt in prompts
    ]
    rng = np.random.default_rng([seed, 8])
    order = np.concatenate([rng.permutation(len(rows)) for _ in range(epochs)])
    return Dataset.from_list(rows, features=features).select(order)


def _json_rows(path: Path) -> list[dict[str, Any]]:
    rows = read_json_lines(path, "give .parquet, or .jsonl with one JSON object a line")
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: every line must be a JSON object with {', '.join(COLUMNS)}")
    return rows


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    parquet = import_module("pyarrow.parquet")
    try:
        return list(parquet.read_table(path).to_pylist())
    # Arrow's own errors are of these two kinds.
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({shortened(error)}); download it again") from error


def _one_region(row: dict[str, Any], number: int) -> dict[str, Any]:
    """A row of CycleGRPO's data with one region, whole picture alone.

    Where a problem names several, by a zoomed view or because it asks for several captions, the released loader draws
    one of them and asks for it in other words. Here the number of the row decides which, so that the same file gives
    the same prompts.
    """
    problem, answer = as_text(row.get("problem", "")).strip(), as_text(row.get("answer", ""))
    images = row.get("images")
    named, regions = REGION.findall(problem), REGION.findall(answer)
    if len(named) > 1 and regions:
        region = regions[number % len(regions)]
        problem, answer = f"{IMAGE_MARK}{CAPTION_ONE_REGION(region=region)}", region
    text = problem.removeprefix(IMAGE_MARK).lstrip("\n")
    return row | {"problem": f"{IMAGE_MARK}{text}", "answer": answer} | ({"images": images[:1]} if images else {})


def _picture(value: Any, path: Path, number: int) -> StoredPicture:
    """A path, or the `{"bytes", "path"}` of a `datasets` picture."""
    content = value.get("bytes") if isinstance(value, dict) else None
    name = value.get("path") if isinstance(value, dict) else value
    picture = StoredPicture(None, content) if content else StoredPicture(str(path.parent / str(name)), None)
    try:
        picture.opened().close()
    except (*UNREADABLE, *MISFITS) as error:
        what = reprlib.repr(name)
        raise DataError(f"{path}: row {number}: picture {what} cannot be read; {shortened(error)}") from error
    return picture
