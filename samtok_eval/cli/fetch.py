"""The command `data fetch`; nothing else in the program downloads benchmark data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from samtok_eval.cli.options import TasksDirOption, console
from samtok_eval.errors import DataError, SamtokError, UsageError

if TYPE_CHECKING:
    from samtok_eval.fetch.download import Patience
    from samtok_eval.fetch.plan import Item, Request
    from samtok_eval.sample import Sample

MOST_JOBS = 16
SHOWN = 5
"""Failed pictures that are named."""


def fetch_command(
    task: Annotated[str, typer.Option(help="NAME[:SPLIT][,NAME...], see `samtok-eval tasks`.")],
    data_root: Annotated[Path, typer.Option("--data-root", help="Folder for the benchmarks' own files.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list files, bytes, hosts and licences; a Hub is asked for its list.")
    ] = False,
    via: Annotated[
        Literal["original", "hub"], typer.Option(help="Where a benchmark has both: original files, or a Hub data set.")
    ] = "original",
    pictures: Annotated[
        Literal["one", "zip", "none"],
        typer.Option(help="Only the pictures that the split names, one by one; or whole archives of them; or none."),
    ] = "one",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the pictures of the first N samples.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=MOST_JOBS, help="Files downloaded at the same time.")] = 4,
    tries: Annotated[
        int, typer.Option(min=1, help="Give up a file after this many tries in a row without a new byte.")
    ] = 5,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds without data after which a try ends.")] = 60.0,
    sources: Annotated[Path | None, typer.Option(help="Table of sources instead of the program's own.")] = None,
    tasks_dir: TasksDirOption = None,
) -> None:
    """Download the files of a benchmark: resumable, checked, and without overwriting anything."""
    from samtok_eval.fetch.download import Patience
    from samtok_eval.fetch.plan import Request
    from samtok_eval.fetch.sources import BUNDLED, read_sources
    from samtok_eval.files import writing
    from samtok_eval.registry import find_task, load_tasks
    from samtok_eval.run.settings import DEMO

    if str(data_root) == DEMO:
        raise UsageError(f"--data-root {DEMO} is built, not downloaded; give a folder")
    known = load_tasks(tasks_dir or ())
    table = read_sources(sources or BUNDLED)
    requests = []
    for name, _, split in (part.strip().partition(":") for part in task.split(",")):
        found = find_task(known, name)
        requests.append(
            Request(found, found.check_split(split or None), lambda other: find_task(known, other), data_root, table,
                    via, pictures, limit)
        )  # fmt: skip
    patience = Patience(tries=tries, timeout=timeout)
    if not dry_run:
        with writing(data_root):
            data_root.mkdir(parents=True, exist_ok=True)
    lacking: Counter[str] = Counter()
    for request in requests:
        lacking += _listed(request, patience) if dry_run else _fetched(request, jobs, patience)
    if lacking:
        told = ", ".join(f"{count} {state}" for state, count in sorted(lacking.items()))
        raise DataError(f"not everything is there: {told}; see the lines above, and docs/data.md")
    if not dry_run:
        typer.echo(f"all is there; `samtok-eval data verify --data-root {data_root}` reads it")


def _listed(request: Request, patience: Patience) -> Counter[str]:
    """What would be downloaded; counts what failed."""
    from samtok_eval.fetch.plan import file_items, names_its_pictures, picture_items

    items = file_items(request, patience)
    _show_sources(request, items)
    for item in items:
        _show(item)
    size = sum(item.content.size or 0 for item in items if item.state == "wanted")
    unknown = sum(item.state == "wanted" and item.content.size is None for item in items)
    more = f" and {unknown} {'file' if unknown == 1 else 'files'} of unknown size" if unknown else ""
    typer.echo(f"{request.name}: {size} bytes{more} to download")
    if request.pictures == "one":
        try:
            samples = request.task.read(request.root, request.split)[: request.limit]
            named = picture_items(request, samples if names_its_pictures(request) else None)
        except SamtokError as error:
            typer.echo(f"{request.name}: pictures are known once the annotations are there ({error})")
        else:
            wanted = sum(item.state == "wanted" for item in named)
            typer.echo(f"{request.name}: {wanted} of {len(named)} pictures to download, their sizes are not published")
    return Counter(item.state for item in items if item.state == "failed")


def _fetched(request: Request, jobs: int, patience: Patience) -> Counter[str]:
    """Download files, then pictures; counts what is not there at the end."""
    from samtok_eval.fetch.plan import fetch, file_items, names_its_pictures, picture_items, read_split
    from samtok_eval.run.samples import missing_pictures

    items = file_items(request, patience)
    _show_sources(request, items)
    lacking: Counter[str] = Counter()
    with _bar(request.name, items) as progress:
        for item in fetch(items, request.root, jobs, patience, progress):
            _show(item)
            lacking[item.state] += item.state in ("failed", "by hand")
    try:
        samples: Sequence[Sample] | None = None
        came = 0
        if names_its_pictures(request):
            with _bar(f"{request.name} pictures", []) as progress:
                samples, came = read_split(request, patience, progress)
        named = picture_items(request, samples)
        states = Counter(got=came, there=-came)
        with _bar(f"{request.name} pictures", named) as progress:
            for item in fetch(named, request.root, jobs, patience, progress):
                states[item.state] += 1
                if item.state == "failed" and states["failed"] <= SHOWN:
                    _show(item)
        if named:
            typer.echo(f"{request.name}: {', '.join(f'{count} pictures {name}' for name, count in (+states).items())}")
        if samples is None:
            samples = request.task.read(request.root, request.split)[: request.limit]
    except DataError as error:
        # What did not come is named above; anything else is told as what it is.
        if not lacking.total():
            typer.echo(f"FAIL     {request.name}: {error}")
            lacking["failed"] += 1
        return +lacking
    missing = missing_pictures(samples) if request.pictures != "none" else []
    if missing:
        typer.echo(f"FAIL     {request.name}: {len(missing)} pictures are not there, {missing[0]} first")
        lacking["pictures missing"] += len(missing)
    return +lacking


def _show_sources(request: Request, items: Sequence[Item]) -> None:
    """Who hosts it, and under which licence, before anything comes."""
    from samtok_eval.fetch.sources import sources_of

    found = [item.source for item in items]
    if request.pictures == "one":
        of_split = sources_of(request.sources, request.task.metadata.name, request.split, request.via)
        found += [source for source in of_split if source.kind == "pictures"]
    for host, licence in dict.fromkeys((source.host, source.licence) for source in found):
        typer.echo(f"{request.name}: from {host}; licence: {licence}")


def _show(item: Item) -> None:
    """One line."""
    size = f"{item.content.size} bytes" if item.content.size is not None else "size unknown"
    tail = {
        "wanted": f"{size}, {item.address}",
        "by hand": f"get it from {item.address} ({item.source.host})",
        "failed": item.why,
    }.get(item.state, "")
    word = "FAIL" if item.state == "failed" else item.state
    typer.echo(f"{word:<8} {item.path}{f': {tail}' if tail else ''}")


@contextmanager
def _bar(title: str, items: Sequence[Item]) -> Iterator[Callable[[int], None]]:
    """A bar of bytes on a terminal, nothing elsewhere."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    sizes = [item.content.size for item in items if item.state == "wanted"]
    total = sum(size or 0 for size in sizes) if sizes and None not in sizes else None
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
               TimeRemainingColumn())  # fmt: skip
    where = console()
    with Progress(*columns, console=where, transient=True, disable=not where.is_terminal) as bar:
        job = bar.add_task(title, total=total)
        yield lambda count: bar.advance(job, count)
