"""Reader of the RefCOCO family as the Hub data set `jxu124/refcoco-benchmark` keeps it, in parquet files.

In: `hub/<name>-*.parquet` under a benchmark's folder, one row per picture: `ref_list` holds references with sentences
(`ref_info`) and COCO annotations with polygons (`ann_info`), `image_info` the picture's name and size. Out: references
and instances as `refs(*).p` and `instances.json` have them, so that one reader makes the sentences of both. The order
is that of the data set, by picture; ids are those of the original files.

The data set holds evaluation splits alone and no names of categories, which are COCO's; annotations that are no
polygons have no place in it. The pictures inside its files are not used: those of COCO are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from samtok_eval.errors import DataError, MissingFileError, UsageError
from samtok_eval.files import MAX_BYTES, reading

COLUMNS = ("ref_list", "image_info")
BATCH = 64
"""Rows that are held at a time."""
_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,,backpack,umbrella,,,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,,dining table,,,toilet,,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
COCO_CATEGORIES = {number: name for number, name in enumerate(_NAMES.split(","), start=1) if name}
"""COCO left out the numbers in between."""


def hub_parts(folder: Path, refs_file: str, split: str) -> list[Path]:
    """The files of a split, in order; none where the benchmark's own refs file is there, or nothing is.

    Args:
        folder: of the benchmark, named like it.
        refs_file: the benchmark's own file of the split, e.g. `refs(unc).p`; the data set names splits after it, e.g.
            `refcoco_unc_val`.
        split: as the refs file calls it.
    """
    if (folder / refs_file).exists():
        return []
    author = refs_file.removeprefix("refs(").removesuffix(").p")
    return sorted(folder.joinpath("hub").glob(f"{folder.name.replace('+', '_plus')}_{author}_{split}-*.parquet"))


def read_parts(paths: Sequence[Path]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """References and instances of a split.

    Args:
        paths: its files.

    Raises:
        DataError: a file is missing, no parquet, or holds no masks or no sentences; two annotations share an id.
        UsageError: pyarrow is not installed.
    """
    refs: list[dict[str, Any]] = []
    images: dict[int, Any] = {}
    annotations: dict[int, Any] = {}
    for path in paths:
        with reading(f"{path} is not a part of jxu124/refcoco-benchmark"):
            for row in parquet_rows(path, COLUMNS):
                image = row["image_info"]
                images[image["id"]] = image
                for entry in row["ref_list"]:
                    ref, annotation = entry["ref_info"], entry["ann_info"]
                    if ref["ann_id"] != annotation["id"]:
                        raise ValueError(f"reference {ref['ref_id']} comes with annotation {annotation['id']}")
                    if not ref["sentences"] or not annotation["segmentation"]:
                        raise ValueError(f"reference {ref['ref_id']} has no sentence or no mask")
                    known = annotations.setdefault(annotation["id"], annotation)
                    if known != annotation:
                        raise ValueError(f"annotation {annotation['id']} is there twice, with different values")
                    refs.append(ref)
    categories = [{"id": number, "name": name} for number, name in COCO_CATEGORIES.items()]
    return refs, {
        "images": list(images.values()),
        "annotations": list(annotations.values()),
        "categories": categories,
    }


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a file, of some columns alone: pictures inside it are not read.

    Raises:
        DataError: the file is missing or too large.
        ValueError: it is no parquet, or has not the columns.
        UsageError: pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise UsageError(f"{path} is a parquet file, which needs pyarrow: pip install pyarrow") from error
    if not path.is_file():
        raise MissingFileError(f"{path} is missing; download it again")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} has more than the {MAX_BYTES} bytes that are read; download it again")
    try:
        with ParquetFile(path) as file:
            lacking = set(columns) - set(file.schema_arrow.names)
            if lacking:
                raise ValueError(f"it has no column {min(lacking)}")
            for batch in file.iter_batches(BATCH, columns=list(columns)):
                yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        raise ValueError(str(error)) from error
