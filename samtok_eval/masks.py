"""Region arithmetic on COCO run-length encodings, with exact integer areas.

In and out: `Rle` (a size and COCO's compressed counts) or numpy masks. All counting happens on the run lengths, so
areas, intersections and unions are exact whatever the picture size.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

BOUNDARY_SHARE = 0.02
"""Width of the boundary band as a share of the picture's diagonal (Boundary IoU, arXiv 2103.16562)."""
MIN_POLYGON_NUMBERS = 6
BOX_NUMBERS = 4
"""COCO's library takes so many numbers for a box, which it does not accept in a list."""
MAX_SIDE = 2**16
"""Of a picture, in pixels; a JPEG cannot have more. COCO's library computes in 32 bits and allocates what it is told
to, so that every size, run and corner is checked here before it gets there."""
MAX_PIXELS = 2**28
"""Of a picture; little enough for one byte per pixel in memory."""
MAX_SHIFT = 25
"""Bits by which the last five of a compressed run length are shifted: those of the difference of two runs."""
CHECKED_TOGETHER = 2**16
"""Characters of masks that are checked together; each takes some 40 bytes meanwhile."""
MAX_OVERHANG = 4
"""Polygon corners may lie outside their picture by so many times its longer side; published files stay within one."""
MAX_OUTLINE = 2**20
"""Pixels along the edges of one segmentation's polygons. The library walks along them in fifths of a pixel."""


class Rle(NamedTuple):
    """A mask as COCO compressed run lengths."""

    height: int
    width: int
    counts: str

    @classmethod
    def from_coco(cls, value: dict[str, Any]) -> Rle:
        """From COCO's `{"size": [h, w], "counts": str | bytes | list}`.

        Raises:
            ValueError: not such an object, or its runs do not fill the size.
        """
        try:
            (height, width), counts = value["size"], value["counts"]
        except (KeyError, TypeError, IndexError, ValueError) as error:
            expected = "{'size': [h, w], 'counts': ...}, the RLE's size two whole numbers"
            raise ValueError(f"an RLE must be {expected}; got {reprlib.repr(value)}") from error
        try:
            height, width = picture_size(height, width)
        except ValueError as error:
            raise ValueError(f"an RLE's size must be that of a picture: {error}") from error
        if isinstance(counts, list):
            if not {*map(type, counts)} <= {int}:
                raise ValueError("the runs of an RLE must be whole numbers")
            total = sum(counts)
            if total != height * width or min(counts, default=0) < 0:
                raise ValueError(
                    f"the runs of an RLE must sum to {height}x{width}={height * width}, got {reprlib.repr(total)}"
                )
            return _from_dict(coco.frPyObjects({"size": [height, width], "counts": counts}, height, width))
        text = counts.decode("ascii") if isinstance(counts, bytes) else counts
        if not isinstance(text, str):
            raise ValueError(f"an RLE's counts must be text or a list of runs, got {type(counts).__name__}")
        total = int(_run_totals([text])[0]) if text else 0
        if total < 0:
            raise ValueError("an RLE's counts hold a negative run")
        if total != height * width:
            raise ValueError(f"the runs of an RLE must sum to {height}x{width}={height * width}, got {total}")
        return cls(height, width, text)

    def to_coco(self) -> dict[str, Any]:
        """`{"size": [h, w], "counts": str}`, ready for JSON."""
        return {"size": [self.height, self.width], "counts": self.counts}


def encode(mask: NDArray[np.bool_]) -> Rle:
    """Mask bool (H, W) -> RLE."""
    return _from_dict(coco.encode(np.asfortranarray(mask, dtype=np.uint8)))


def decode(rle: Rle) -> NDArray[np.bool_]:
    """RLE -> bool (H, W)."""
    return np.asarray(coco.decode(_to_dict(rle))).astype(bool)


@lru_cache(maxsize=1 << 8)
def empty(height: int, width: int) -> Rle:
    """The mask without a foreground pixel."""
    return _from_dict(coco.frPyObjects({"size": [height, width], "counts": [height * width]}, height, width))


