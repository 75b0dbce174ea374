"""Which pictures of a split occur in a training mix.

In: the samples of a split and training files: conversations (JSON or JSON lines with `image` or `images`), COCO-like
annotations (`images` with `file_name`), lists of file names. Out: an `Overlap`, which a JSON file holds. A picture is
recognised by its COCO id, which the names of 2014, 2015 and 2017 share, else by its bytes where both files are there,
else by its file name. Training files are read one entry after another and compared with the split alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from codecs import BOM_UTF8
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import (
    inside,
    json_items,
    numbered_json_lines,
    numbered_lines,
    read_chunks,
    read_object,
    read_text,
    reading,
    text,
)
from samtok_eval.sample import ImageRef

RecognisedBy = Literal["COCO id", "bytes", "file name"]
FORMATS = "give conversations (.json, .jsonl), COCO-like annotations (.json) or a list of file names (.txt)"
MAKE_AGAIN = "write it again with `samtok-eval data overlap --json`"
_COCO_NAME = re.compile(r"(?:COCO_[a-z]+20\d\d_(\d{12})(?:_\d+)?|(\d{12}))\.(?:jpe?g|png)", re.IGNORECASE)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingFile(_Part):
    """One file of the mix."""

    path: str
    names: int
    """Distinct names of pictures in it."""
    shared: int
    """Pictures of the split among them."""


class Overlap(_Part):
    """The pictures that a split and a training mix share."""

    task: str
    split: str
    train: tuple[TrainingFile, ...]
    pictures: tuple[str, ...]
    """Ids of all pictures of the split."""
    absent: int
    """Pictures of the split that are not on disk, and so were not compared by their bytes."""
    shared: dict[str, dict[str, RecognisedBy]]
    """Picture id -> training file -> how it was recognised there."""

    @property
    def summary(self) -> str:
        """One sentence."""
        share = len(self.shared) / len(self.pictures) if self.pictures else 0.0
        counted = f"{len(self.shared)} of {len(self.pictures)} pictures of {self.task}:{self.split} ({share:.1%})"
        return f"{counted} occur in the training mix"

    def recognised(self, by: RecognisedBy) -> int:
        """Shared pictures that some file holds by this likeness."""
        return sum(by in files.values() for files in self.shared.values())


def find_overlap(
    task: str, split: str, pictures: Iterable[ImageRef], train: Sequence[Path], folders: Sequence[Path] = ()
) -> Overlap:
    """Look for the pictures of a split in training files.

    Args:
        task: name of the benchmark.
        split: of the benchmark.
        pictures: those of its samples, in any order; one of several samples counts once.
        train: training files.
        folders: where pictures of the training files lie, besides each file's own folder.

    Raises:
        DataError: a training file is missing or broken, or names no picture.
        UsageError: a training file has an ending of no known format, or is given twice.
    """
    if len(set(train)) < len(train):
        raise UsageError("--train names a file twice; name each once")
    index = _Index(pictures)
    shared: dict[str, dict[str, RecognisedBy]] = defaultdict(dict)
    files = []
    for path in train:
        names = set()
        for name in picture_names(path):
            if name not in names:
                names.add(name)
                by, ids = index.find(name, _place(name, [path.parent, *folders]))
                for picture in ids:
                    shared[picture].setdefault(str(path), by)
        if not names:
            raise DataError(f"{path} names no picture; {FORMATS}")
        held = sum(str(path) in found for found in shared.values())
        files.append(TrainingFile(path=str(path), names=len(names), shared=held))
    return Overlap(
        task=task,
        split=split,
        train=tuple(files),
        pictures=tuple(index.paths),
        absent=len(index.paths) - len(index.there),
        shared={picture: shared[picture] for picture in index.paths if picture in shared},
    )


def read_overlap(path: Path) -> Overlap:
    """The file that `data overlap --json` wrote.

    Raises:
        DataError: missing, or it is no such file.
    """
    content = read_text(path, remedy=MAKE_AGAIN)
    with reading(f"{path} is no overlap file", MAKE_AGAIN):
        return Overlap.model_validate_json(content)


def picture_names(path: Path) -> Iterator[str]:
    """Names of the pictures of a training file, in its order, as often as they occur; text-only entries have none.

    Raises:
        DataError: missing, broken, or of another structure; the message names the entry.
        UsageError: an ending of no known format.
    """
    ending = path.suffix.lower()
    if ending == ".txt":
        yield from (line.strip() for _, line in numbered_lines(path, FORMATS))
    elif ending == ".jsonl":
        for number, entry in numbered_json_lines(path, FORMATS):
            yield from _names_of(entry, f"{path}:{number}")
    elif ending != ".json":
        raise UsageError(f"{path}: {FORMATS}")
    elif _first_mark(path) == b"[":
        for number, entry in enumerate(json_items(path, FORMATS), start=1):
            yield from _names_of(entry, f"{path}, entry {number}")
    else:
        images = read_object(path, "give JSON lines the ending .jsonl").get("images")
        with reading(f"{path} holds neither a list nor COCO's `images`", FORMATS):
            yield from (text(_file_name(image)) for image in images or ())


def coco_id(name: str) -> int | None:
    """The id in a file name of COCO; None for other names.

    Args:
        name: with or without folders, e.g. `COCO_train2014_000000123456.jpg` or `000000123456.jpg`.
    """
    match = _COCO_NAME.fullmatch(PurePosixPath(name).name)
    return int(match[1] or match[2]) if match else None


class _Index:
    """The pictures of a split, by what they are recognised by."""

    def __init__(self, pictures: Iterable[ImageRef]) -> None:
        self.paths = {picture.id: picture.path for picture in pictures}
        self.there: set[str] = set()
        self._by_coco_id: dict[int | None, list[str]] = defaultdict(list)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_size: dict[int, list[str]] = defaultdict(list)
        self._digests: dict[str, str] = {}
        for picture, path in self.paths.items():
            self._by_coco_id[coco_id(path.name)].append(picture)
            self._by_name[path.name].append(picture)
            if path.is_file():
                self.there.add(picture)
                self._by_size[path.stat().st_size].append(picture)

    def find(self, name: str, place: Path | None) -> tuple[RecognisedBy, list[str]]:
        """Ids of the pictures that a name of a training file means, none for other pictures, and by what.

        Args:
            name: with or without folders.
            place: the file, where it is there.
        """
        number = coco_id(name)
        if number is not None and (same := self._by_coco_id.get(number)):
            return "COCO id", same
        if place is not None and (equal := self._equal(place)):
            return "bytes", equal
        # Where both files are there, their bytes have decided: many sets have a `1.jpg`.
        named = self._by_name.get(PurePosixPath(name).name, [])
        return "file name", [picture for picture in named if place is None or picture not in self.there]

    def _equal(self, place: Path) -> list[str]:
        # Files of another size are not read: a mix holds millions.
        candidates = self._by_size.get(place.stat().st_size, [])
        digest = _sha256(place) if candidates else ""
        return [picture for picture in candidates if self._digest(picture) == digest]

    def _digest(self, picture: str) -> str:
        if picture not in self._digests:
            self._digests[picture] = _sha256(self.paths[picture])
        return self._digests[picture]


def _names_of(entry: Any, where: str) -> list[str]:
    """The pictures of a conversation, or a name that stands alone."""
    with reading(where, FORMATS):
        found = entry if isinstance(entry, str) else entry.get("images", entry.get("image"))
        if found is None or isinstance(found, str):
            return [found] if found else []
        if not isinstance(found, list):
            raise ValueError(f"a path or a list of paths is needed, got {json.dumps(found)}")
        return [text(name) for name in found]


def _file_name(image: Any) -> Any:
    # LVIS gives addresses alone.
    return image["file_name"] if "file_name" in image else image["coco_url"]


def _first_mark(path: Path) -> bytes:
    start = next(read_chunks(path, FORMATS), b"")
    return start.removeprefix(BOM_UTF8).lstrip()[:1]


def _place(name: str, folders: Sequence[Path]) -> Path | None:
    """Where a picture lies; names that leave the folders are not followed."""
    try:
        return next((path for folder in folders if (path := inside(folder, name)).is_file()), None)
    except ValueError:
        return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for chunk in read_chunks(path):
        digest.update(chunk)
    return digest.hexdigest()
