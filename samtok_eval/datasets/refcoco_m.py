"""Reader of RefCOCO-M (Hub data set `moondream/refcoco-m`): RefCOCO's val with masks drawn anew.

In: `data/validation-*.parquet` as on the Hub, one row per picture with `file_name` and `samples`, each a mask as COCO
run lengths and its sentences; or the same rows as JSON lines, `data/validation-*.jsonl`, in which `datasets` exports
them. Out: one `Expression` per sentence, in file order. Pictures are COCO's own; those inside the files are not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samtok_eval.datasets.refer_hub import parquet_rows
from samtok_eval.errors import DataError, MissingFileError
from samtok_eval.files import inside, numbered_json_lines, reading, text, whole_number
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef

PARTS = "validation-*"
COLUMNS = ("file_name", "samples")


@dataclass(frozen=True)
class Expression:
    """One sentence about one object."""

    id: str
    """`<id of the mask>-<number of its sentence, from 0>`."""
    sentence: str
    image: ImageRef
    """Its id is the file's name without ending."""
    mask: Rle
    category: str


def each_expression(folder: Path, pictures: Path) -> Iterator[Expression]:
    """All sentences.

    Args:
        folder: `refcoco-m`, which holds `data/`.
        pictures: of COCO's train2014.

    Raises:
        DataError: there is no file, one is broken, or a picture's masks have several sizes.
        UsageError: a file is parquet, and pyarrow is not installed.
    """
    found = False
    for path in _parts(folder / "data"):
        with reading(f"{path} is not a part of moondream/refcoco-m"):
            for row in _rows(path):
                for expression in _of_picture(row, pictures, path):
                    found = True
                    yield expression
    if not found:
        raise DataError(f"{folder / 'data'} has no sentence; download the data set again")


def _parts(folder: Path) -> list[Path]:
    for ending in (".parquet", ".jsonl"):
        parts = sorted(folder.glob(PARTS + ending))
        if parts:
            return parts
    raise MissingFileError(
        f"{folder / PARTS}.parquet is missing; put the files of the Hub data set moondream/refcoco-m there, see "
        "`samtok-eval data fetch`"
    )


def _rows(path: Path) -> Iterator[Any]:
    if path.suffix == ".parquet":
        yield from parquet_rows(path, COLUMNS)
    else:
        yield from (row for _, row in numbered_json_lines(path))


def _of_picture(row: dict[str, Any], pictures: Path, path: Path) -> Iterator[Expression]:
    name = text(row["file_name"])
    masks = [Rle.from_coco({"size": s["mask"]["size"], "counts": s["mask"]["counts"]}) for s in row["samples"]]
    sizes = {(mask.height, mask.width) for mask in masks}
    if len(sizes) > 1:
        raise DataError(f"{path}: the masks of {name} have several sizes: {sorted(sizes)}")
    for sample, mask in zip(row["samples"], masks, strict=True):
        number, category = whole_number(sample["id"]), text(sample["category"])
        image = ImageRef(Path(name).stem, inside(pictures, name), mask.height, mask.width)
        for place, sentence in enumerate(sample["sentences"]):
            yield Expression(f"{number}-{place}", text(sentence), image, mask, category)