def from_segmentation(segmentation: Any, height: int, width: int) -> Rle:
    """A COCO annotation's `segmentation`: a list of polygons or of RLEs, run lengths, or compressed run lengths.

    Polygons with fewer than six numbers or an odd count are dropped, as the released GRES loader does; if none is left
    the mask is empty.

    Args:
        segmentation: the annotation's value.
        height: of the picture, in pixels.
        width: of the picture, in pixels.

    Raises:
        ValueError: an RLE of another size than the picture, or neither polygons nor an RLE.
    """
    if isinstance(segmentation, dict):
        rle = Rle.from_coco(segmentation)
        if (rle.height, rle.width) != (height, width):
            raise ValueError(f"RLE is {rle.height}x{rle.width} but its picture is {height}x{width}")
        return rle
    if not isinstance(segmentation, list):
        raise ValueError(f"segmentation must be polygons or an RLE, got {type(segmentation).__name__}")
    if segmentation and all(isinstance(part, dict) for part in segmentation):
        return union([from_segmentation(part, height, width) for part in segmentation], height, width)
    usable = usable_polygons(segmentation)
    check_polygons(usable, height, width)
    if not usable:
        return empty(height, width)
    drawn = coco.frPyObjects(usable, height, width)
    return _from_dict(drawn[0] if len(drawn) == 1 else coco.merge(drawn))


def usable_polygons(segmentation: Sequence[Any]) -> list[list[float]]:
    """The polygons of a list that have at least three points and an even count of numbers."""
    return [p for p in segmentation if isinstance(p, list) and len(p) >= MIN_POLYGON_NUMBERS and len(p) % 2 == 0]


def check_polygons(polygons: Sequence[Sequence[Any]], height: int, width: int) -> None:
    """Refuse what COCO's library must not be given.

    Args:
        polygons: lists `[x1, y1, x2, y2, ...]`.
        height: of the picture, in pixels.
        width: of the picture, in pixels.

    Raises:
        ValueError: a picture of no possible size, a corner that is no finite number or lies far outside the picture,
            or outlines that are longer than any mask's.
    """
    height, width = picture_size(height, width)
    low, high = -MAX_OVERHANG * max(height, width), (MAX_OVERHANG + 1) * max(height, width)
    longest = 0.0
    for polygon in polygons:
        # True is an int and "1" becomes a float, so that types are compared, not converted.
        if not {*map(type, polygon)} <= {int, float}:
            raise ValueError("the corners of a polygon must be numbers")
        least, most = min(polygon, default=0), max(polygon, default=0)
        # Not a number is neither above nor below, and makes the sum none.
        if not (low <= least and most <= high) or math.isnan(sum(polygon)):
            wrong = next(number for number in polygon if not low <= number <= high)
            where = f"outside its picture of {height}x{width}"
            raise ValueError(f"a corner of a polygon lies at {reprlib.repr(wrong)}, far {where}")
        longest += len(polygon) // 2 * (most - least)
    # Outlines that cannot be too long need not be measured.
    outline = sum(map(_outline, polygons)) if longest > MAX_OUTLINE else 0.0
    if outline > MAX_OUTLINE:
        raise ValueError(f"the outlines of its polygons are {outline:.0f} pixels long, more than {MAX_OUTLINE}")


