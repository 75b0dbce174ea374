"""Reader of VideoRefer-Bench: descriptions of objects in one marked frame of a video or several, and choice questions.

In: the published files, and the frames that they name as pictures. Out: one `Shot` per entry of
`VideoRefer-Bench-D.json`, one `Question` per entry of `VideoRefer-Bench-Q.json`, in file order. Either shows the one
frame that the entry names, or up to `MOST_FRAMES` of those in which something is marked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from samtok_eval import masks
from samtok_eval.files import inside, read_json, reading, text, whole_number
from samtok_eval.images import declared_size
from samtok_eval.masks import Rle
from samtok_eval.sample import ImageRef

MARK = "<region>"
"""Stands in a question for a region."""
_LETTER = re.compile(r"\(([A-Z])\)")
MOST_FRAMES = 16
"""Of a video that are shown, as many as the benchmark's scripts sample of one."""


class MarkedFrame(NamedTuple):
    """An object in a frame."""

    image: ImageRef
    region: Rle


@dataclass(frozen=True)
class Shot:
    """An object in a video."""

    id: str
    """The entry's `id`, or its place in the file where it has none."""
    frames: tuple[MarkedFrame, ...]
    """At least one, in the order of time; the id of the first picture is the name of the video."""
    caption: str
    """What is right about the object in the whole video."""


@dataclass(frozen=True)
class Question:
    """A choice question about objects in one frame of a video, or in several."""

    id: str
    """The entry's `id`, or its place in the file where it has none."""
    frames: tuple[ImageRef, ...]
    """In the order of time; the id of the first is the name of the video."""
    regions: tuple[tuple[MarkedFrame, ...], ...]
    """Of each object its region in every frame that marks it, at least one."""
    question: str
    """With `<region>` in it as often as there are regions."""
    options: tuple[str, ...]
    """`(A) red`, `(B) blue`, ..."""
    answer: str
    """The right letter."""
    kind: str
    """The benchmark's `type`."""


def read_videorefer(folder: Path, limit: int | None = None, several: bool = False) -> list[Shot]:
    """All entries.

    Args:
        folder: holds the file, and each frame as `frames/<video without ending>/<number>.png`.
        limit: how many of the first are read, all by default.
        several: show up to `MOST_FRAMES` of the frames in which the object is marked, evenly spread, and not that of
            `frame_idx` alone.

    Raises:
        DataError: the file is missing or broken, or an object is not marked in its frame, or in none.
    """
    path = folder / "VideoRefer-Bench-D.json"
    content = read_json(path)
    with reading(f"{path} is not VideoRefer-Bench-D's own file"):
        rows = islice(enumerate(content), limit)
        return [_shot(place, row, folder / "frames", several) for place, row in rows]


def _shot(place: int, row: dict[str, Any], folder: Path, several: bool) -> Shot:
    video, marked = text(row["video"]), row["annotation"][0]
    if several:
        numbers = sorted((frame for frame in marked if frame.isdecimal()), key=int)
        frames = [found for frame in numbers if (found := _frame(video, frame, marked[frame], folder))]
        frames = _spread(frames)
    else:
        frame = str(row["frame_idx"])
        if not frame.isdecimal():
            raise ValueError(f"frame_idx of {video} must be a whole number")
        found = _frame(video, frame, marked[frame], folder)
        frames = [found] if found else []
    if not frames:
        where = "any frame" if several else f"frame {row['frame_idx']}"
        raise ValueError(f"the object of {video} is not marked in {where}")
    first = frames[0]._replace(image=ImageRef(video, *_without_id(frames[0].image)))
    return Shot(str(whole_number(row.get("id", place))), (first, *frames[1:]), text(row["caption"]))


def _without_id(image: ImageRef) -> tuple[Path, int, int]:
    return image.path, image.height, image.width


def _frame(video: str, frame: str, entry: dict[str, Any], folder: Path) -> MarkedFrame | None:
    """A frame, None where the object is not marked in it."""
    segmentation = entry["segmentation"]
    if not segmentation:
        return None
    picture = inside(folder, f"{PurePosixPath(video).with_suffix('')}/{frame}.png")
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    height, width = masks.picture_size(*size) if size else declared_size(picture)
    region = masks.from_segmentation(segmentation, height, width)
    return MarkedFrame(ImageRef(f"{video} {frame}", picture, height, width), region) if masks.area(region) else None


