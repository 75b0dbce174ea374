"""Work on one thing while the next is made ready."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Ready = TypeVar("Ready")


def ahead(items: Iterable[Item], prepare: Callable[[Item], Ready]) -> Iterator[tuple[Item, Ready]]:
    """Items with what was prepared for each; while the caller works on one, a thread prepares the next.

    Args:
        items: taken in the caller's thread, each one before the caller gets the one before it.
        prepare: what it raises is raised where its item would come.
    """
    waiting: list[tuple[Item, Future[Ready]]] = []
    with ThreadPoolExecutor(1) as pool:
        for item in items:
            waiting.append((item, pool.submit(prepare, item)))
            if len(waiting) > 1:
                first, prepared = waiting.pop(0)
                yield first, prepared.result()
        for last, prepared in waiting:
            yield last, prepared.result()
