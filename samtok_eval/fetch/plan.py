"""Getting what one split of a task needs: first its files, then the pictures that its samples name.

In: a task, a split, the table of sources and a data root. Out: `Item`s, one line each of what is there, came, or is
missing and why. Nothing that is there is written over.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from samtok_eval.errors import DataError, MissingPictureError, SamtokError, UsageError
from samtok_eval.fetch.download import Content, Patience, StoppedError, differs, download
from samtok_eval.fetch.hub import hub_files
from samtok_eval.fetch.sources import Archive, Members, Source, sources_of
from samtok_eval.fetch.unpack import BrokenArchiveError, unpack
from samtok_eval.files import WHERE_TO_WRITE, inside, read_object, reading, write_json
from samtok_eval.images import read_image
from samtok_eval.sample import ImageRef, Sample
from samtok_eval.task import Task

WORK_FOLDER = ".fetch"
"""Under the data root: archives on their way, and what was unpacked of them."""

UNKNOWN = Content()

State = Literal["there", "wanted", "got", "by hand", "failed"]
Pictures = Literal["one", "zip", "none"]


@dataclass(frozen=True)
class Item:
    """One thing that a split needs."""

    path: str
    """Under the data root."""
    state: State
    source: Source
    address: str
    content: Content = UNKNOWN
    members: Members | None = None
    """Of an archive, with `inner`."""
    inner: dict[str, Members] | None = None
    image: ImageRef | None = None
    """As the annotations describe it."""
    why: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    task: Task
    split: str
    tasks: Callable[[str], Task]
    """The task of a name."""
    root: Path
    sources: Sequence[Source]
    via: Literal["original", "hub"] = "original"
    pictures: Pictures = "one"
    limit: int | None = None
    """Only the pictures of the first samples."""

    @property
    def name(self) -> str:
        """`TASK:SPLIT`."""
        return f"{self.task.metadata.name}:{self.split}"


def file_items(request: Request, patience: Patience) -> list[Item]:
    """Everything but single pictures, in the order of the table; a Hub is asked for names, sizes and hashes.

    Args:
        request: task, split and where to.
        patience: with the Hub.

    Raises:
        DataError: the table has nothing for this split.
        StoppedError: the user wants no more.
    """
    name = request.task.metadata.name
    found = sources_of(request.sources, name, request.split, request.via)
    if not found:
        raise DataError(f"no source of {request.name} is known; see docs/data.md for a table of your own (--sources)")
    return [item for source in found for item in _items(source, request, patience)]


def _items(source: Source, request: Request, patience: Patience) -> Iterator[Item]:
    root = request.root
    path = source.path.replace("{split}", request.split)
    if source.kind == "file":
        yield _file(path, source, source.address, Content(source.size, source.sha256), root)
    elif source.kind == "hub":
        pattern = source.pattern.replace("{split}", request.split)
        try:
            for file in hub_files(source.address, pattern, patience):
                with reading(f"{source.address} has a file that no folder can hold", "report it to its owner"):
                    target = inside(Path(path), file.name.removeprefix(source.below))
                yield _file(target.as_posix(), source, file.address, file.content, root)
        except DataError as error:
            yield Item(f"{path}/{pattern}", "failed", source, source.address, why=str(error))
    elif source.kind == "by_hand":
        yield Item(path, "there" if (root / path).exists() else "by hand", source, source.address)
    elif source.kind == "zip":
        yield _archive(Archive(address=source.address, size=source.size, sha256=source.sha256, members=source.members),
                       source.inner, source, root)  # fmt: skip
    elif request.pictures == "zip" and source.archive:
        yield _archive(source.archive, {}, source, root)


def _file(path: str, source: Source, address: str, content: Content, root: Path) -> Item:
    """A file, which is there where its bytes are those that the table knows."""
    item = Item(path, "wanted", source, address, content)
    target = root / path
    if not target.exists():
        return item
    size = target.stat().st_size
    wrong = f"{size} bytes instead of {content.size}" if content.size not in (None, size) else None
    if wrong is None and (content.sha256 or content.git_blob):
        with target.open("rb") as file:
            wrong = differs(file, size, content)
    why = f"{target} has {wrong}; it is another version of the file: move it away to get the published one"
    return replace(item, state="failed", why=why) if wrong else replace(item, state="there")


def _archive(archive: Archive, inner: dict[str, Members], source: Source, root: Path) -> Item:
    """An archive, which is there where every file of it is; of whole folders, where it was unpacked."""
    targets = [*archive.members.values(), *(target for wanted in inner.values() for target in wanted.values())]
    there = all((root / target).exists() for target in targets)
    if any(target.endswith("/") for target in targets):
        there = there and _was_unpacked(archive.address, root)
    content = Content(archive.size, archive.sha256)
    return Item(", ".join(targets), "there" if there else "wanted", source, archive.address, content,
                dict(archive.members), inner)  # fmt: skip


def picture_items(request: Request, samples: Sequence[Sample] | None) -> list[Item]:
    """Each picture that the samples name and a source has, once.

    Args:
        request: task, split and where to.
        samples: of the split; None where a source names the task whose samples are to be read.

    Raises:
        DataError: the annotations are missing or broken.
    """
    name = request.task.metadata.name
    sources = [s for s in sources_of(request.sources, name, request.split, request.via) if s.kind == "pictures"]
    items: dict[str, Item] = {}
    for source in sources if request.pictures == "one" else ():
        named = samples if samples is not None else _named_by(source, request)
        for image in (image for sample in named for image in sample.pictures):
            if image.path.is_relative_to(request.root / source.path):
                item = _picture_item(source, request.root, image.path, image)
                items.setdefault(item.path, item)
    return list(items.values())


def names_its_pictures(request: Request) -> bool:
    """Whether the samples of the split itself name its pictures."""
    found = sources_of(request.sources, request.task.metadata.name, request.split, request.via)
    return not any(source.named_by for source in found)


def _named_by(source: Source, request: Request) -> Sequence[Sample]:
    name, _, split = source.named_by.partition(":")
    return request.tasks(name).read(request.root, split)[: request.limit]


def read_split(request: Request, patience: Patience, progress: Callable[[int], None]) -> tuple[Sequence[Sample], int]:
    """The samples of a split; pictures without which it cannot be read, for their sizes, are downloaded first.

    Args:
        request: task, split and where to; its files are there.
        patience: with each server.
        progress: told how many bytes came.

    Returns:
        The samples, and how many pictures came.

    Raises:
        DataError: the annotations are missing or broken, or such a picture has no source or did not come.
        UsageError: the disk refuses.
    """
    name = request.task.metadata.name
    sources = [s for s in sources_of(request.sources, name, request.split, request.via) if s.kind == "pictures"]
    came = 0
    while True:
        try:
            return request.task.read(request.root, request.split)[: request.limit], came
        except MissingPictureError as error:
            below = [source for source in sources if error.path.is_relative_to(request.root / source.path)]
            if request.pictures != "one" or not below:
                raise
            done = _fetched(_picture_item(below[0], request.root, error.path), request.root, patience, progress)
            if done.state != "got":
                raise DataError(f"{done.path}: {done.why}") from error
            came += 1


def _picture_item(source: Source, root: Path, picture: Path, image: ImageRef | None = None) -> Item:
    path = picture.relative_to(root).as_posix()
    state: State = "there" if picture.exists() else "wanted"
    return Item(path, state, source, source.address + path.removeprefix(f"{source.path}/"), image=image)


def check_room(items: Iterable[Item], root: Path) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        UsageError: the known sizes are more than what is free.
    """
    needed = sum(item.content.size or 0 for item in items if item.state == "wanted")
    free = shutil.disk_usage(root).free
    if needed > free:
        raise UsageError(f"{root} has {free} bytes left, and {needed} are needed; {WHERE_TO_WRITE}")