Each = TypeVar("Each")


def _spread(frames: Sequence[Each]) -> list[Each]:
    """At most `MOST_FRAMES`, the first and the last among them."""
    if len(frames) <= MOST_FRAMES:
        return list(frames)
    return [frames[round(i * (len(frames) - 1) / (MOST_FRAMES - 1))] for i in range(MOST_FRAMES)]


def read_videorefer_questions(folder: Path, limit: int | None = None, several: bool = False) -> list[Question]:
    """All questions, about the objects as they are marked in the frame of `frame_idx`.

    Args:
        folder: holds the file, and of each video the folder of its frames, whose place in the order of names is the
            number of a frame.
        limit: how many of the first are read, all by default.
        several: show up to `MOST_FRAMES` of the frames in which any of the objects is marked, evenly spread, and of an
            object that is marked in none of these its first frame, instead of that of `frame_idx` alone.

    Raises:
        DataError: the file is missing or broken, a frame is not there, or an object is not marked in it, or in none.
    """
    path = folder / "VideoRefer-Bench-Q.json"
    content = read_json(path)
    with reading(f"{path} is not VideoRefer-Bench-Q's own file"):
        return [_asked(place, row, folder, several) for place, row in islice(enumerate(content), limit)]


def _asked(place: int, row: dict[str, Any], folder: Path, several: bool) -> Question:
    video, question = text(row["video"]), text(row["Question"])
    objects = row["annotation"]
    if not objects or question.count(MARK) != len(objects):
        raise ValueError(f"question {place} names {question.count(MARK)} regions, but {len(objects)} are marked")
    marks = [_marks(entry) if several else _mark(entry, str(row["frame_idx"])) for entry in objects]
    if not all(marks):
        raise ValueError(f"a region of question {place} is empty")
    sizes = {(rle.height, rle.width) for own in marks for rle in own.values()}
    if len(sizes) > 1:
        raise ValueError(f"the regions of question {place} have several sizes")
    shown = set(_spread(sorted({number for own in marks for number in own})))
    shown |= {min(own) for own in marks if not shown & set(own)}
    images = _frames(place, video, sorted(shown), folder, *sizes.pop())
    options = row["options"]
    right = _LETTER.search(text(row["Answer"]))
    if not isinstance(options, list) or not options or right is None:
        raise ValueError(f"question {place} needs options, and an answer such as '(A) red'")
    return Question(
        id=str(whole_number(row.get("id", place))),
        frames=tuple(images.values()),
        regions=tuple(
            tuple(MarkedFrame(image, own[number]) for number, image in images.items() if number in own) for own in marks
        ),
        question=question,
        options=tuple(map(text, options)),
        answer=right[1],
        kind=text(row["type"]),
    )


def _mark(entry: dict[str, Any], frame: str) -> dict[int, Rle]:
    """The region of an object in a frame by its number; nothing where it has no pixel."""
    number, region = whole_number(frame), Rle.from_coco(entry[frame]["segmentation"])
    return {number: region} if masks.area(region) else {}


def _marks(entry: dict[str, Any]) -> dict[int, Rle]:
    """The regions of an object by the frames that mark it."""
    found: dict[int, Rle] = {}
    for frame, said in entry.items():
        if said["segmentation"]:
            found |= _mark(entry, frame)
    return found


def _frames(
    place: int, video: str, numbers: Sequence[int], folder: Path, height: int, width: int
) -> dict[int, ImageRef]:
    """The frames of a video by their numbers."""
    files = sorted(inside(folder, video).iterdir())
    for number in numbers:
        if not 0 <= number < len(files):
            raise ValueError(f"{video} has {len(files)} frames; question {place} is about that of number {number}")
    return {
        number: ImageRef(f"{video} {number}" if i else video, files[number], height, width)
        for i, number in enumerate(numbers)
    }