def _outline(polygon: Sequence[float]) -> float:
    """Pixels along the edges of a polygon."""
    corners = np.array([*polygon, *polygon[:2]][: len(polygon) // 2 * 2 + 2]).reshape(-1, 2)
    return float(np.abs(np.diff(corners, axis=0)).max(axis=1).sum())


def covered_once(segmentation: list[Any], height: int, width: int) -> Rle:
    """Pixels that exactly one part of an annotation covers, as scorers see it that add its parts up.

    Where two parts overlap the sum is 2, which is neither foreground nor background to them. Unlike in
    `from_segmentation` no polygon is dropped.

    Args:
        segmentation: polygons, or RLEs of the picture's size; at least one.
        height: of the picture, in pixels.
        width: of the picture, in pixels.

    Raises:
        ValueError: parts that COCO's library refuses or must not be given.
    """
    if isinstance(segmentation[0], dict):
        rles = [_to_dict(from_segmentation(part, height, width)) for part in segmentation]
    else:
        polygons = _library_polygons(segmentation)
        check_polygons(polygons, height, width)
        rles = coco.frPyObjects(polygons, height, width)
    united = coco.merge(rles)
    # Nothing is covered twice; so it is nearly always, and decoding every part would cost many times as much.
    if sum(int(coco.area(rle)) for rle in rles) == int(coco.area(united)):
        return _from_dict(united)
    # One part at a time, so that a picture with many of them fits into memory.
    covered = np.zeros((height, width), dtype=np.uint8)
    for rle in rles:
        covered += coco.decode(rle)
    return encode(covered == 1)


def _library_polygons(parts: Sequence[Any]) -> list[list[Any]]:
    """Lists of numbers as COCO's library reads them: what they are is told by the first of them."""
    if not all(isinstance(part, list) for part in parts) or len(parts[0]) <= BOX_NUMBERS:
        raise ValueError("a segmentation must be a list of polygons, the first of more than four numbers")
    return [part for part in parts if len(part) > 1]


def picture_size(height: Any, width: Any) -> tuple[int, int]:
    """Height and width of a picture as a file gives them, checked.

    Raises:
        ValueError: not two whole numbers from 1 on, or more than `MAX_PIXELS` pixels.
    """
    for side in (height, width):
        whole = side.is_integer() if isinstance(side, float) else isinstance(side, int | np.integer)
        if isinstance(side, bool) or not whole or not 0 < side <= MAX_SIDE:
            raise ValueError(f"a picture's side must be a whole number from 1 to {MAX_SIDE}, got {reprlib.repr(side)}")
    if int(height) * int(width) > MAX_PIXELS:
        raise ValueError(f"a picture of {height}x{width} has more than {MAX_PIXELS} pixels")
    return int(height), int(width)


def area(rle: Rle) -> int:
    """Foreground pixels."""
    return int(coco.area(_to_dict(rle)))


def intersection_and_union(first: Rle, second: Rle) -> tuple[int, int]:
    """Pixels in both and pixels in either.

    Raises:
        ValueError: the sizes differ.
    """
    shared, mine = intersection_and_area(first, second)
    return shared, mine + area(second) - shared


def intersection_and_area(first: Rle, second: Rle) -> tuple[int, int]:
    """Pixels in both and pixels in the first.

    Raises:
        ValueError: the sizes differ.
    """
    _check_sizes([first], second.height, second.width)
    mine = _to_dict(first)
    shared, own = coco.area([coco.merge([mine, _to_dict(second)], intersect=True), mine])
    return int(shared), int(own)


def union(rles: Sequence[Rle], height: int, width: int) -> Rle:
    """The mask of all pixels in any of the masks; empty for no masks.

    Raises:
        ValueError: the sizes differ.
    """
    if not rles:
        return empty(height, width)
    _check_sizes(rles, height, width)
    return rles[0] if len(rles) == 1 else _from_dict(coco.merge([_to_dict(rle) for rle in rles]))


def box(rle: Rle) -> tuple[int, int, int, int] | None:
    """First and last foreground column and row `(x1, y1, x2, y2)`, corners inclusive; None for an empty mask."""
    if area(rle) == 0:
        return None
    x, y, width, height = (round(float(side)) for side in coco.toBbox(_to_dict(rle)))
    return x, y, x + width - 1, y + height - 1


def of_box(sides: Sequence[float], height: int, width: int) -> Rle:
    """Every pixel that a box touches, at least one.

    Args:
        sides: x, y, width, height in pixels.
        height: of the picture.
        width: of the picture.

    Raises:
        ValueError: there are not four of them, or the box lies outside the picture.
    """
    x, y, across, down = sides
    columns, rows = _touched(x, across, width), _touched(y, down, height)
    if not columns or not rows:
        raise ValueError(f"the box {list(sides)!r:.80} covers no pixel of its picture of {height}x{width}")
    mask = np.zeros((height, width), dtype=np.bool_)
    mask[rows.start : rows.stop, columns.start : columns.stop] = True
    return encode(mask)


def _touched(start: float, length: float, limit: int) -> range:
    """Pixels of a side that an interval touches."""
    first = math.floor(start)
    end = max(math.ceil(start + length), first + 1)
    return range(max(first, 0), min(end, limit))


def components(rle: Rle) -> tuple[Rle, ...]:
    """Connected pieces (8 neighbours) of a mask, largest first; none of an empty mask."""
    from scipy.ndimage import label

    marked, count = label(decode(rle), structure=np.ones((3, 3)))
    pieces = [marked == i + 1 for i in range(count)]
    return tuple(encode(piece) for piece in sorted(pieces, key=lambda piece: -int(piece.sum())))


def boundary(mask: NDArray[np.bool_], share: float = BOUNDARY_SHARE) -> NDArray[np.bool_]:
    """Foreground pixels within a band along the mask's edge; the picture's border counts as an edge.

    Band width is `round(share x diagonal)`, at least 1 pixel, by repeated 3x3 erosion (bowenc0221/boundary-iou-api).

    Args:
        mask: bool (H, W).
        share: band width as a share of the diagonal.

    Returns:
        bool (H, W).
    """
    from scipy.ndimage import binary_erosion

    rounds = max(1, round(share * float(np.hypot(*mask.shape))))
    inner = binary_erosion(mask, structure=np.ones((3, 3), dtype=bool), iterations=rounds, border_value=0)
    return np.asarray(mask & ~inner)


def _to_dict(rle: Rle) -> dict[str, Any]:
    return {"size": [rle.height, rle.width], "counts": rle.counts.encode("ascii")}


def _from_dict(value: dict[str, Any]) -> Rle:
    return Rle(int(value["size"][0]), int(value["size"][1]), value["counts"].decode("ascii"))


def _check_sizes(rles: Sequence[Rle], height: int, width: int) -> None:
    for rle in rles:
        if rle.height != height or rle.width != width:
            sizes = {(height, width), *[rle[:2] for rle in rles]}
            raise ValueError(f"masks of different sizes cannot be combined: {sorted(sizes)}")


def checked(sizes: Sequence[tuple[int, int]], texts: Sequence[str]) -> list[Rle | None]:
    """Compressed run lengths as masks, in a fraction of the time that `Rle.from_coco` takes for one after another.

    Args:
        sizes: height and width of each mask.
        texts: the counts of each.

    Returns:
        None for each that could not be checked in this way; `Rle.from_coco` says what is wrong with it, if anything is.
    """
    found: list[Rle | None] = []
    first = 0
    while first < len(texts):
        last = first + 1
        length = len(texts[first])
        while last < len(texts) and length < CHECKED_TOGETHER:
            length += len(texts[last])
            last += 1
        found += _checked(sizes[first:last], texts[first:last])
        first = last
    return found


def _checked(sizes: Sequence[tuple[int, int]], texts: Sequence[str]) -> list[Rle | None]:
    try:
        totals = _run_totals(texts).tolist() if all(texts) else []
        for size in set(sizes):
            picture_size(*size)
    except ValueError:
        totals = []
    if not totals:
        return [None] * len(texts)
    rows = zip(sizes, texts, totals, strict=True)
    return [Rle(*size, text) if total == size[0] * size[1] else None for size, text, total in rows]


def _run_totals(texts: Sequence[str]) -> NDArray[np.int64]:
    """Sums of compressed run lengths (COCO maskApi.c): five bits a character, from the fourth run on as differences.

    Args:
        texts: counts of masks, none of them empty; decoded together, since calls of NumPy take most of the time of one.

    Returns:
        int64 (n,), -1 where a run is negative.

    Raises:
        ValueError: any of them holds characters that COCO never writes, or a run that is cut off or too long.
    """
    # Below "0" wraps around to more than 63.
    bits = np.frombuffer("".join(texts).encode("utf-8", "replace"), dtype=np.uint8) - np.uint8(48)
    if bits.max() > 63:
        raise ValueError("an RLE's counts hold characters that COCO never writes")
    ends = np.array([len(text) for text in texts]).cumsum() - 1
    if (bits[ends] >= 32).any():
        raise ValueError("an RLE's counts are cut off")
    last = (bits < 32).nonzero()[0]
    first = np.empty_like(last)
    first[0], first[1:] = 0, last[:-1] + 1
    width = last - first
    if 5 * width.max() > MAX_SHIFT:
        raise ValueError("an RLE's counts hold a run that is too long")
    shift = 5 * (np.arange(bits.size) - first.repeat(width + 1))
    runs = np.add.reduceat((bits & 31).astype(np.int64) << shift, first)
    runs -= (bits[last] >> 4).astype(np.int64) << (5 * width + 5)
    # Bounded first, so that no sum of them leaves 64 bits.
    if np.abs(runs).max() > MAX_PIXELS:
        raise ValueError("an RLE's counts hold a run that is too long")
    begins = np.append(0, np.searchsorted(last, ends[:-1], side="right"))
    _add_up(runs, begins)
    return np.where(np.minimum.reduceat(runs, begins) < 0, -1, np.add.reduceat(runs, begins))


def _add_up(runs: NDArray[np.int64], begins: NDArray[np.intp]) -> None:
    """Make runs of the differences to the last but one run, in place.

    Args:
        runs: (n,), those of several masks one after the other.
        begins: where those of each mask begin.
    """
    if len(begins) == 1:
        runs[1::2] = runs[1::2].cumsum()
        runs[2::2] = runs[2::2].cumsum()
        return
    counts = np.diff(np.append(begins, runs.size))
    owner = np.arange(begins.size).repeat(counts)
    place = np.arange(runs.size) - begins[owner]
    for odd in (1, 0):
        rows = np.flatnonzero((place % 2 == odd) & (place > 0))
        sums = np.append(0, runs[rows].cumsum())
        before = np.searchsorted(rows, begins)
        runs[rows] = sums[1:] - sums[before][owner[rows]]
