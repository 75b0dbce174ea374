"""The folder of all samples: a page, its style and scripts, pictures once each, and data that loads from a file.

    index.html  samples.css  samples.js  index.js  shards/0.js ...  pictures/0.jpg ...

In: a gathered `Report`. Out: the folder, whole or not at all. The page's policy admits the files of this folder and
nothing else; data are calls with one JSON argument, since a page that is opened from a disk may read no JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from samtok_eval.errors import DataError
from samtok_eval.files import write_text, writing
from samtok_eval.images import read_image
from samtok_eval.reports.html import asset, render, shown
from samtok_eval.reports.page.content import Report
from samtok_eval.reports.samples.data import index, shards
from samtok_eval.sample import ImageRef
from samtok_eval.unfinished import unfinished

FOLDER = "samples"
SIDE, QUALITY = 800, 80
"""Pixels of a picture's longer side, and quality of its JPEG."""
STYLES, SCRIPTS = ("base.css", "cards.css", "samples.css"), ("table.js", "samples.js")


@dataclass
class PictureFolder:
    """Pictures that are written once each, and the paths of those that cannot be read."""

    path: Path
    known: dict[str, str] = field(default_factory=dict)
    missing: dict[str, None] = field(default_factory=dict)

    def name(self, image: ImageRef) -> str | None:
        """The file of a picture, which is written when it is first asked for; None when it cannot be read."""
        key = str(image.path)
        if key not in self.known and key not in self.missing:
            try:
                pixels = read_image(image)
            except DataError:
                # The page says so; masks stand on an empty ground.
                self.missing[key] = None
                return None
            self.known[key] = f"{len(self.known)}.jpg"
            picture = Image.fromarray(pixels)
            picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            with writing(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                picture.save(self.path / self.known[key], "JPEG", quality=QUALITY)
        return self.known.get(key)


def write_samples(report: Report, folder: Path) -> Path:
    """Write `samples/` into a report's folder, in the place of an earlier one.

    Returns:
        Its page.

    Raises:
        UsageError: the system refuses, e.g. because the disk is full; an earlier folder then stays.
    """
    target = folder / FOLDER
    with writing(target), unfinished(target) as part:
        _write(report, part)
    return target / "index.html"


def _write(report: Report, folder: Path) -> None:
    pictures = PictureFolder(folder / "pictures")
    for number, shard in enumerate(shards(report.answered, report.metric, pictures.name)):
        write_text(folder / "shards" / f"{number}.js", call("samtokShard", number, shard))
    content = index(report.answered, report.metric)
    content["missing"] = [shown(path) for path in pictures.missing]
    content["baseline"] = shown(report.baseline.name) if report.baseline else None
    write_text(folder / "index.js", call("samtokIndex", content))
    write_text(folder / "samples.css", "".join(map(asset, STYLES)))
    write_text(folder / "samples.js", "".join(map(asset, SCRIPTS)))
    run = report.run
    versus = f" against {report.baseline.name}" if report.baseline else ""
    page = render(
        "samples.html.j2",
        folder=True,
        title=shown(f"Samples of {run.task.metadata.name}:{run.split}, {run.name}{versus}"),
        protocol=report.protocol,
        metric=content["metric"],
        baseline=content["baseline"],
        candidate=shown(run.name),
        sampled=run.run.manifest.settings.limit is not None,
    )
    write_text(folder / "index.html", page)


def call(name: str, *values: Any) -> str:
    """A line of script that gives JSON to a function."""
    # Escaped beyond ASCII, no line separator and no end of a script can stand in it.
    arguments = ", ".join(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c") for value in values)
    return f"{name}({arguments});\n"
