"""Reader of VideoRefer-Bench-D (`VideoRefer-Bench-D.json`), one frame of each video.

In: the published file, and the frames that it names as pictures. Out: one `Shot` per entry, in file order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from samtok_eval import masks
from samtok_eval.files import inside, read_json, reading, text, whole_number
from samtok_eval.images import declared_size
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef


@dataclass(frozen=True)
class Shot:
    """An object in one frame of a video."""

    id: str
    """The entry's `id`, or its place in the file where it has none."""
    image: ImageRef
    """Its id is the name of the video."""
    region: Rle
    caption: str
    """What is right about the object in the whole video."""


def read_videorefer(folder: Path, limit: int | None = None) -> list[Shot]:
    """All entries.

    Args:
        folder: holds the file, and each frame as `frames/<video without ending>/<frame_idx>.png`.
        limit: how many of the first are read, all by default.

    Raises:
        DataError: the file is missing or broken, or an object is not marked in its frame.
    """
    path = folder / "VideoRefer-Bench-D.json"
    content = read_json(path)
    with reading(f"{path} is not VideoRefer-Bench-D's own file"):
        return [_shot(place, row, folder / "frames") for place, row in islice(enumerate(content), limit)]


def _shot(place: int, row: dict[str, Any], frames: Path) -> Shot:
    video, frame = text(row["video"]), str(row["frame_idx"])
    if not frame.isdecimal():
        raise ValueError(f"frame_idx of {video} must be a whole number")
    segmentation = row["annotation"][0][frame]["segmentation"]
    if not segmentation:
        raise ValueError(f"the object of {video} is not marked in frame {frame}")
    picture = inside(frames, f"{PurePosixPath(video).with_suffix('')}/{frame}.png")
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    height, width = masks.picture_size(*size) if size else declared_size(picture)
    region = masks.from_segmentation(segmentation, height, width)
    if not masks.area(region):
        raise ValueError(f"the object of {video} is not marked in frame {frame}")
    return Shot(str(whole_number(row.get("id", place))), ImageRef(video, picture, height, width), region,
                text(row["caption"]))  # fmt: skip
