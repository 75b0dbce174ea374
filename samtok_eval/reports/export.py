"""Runs in the formats of other programs: tables of samples, and masks as COCO writes them.

In: a run folder. Out: `samples.csv` or `samples.parquet`, the frame of `Run.samples()`; or `coco.json`, a list of
results as pycocotools and FiftyOne read it, with `coco_annotations.json`, the right masks, beside it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from samtok_eval import masks
from samtok_eval.errors import UsageError
from samtok_eval.files import write_bytes, write_text
from samtok_eval.masks import Rle
from samtok_eval.reports.markup import csv_cell
from samtok_eval.reports.page.content import gather
from samtok_eval.reports.page.galleries import Answered, item_of
from samtok_eval.reports.runs import read_scored
from samtok_eval.run.folder import Run, load_run
from samtok_eval.run.samples import data_root
from samtok_eval.sample import ImageRef

FOLDER = "export"
UNNAMED = "object"
"""Category of masks of a question that has no expression."""
CERTAIN = 1.0
"""Score of every mask: an answer does not say how sure it is."""


def export_samples(path: Path, kind: str, out: Path | None = None) -> Path:
    """Write every sample of a run under every protocol as a table.

    Args:
        path: a run folder, see `run.folder.find_run`.
        kind: `parquet` or `csv`.
        out: the file; `RUN/export/samples.KIND` by default.

    Returns:
        The file.

    Raises:
        SamtokError: the run is not finished or broken, or a package is missing.
    """
    run = load_run(path)
    out = out or run.path / FOLDER / f"samples.{kind}"
    write_bytes(out, samples_file(run, kind))
    return out


def samples_file(run: Run, kind: str) -> bytes:
    """Every sample under every protocol as a file.

    Args:
        run: a finished one.
        kind: `parquet` or `csv`.

    Raises:
        UsageError: pyarrow is not installed.
    """
    if kind == "parquet":
        try:
            import_module("pyarrow")
        except ModuleNotFoundError as error:
            raise UsageError(
                "--format parquet needs pyarrow: pip install pyarrow; --format csv needs nothing more"
            ) from error
    buffer, frame = io.BytesIO(), run.samples()
    if kind == "parquet":
        frame.to_parquet(buffer, index=False)
    else:
        texts = frame.select_dtypes(exclude=["number", "bool"])
        frame.assign(**{str(name): texts[name].map(csv_cell) for name in texts}).to_csv(
            buffer, index=False, lineterminator="\n"
        )
    return buffer.getvalue()


def export_coco(
    path: Path, out: Path | None = None, root: str | None = None, tasks_dirs: Sequence[Path] = ()
) -> tuple[Path, Path]:
    """Write the masks of a run as COCO's results, and the right ones as COCO's annotations.

    Args:
        path: a run folder.
        out: file of the results; `RUN/export/coco.json` by default.
        root: data root, as in the run by default.
        tasks_dirs: further folders of task files.

    Returns:
        Results and annotations.

    Raises:
        SamtokError: the run is not finished or broken, or its data are not there.
    """
    run = read_scored(path, tasks_dirs)
    manifest = run.run.manifest
    # Reads the questions, and refuses data that are not those of the run.
    answered = gather([run], data_root=root).answered
    folder = data_root(root or manifest.settings.data_root)
    truth, results = coco_files(answered, folder)
    truth["info"] = {
        "description": f"{manifest.task}:{manifest.split}, answered by {manifest.model.name}",
        "signature": manifest.signature[run.protocols[0]],
    }
    out = out or run.run.path / FOLDER / "coco.json"
    beside = out.with_name(f"{out.stem}_annotations{out.suffix}")
    write_text(beside, json.dumps(truth, ensure_ascii=False) + "\n")
    write_text(out, json.dumps(results, ensure_ascii=False) + "\n")
    return out, beside


def coco_files(answered: Answered, root: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Right masks as COCO's annotations, and predicted ones as COCO's results.

    A picture is an image, and a question's expression a category, so that the masks of one question are compared with
    the right ones of this question alone. Empty masks are left out of the results.

    Args:
        answered: samples of a run, their masks read as its first protocol reads them.
        root: data root, below which file names begin.
    """
    images: dict[tuple[str, Path], dict[str, Any]] = {}
    categories: dict[str, int] = {}
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for name in answered.records:
        item = item_of(answered, name)
        sample = item.sample
        image = images.setdefault((sample.image.id, sample.image.path), _image(sample.image, root, len(images) + 1))
        phrase = sample.phrase or UNNAMED
        place = {"image_id": image["id"], "category_id": categories.setdefault(phrase, len(categories))}
        of_sample = {**place, "sample_id": name}
        for number, mask in enumerate(_drawn(sample.target.masks)):
            # COCO's evaluation takes the id 0 for none.
            known = {"id": len(annotations) + 1, "iscrowd": 0, "area": masks.area(sample.target.masks[number])}
            labels = {"target_label": sample.target.labels[number]} if sample.target.labels else {}
            annotations.append({**known, **of_sample, **mask, **labels})
        for mask, rle in zip(_drawn(item.answered), item.answered, strict=True):
            if masks.area(rle):
                results.append({**of_sample, **mask, "score": CERTAIN})
    named = [{"id": number, "name": phrase} for phrase, number in categories.items()]
    return {"images": list(images.values()), "categories": named, "annotations": annotations}, results


def _image(image: ImageRef, root: Path, number: int) -> dict[str, Any]:
    inside = image.path.is_relative_to(root)
    name = image.path.relative_to(root) if inside else image.path.absolute()
    size = {"height": image.height, "width": image.width}
    return {"id": number, "file_name": name.as_posix(), **size, "native_id": image.id}


def _drawn(rles: Sequence[Rle]) -> Iterator[dict[str, Any]]:
    """Masks with their boxes `[x, y, width, height]`, which FiftyOne needs."""
    for rle in rles:
        box = masks.box(rle)
        x, y, right, bottom = box or (0, 0, -1, -1)
        yield {"segmentation": rle.to_coco(), "bbox": [x, y, right - x + 1, bottom - y + 1]}