def fetch(
    items: Sequence[Item], root: Path, jobs: int, patience: Patience, progress: Callable[[int], None]
) -> Iterator[Item]:
    """Get what is wanted, several at a time, and hand on each item as it ends.

    Args:
        items: of `file_items` or `picture_items`.
        root: the data root; it is there.
        jobs: how many at a time.
        patience: with each server.
        progress: told how many bytes came.

    Raises:
        UsageError: the disk refuses; what came is kept.
    """
    check_room(items, root)
    wanted = [item for item in items if item.state == "wanted"]
    yield from (item for item in items if item.state != "wanted")
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        waiting = [pool.submit(_fetched, item, root, patience, progress) for item in wanted]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            # Nothing is begun any more, and what is under way stops at its next bytes.
            patience.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            patience.stop.clear()


def _fetched(item: Item, root: Path, patience: Patience, progress: Callable[[int], None]) -> Item:
    try:
        if item.members is None:
            download(item.address, root / item.path, item.content, patience, progress)
            _check_picture(item, root)
        else:
            _get_archive(item, root, patience, progress)
    except DataError as error:
        return replace(item, state="failed", why=str(error))
    return replace(item, state="got")


def _check_picture(item: Item, root: Path) -> None:
    """Refuse a picture that cannot be read, or of another size than its annotations say."""
    if item.image is None:
        return
    try:
        read_image(replace(item.image, path=root / item.path))
    except DataError:
        (root / item.path).unlink()
        raise


def _get_archive(item: Item, root: Path, patience: Patience, progress: Callable[[int], None]) -> None:
    """Get an archive, unpack it, and remove it."""
    archive = root / WORK_FOLDER / _archive_name(item.address)
    if not archive.exists():
        download(item.address, archive, item.content, patience, progress)

    def stopped() -> None:
        if patience.stop.is_set():
            raise StoppedError

    try:
        count = unpack(archive, root, item.members or {}, item.inner or {}, stopped)
    except BrokenArchiveError:
        archive.unlink()
        raise
    write_json(_unpacked_file(item.address, root), {"address": item.address, "files": count})
    archive.unlink()


def _archive_name(address: str) -> str:
    return Path(urlsplit(address).path).name or "archive.zip"


def _unpacked_file(address: str, root: Path) -> Path:
    return root / WORK_FOLDER / f"{_archive_name(address)}.unpacked.json"


def _was_unpacked(address: str, root: Path) -> bool:
    path = _unpacked_file(address, root)
    try:
        return path.exists() and read_object(path).get("address") == address
    except SamtokError:
        return False
