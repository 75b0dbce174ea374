"""What the writers of the demo benchmark's files share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from samtok_eval import masks
from samtok_eval.demo.world.scenes import Scene
from samtok_eval.masks import Rle


def save_picture(folder: Path, stem: str, scene: Scene) -> str:
    """The name of the scene's picture in a folder, written where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.png"
    if not path.exists():
        path.write_bytes(scene.png)
    return path.name


def rle_of(scene: Scene, index: int) -> Rle:
    """The mask of one object."""
    return masks.encode(scene.objects[index].mask)


def xywh(rle: Rle) -> list[int]:
    """x, y, width and height of a mask's box in pixels, all 0 of an empty mask."""
    x1, y1, x2, y2 = masks.box(rle) or (0, 0, -1, -1)
    return [x1, y1, x2 - x1 + 1, y2 - y1 + 1]


def write_content(path: Path, content: Any) -> None:
    """Write a file of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
