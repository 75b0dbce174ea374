"""Tiny mask collections in every format that training reads, all with the same scenes."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from samtok_eval import masks


def scene(number):
    """A picture of 40 x 48 pixels with three blocks and their masks."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 60, (40, 48, 3), dtype=np.uint8)
    found = []
    for x in (0, 16, 32):
        y, height, width = rng.integers(0, 16), rng.integers(6, 24), rng.integers(6, 15)
        mask = np.zeros((40, 48), dtype=bool)
        mask[y : y + height, x : x + width] = True
        image[mask] = rng.integers(80, 255, 3)
        found.append(mask)
    return image, found


def write_coco(folder, pictures=11):
    """COCO instances: masks in turn as polygon, run lengths and compressed run lengths."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(pictures):
        image, found = scene(number)
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 40, "width": 48})
        for i, mask in enumerate(found):
            annotations.append({"id": len(annotations), "image_id": number, "segmentation": as_coco(mask, i)})
    (folder / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    return f"coco:{folder}/instances.json@{folder}/images"


def as_coco(mask, how):
    if how == 0:
        y, x = np.nonzero(mask)
        left, top, right, bottom = int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1
        return [[left, top, right, top, right, bottom, left, bottom]]
    if how == 1:
        flat = mask.flatten(order="F").astype(int)
        edges = [0, *np.flatnonzero(np.diff(flat)) + 1, flat.size]
        runs = np.diff(edges).tolist()
        return {"size": [40, 48], "counts": runs if not flat[0] else [0, *runs]}
    return masks.encode(mask).to_coco()


def write_sa1b(folder, pictures=3):
    for number in range(pictures):
        image, found = scene(number)
        place = folder / f"sa_00000{number}"
        place.mkdir(parents=True)
        Image.fromarray(image).save(place / f"sa_{number}.png")
        rows = [{"segmentation": masks.encode(mask).to_coco()} for mask in found]
        header = {"image_id": number, "file_name": f"sa_{number}.png", "height": 40, "width": 48}
        (place / f"sa_{number}.json").write_text(json.dumps({"image": header, "annotations": rows}))
    return f"sa1b:{folder}"


def write_panoptic(folder, pictures=3, ending=".png", kind="panoptic"):
    (folder / "images").mkdir(parents=True)
    (folder / "train").mkdir()
    images, annotations = [], []
    for number in range(pictures):
        image, found = scene(number)
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        ids = np.zeros((40, 48), dtype=np.uint32)
        for i, mask in enumerate(found):
            ids[mask] = i + 300
        Image.fromarray(np.stack([ids % 256, ids // 256, ids * 0], -1).astype(np.uint8)).save(
            folder / "train" / f"{number}.png"
        )
        images.append({"id": number, "file_name": f"{number}.png", "height": 40, "width": 48})
        segments = [{"id": i + 300, "category_id": 1} for i in range(len(found))]
        annotations.append({"image_id": number, "file_name": f"{number}{ending}", "segments_info": segments})
    (folder / "train.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    (folder / "elsewhere").mkdir()
    return f"{kind}:{folder}/train.json@{folder}/elsewhere,{folder}/images"


def write_coconut(folder):
    """COCONut's annotations may name another ending than its files have."""
    return write_panoptic(folder, ending=".jpg", kind="coconut")


def write_index_folder(folder, pictures=3):
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number in range(pictures):
        image, found = scene(number)
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        values = np.zeros((40, 48), dtype=np.uint8)
        for i, mask in enumerate(found):
            values[mask] = 10 * (i + 1)
        Image.fromarray(values).save(folder / "masks" / f"{number}.png")
    return f"folder:{folder}/images@{folder}/masks"


def write_mask_folders(folder, pictures=3):
    (folder / "images").mkdir(parents=True)
    for number in range(pictures):
        image, found = scene(number)
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        (folder / "masks" / str(number)).mkdir(parents=True)
        for i, mask in enumerate(found):
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / str(number) / f"{i}.png")
    return f"folder:{folder}/images@{folder}/masks"


def broken_coco(folder):
    """One truncated picture, one RLE that is cut off, one empty mask, one picture with empty masks only."""
    spec = write_coco(folder, 8)
    truncated = folder / "images" / "1.png"
    truncated.write_bytes(truncated.read_bytes()[:200])
    content = json.loads((folder / "instances.json").read_text())
    rows = content["annotations"]
    rows[3 * 2 + 2]["segmentation"]["counts"] = "0"
    rows[3 * 3]["segmentation"] = masks.empty(40, 48).to_coco()
    for row in rows[3 * 4 : 3 * 5]:
        row["segmentation"] = []
    (folder / "instances.json").write_text(json.dumps(content))
    return spec
