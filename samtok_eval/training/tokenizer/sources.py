"""Readers of mask collections: COCO JSON, SA-1B folders, panoptic PNGs, COCONut, and plain folders.

In: `FORMAT:PATH...` as typed. Out: a `MaskSource`, which lists pictures cheaply and opens one at a time; masks are
decoded one by one, because a picture may have hundreds and training draws a few. Formats: cocodataset.org (instances
and panoptic), segment-anything.com (SA-1B), `download_coconut.py` of bytedance/coconut_cvpr2024.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samtok_eval import masks
from samtok_eval.datasets.psg import read_segments
from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import MISFITS, inside, read_json, reading, whole_number
from samtok_eval.images import UNREADABLE, open_image, read_image
from samtok_eval.sample import ImageRef

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class OpenPicture:
    """One picture's undecoded masks."""

    path: Path
    height: int
    """As the annotations say, in pixels."""
    width: int
    count: int
    """Masks, empty and broken ones included."""
    mask: Callable[[int], NDArray[np.bool_]]
    """The i-th mask, bool (height, width). Raises ValueError or DataError when it is broken."""

    def image(self) -> NDArray[np.uint8]:
        """The picture as uint8 (height, width, 3) RGB.

        Raises:
            DataError: missing, unreadable or of another size.
        """
        return read_image(ImageRef(self.path.name, self.path, self.height, self.width))


class MaskSource(Protocol):
    """A collection of pictures with masks."""

    def __len__(self) -> int:
        """Number of pictures."""

    def key(self, index: int) -> str:
        """How messages and counters call a picture."""

    def open(self, index: int) -> OpenPicture:
        """Read one picture's annotations.

        Raises:
            DataError: they are broken.
        """


class CocoSource:
    """COCO instances: one JSON with `images` and `annotations` (polygons, run lengths or compressed run lengths)."""

    def __init__(self, annotations: Path, folders: list[Path]) -> None:
        self._folders = folders
        self._images, grouped = _coco_pictures(annotations)
        self._masks = [[a.get("segmentation") for a in grouped.get(i["id"], [])] for i in self._images]

    def __len__(self) -> int:
        return len(self._images)

    def key(self, index: int) -> str:
        """File name of the picture."""
        return str(self._images[index]["file_name"])

    def open(self, index: int) -> OpenPicture:
        """One picture with its annotations, in file order."""
        path, height, width = _place(self._images[index], self._folders)
        found = self._masks[index]
        return OpenPicture(path, height, width, len(found), lambda i: _segmentation(found[i], height, width))


class PanopticSource:
    """COCO panoptic: one JSON whose annotations name a PNG of segment ids each and list the segments."""

    def __init__(self, annotations: Path, folders: list[Path], named_by_stem: bool) -> None:
        """Read the JSON.

        Args:
            annotations: its PNGs lie in the folder of the same name without `.json`.
            folders: of the pictures.
            named_by_stem: PNGs are called `<stem of file_name>.png` whatever ending the file names, as COCONut's
                own script writes them.
        """
        self._folders, self._pngs = folders, annotations.with_suffix("")
        images, grouped = _coco_pictures(annotations)
        self._rows = [(image, grouped[image["id"]][0]) for image in images if image["id"] in grouped]
        self._stem = named_by_stem

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, index: int) -> str:
        """File name of the picture."""
        return str(self._rows[index][0]["file_name"])

    def open(self, index: int) -> OpenPicture:
        """One picture; its PNG is read here. A listed segment without a pixel is an empty mask."""
        image, row = self._rows[index]
        path, height, width = _place(image, self._folders)
        with reading(f"the panoptic annotation of {path.name} is broken", "correct it"):
            name = inside(self._pngs, row["file_name"])
            ids = [whole_number(segment["id"]) for segment in row["segments_info"]]
            png = name.with_suffix(".png") if self._stem else name
        segments = read_segments(png, height, width)
        return OpenPicture(path, height, width, len(ids), lambda i: segments == ids[i])


class Sa1bSource:
    """SA-1B: folders of pictures, each with a JSON of the same stem that lists compressed run lengths.

    The names of eleven million files are kept as one fixed-width array, not as Python objects.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        found = sorted(
            os.path.relpath(Path(place) / name, folder)
            for place, _, names in os.walk(folder)
            for name in names
            if name.endswith(".json")
        )
        if not found:
            raise DataError(f"{folder} holds no JSON file; an SA-1B folder has one beside every picture")
        self._names = np.array([os.fsencode(name) for name in found])

    def __len__(self) -> int:
        return len(self._names)

    def key(self, index: int) -> str:
        """Path of the JSON inside the folder."""
        return os.fsdecode(bytes(self._names[index]))

    def open(self, index: int) -> OpenPicture:
        """One picture; its JSON is read here."""
        path = self._folder / self.key(index)
        content = read_json(path)
        try:
            image, rows = content["image"], [row["segmentation"] for row in content["annotations"]]
            height, width = masks.picture_size(image["height"], image["width"])
            picture = path.with_name(Path(str(image["file_name"])).name)
        except MISFITS as error:
            raise DataError(f"{path} is not an SA-1B file: {error} is missing or wrong; unpack it again") from error
        return OpenPicture(picture, height, width, len(rows), lambda i: _segmentation(rows[i], height, width))


class FolderSource:
    """Plain folders: every picture has `<stem>.png` with one mask per value, or a folder `<stem>/` of mask files.

    In `<stem>.png` every grey value or colour but black is one mask; in a folder every file is one, inside where not
    black.
    """

    def __init__(self, pictures: Path, mask_folder: Path) -> None:
        self._mask_folder = mask_folder
        self._pictures = sorted(path for path in _listed(pictures) if path.suffix.lower() in PICTURE_ENDINGS)
        if not self._pictures:
            raise DataError(f"{pictures} holds no picture ({', '.join(PICTURE_ENDINGS)})")

    def __len__(self) -> int:
        return len(self._pictures)

    def key(self, index: int) -> str:
        """File name of the picture."""
        return self._pictures[index].name

    def open(self, index: int) -> OpenPicture:
        """One picture; a `<stem>.png` is read here, mask files one by one later."""
        path = self._pictures[index]
        several = self._mask_folder / path.stem
        if several.is_dir():
            files = sorted(f for f in several.iterdir() if f.suffix.lower() in PICTURE_ENDINGS)
            height, width = _size(path)
            return OpenPicture(path, height, width, len(files), lambda i: _inside(files[i], height, width))
        values = _values(self._mask_folder / f"{path.stem}.png")
        found = np.unique(values)
        found = found[found > 0]
        height, width = values.shape
        return OpenPicture(path, height, width, len(found), lambda i: values == found[i])


def open_source(spec: str) -> MaskSource:
    """The collection that `FORMAT:PATH...` names.

    `coco:JSON@PICTURES`, `panoptic:JSON@PICTURES`, `coconut:JSON@PICTURES`, `folder:PICTURES@MASKS`, `sa1b:FOLDER`.
    Where several folders hold the pictures, they are separated by commas.

    Raises:
        UsageError: no such format, or a part is missing.
        DataError: a file is missing or broken.
    """
    kind, _, rest = spec.partition(":")
    first, separator, second = rest.partition("@")
    forms = {
        "coco": "coco:JSON@PICTURES",
        "panoptic": "panoptic:JSON@PICTURES",
        "coconut": "coconut:JSON@PICTURES",
        "folder": "folder:PICTURES@MASKS",
        "sa1b": "sa1b:FOLDER",
    }
    if kind not in forms:
        raise UsageError(f"{spec!r} names no known mask format; write one of {', '.join(forms.values())}")
    if not first or (kind == "sa1b") == bool(separator) or (separator and not second):
        raise UsageError(f"{spec!r} should have the form {forms[kind]}")
    if kind == "sa1b":
        return Sa1bSource(_folder(first, spec))
    if kind == "folder":
        return FolderSource(_folder(first, spec), _folder(second, spec))
    folders = [_folder(part, spec) for part in second.split(",")]
    if kind == "coco":
        return CocoSource(Path(first), folders)
    return PanopticSource(Path(first), folders, named_by_stem=kind == "coconut")


def _folder(text: str, spec: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise DataError(f"{text} is no folder; {spec!r} needs one there")
    return path


def _listed(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


def _coco_pictures(path: Path) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """`images` of a COCO file, and its annotations by image id."""
    content = read_json(path)
    grouped: dict[str, list[dict[str, Any]]] = {}
    with reading(f"{path} is not a COCO file", "give the file that holds the annotations"):
        images = [
            {"id": _name(image["id"])} | {key: image[key] for key in ("file_name", "height", "width")}
            for image in content["images"]
        ]
        for annotation in content["annotations"]:
            grouped.setdefault(_name(annotation["image_id"]), []).append(dict(annotation))
    if not images:
        raise DataError(f"{path} lists no picture; give the file that holds the annotations")
    return images, grouped


def _place(image: dict[str, Any], folders: list[Path]) -> tuple[Path, int, int]:
    """Where a listed picture lies (the last folder where none has it) and its height and width."""
    with reading("a listed picture is broken", "correct its entry"):
        places = [inside(folder, image["file_name"]) for folder in folders]
        path = next((place for place in places if place.exists()), places[-1])
        return path, *masks.picture_size(image["height"], image["width"])


def _name(value: Any) -> str:
    """An id as text; nothing else is made one, since a list may be of any length.

    Raises:
        ValueError: it is neither text nor a number.
    """
    if not isinstance(value, str | int | float):
        raise ValueError(f"an id is needed, got {reprlib.repr(value)}")
    return str(value)


def _segmentation(value: Any, height: int, width: int) -> NDArray[np.bool_]:
    try:
        return masks.decode(masks.from_segmentation(value, height, width))
    except TypeError as error:
        raise ValueError(f"segmentation cannot be read: {error}") from error


def _open_image(path: Path) -> Image.Image:
    try:
        with open_image(path) as file:
            file.load()
            return file.copy()
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read ({error}); unpack it again") from error


def _size(path: Path) -> tuple[int, int]:
    """Height and width as `read_image` will see them."""
    try:
        with open_image(path) as file:
            # Orientations 5 to 8 turn the picture by a quarter.
            turned = file.getexif().get(0x0112, 1) >= 5
            width, height = file.size
    except UNREADABLE as error:
        raise DataError(f"image {path} cannot be read ({error}); unpack it again") from error
    return (width, height) if turned else (height, width)


def _values(path: Path) -> NDArray[np.int64]:
    """Grey value, palette index or packed colour of each pixel, int64 (H, W)."""
    image = _open_image(path)
    pixels = np.asarray(image if image.mode in ("L", "P", "1", "I", "I;16") else image.convert("RGB")).astype(np.int64)
    if pixels.ndim == 3:
        pixels = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
    return pixels


def _inside(path: Path, height: int, width: int) -> NDArray[np.bool_]:
    values = _values(path)
    if values.shape != (height, width):
        raise DataError(f"{path} is {values.shape[0]}x{values.shape[1]}, its picture {height}x{width}")
    return values > 0
