"""Writes the demo scenes in the file formats of the benchmarks beyond referring expressions whose answers hold masks.

Out, under a data root: `gcg/` (GLaMM), `psg/` with panoptic PNGs (OpenPSG), `segllm/` (multi-round),
`grounding_suite/`, `reasonseg/` (LISA), `mmr/`, `refcoco-m/` and `entityseg/`. File names, keys and ids are those of
the benchmarks; every writer is a function of the scenes alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samtok_eval import masks
from samtok_eval.demo.files import rle_of, save_picture, write_content, xywh
from samtok_eval.demo.world import language
from samtok_eval.demo.world.questions import (
    PREDICATES,
    caption,
    conversations,
    relations,
    sentences,
)
from samtok_eval.demo.world.scenes import COLORS, SHAPES, SIDE, Scene, expressions
from samtok_eval.files import read_object
from samtok_eval.mask_tokens import Codes

CODES_FILE = Path(__file__).parent / "codes.json"
"""Codes of the shipped mask tokenizer for the objects of the multi-round scenes, by scene seed; the published files
hold the published tokenizer's in the same way. Written by `python -m samtok_eval.demo.codes`."""
MULTI_ROUND = ("mr_refcoco", "mr_refcoco+", "mr_refcocog", "mr_paco")
CONVERSATIONS_PER_SCENE = 2
SENTENCES_PER_SCENE = 3
SENTENCES_PER_OBJECT = 2
CLASS_OF_ONE, CLASS_OF_SEVERAL = 4, 3
"""GroundingSuite's class ids for one object and several; the demo world has no stuff and no parts."""
GROUND = "ground-other-merged"
"""The stuff class around the objects, named as COCO's panoptic stuff is."""


def write_gcg(root: Path, splits: dict[str, Sequence[Scene]]) -> None:
    """Grounded conversation generation: masks and captions of each split."""
    for split, scenes in splits.items():
        images: list[Any] = []
        regions: list[Any] = []
        captions: list[Any] = []
        for scene in scenes:
            name = save_picture(root / "gcg" / "images", f"demo_{scene.seed}", scene)
            images.append({"id": Path(name).stem, "file_name": name, "height": SIDE, "width": SIDE})
            text, phrases = caption(scene)
            for _, i in phrases:
                rle = rle_of(scene, i)
                regions.append(
                    {
                        "id": len(regions) + 1,
                        "image_id": Path(name).stem,
                        "category_id": 1,
                        "segmentation": rle.to_coco(),
                        "area": masks.area(rle),
                        "bbox": xywh(rle),
                        "iscrowd": 0,
                    }
                )
            labels = [phrase for phrase, _ in phrases]
            captions.append({"id": len(captions) + 1, "image_id": Path(name).stem, "caption": text, "labels": labels})
        categories = [{"id": 1, "name": "object"}]
        whole = {"images": images, "annotations": regions, "categories": categories}
        write_content(root / "gcg" / f"{split}_gcg_coco_mask_gt.json", whole)
        write_content(root / "gcg" / f"{split}_gcg_coco_caption_gt.json", {"images": images, "annotations": captions})


def write_psg(root: Path, train: Sequence[Scene], test: Sequence[Scene]) -> None:
    """Panoptic scene graphs: `psg.json`, the test pictures again as `psg_val.json`, pictures and panoptic PNGs."""
    things = [f"{color} {shape}" for color in COLORS for shape in SHAPES]
    rows = []
    for scene in [*train, *test]:
        name = save_picture(root / "coco" / "val2017", f"{scene.seed:012d}", scene)
        segments = np.full((SIDE, SIDE), len(scene.objects) + 1, dtype=np.uint32)
        for i, item in enumerate(scene.objects):
            segments[item.mask] = i + 1
        folder = root / "coco" / "panoptic_val2017"
        folder.mkdir(parents=True, exist_ok=True)
        channels = [(segments >> shift & 255).astype(np.uint8) for shift in (0, 8, 16)]
        Image.fromarray(np.stack(channels, axis=-1)).save(folder / name)
        infos, boxes = [], []
        for i, item in enumerate(scene.objects):
            infos.append(
                {"id": i + 1, "category_id": things.index(item.name), "isthing": 1, "iscrowd": 0,
                 "area": int(item.mask.sum())}
            )  # fmt: skip
            boxes.append({"bbox": list(masks.box(rle_of(scene, i)) or (0, 0, 0, 0)), "bbox_mode": 0,
                          "category_id": things.index(item.name)})  # fmt: skip
        ground = segments == len(scene.objects) + 1
        infos.append({"id": len(scene.objects) + 1, "category_id": len(things), "isthing": 0, "iscrowd": 0,
                      "area": int(ground.sum())})  # fmt: skip
        boxes.append({"bbox": list(masks.box(masks.encode(ground)) or (0, 0, 0, 0)), "bbox_mode": 0,
                      "category_id": len(things)})  # fmt: skip
        rows.append(
            {
                "file_name": f"val2017/{name}",
                "pan_seg_file_name": f"panoptic_val2017/{name}",
                "height": SIDE,
                "width": SIDE,
                "image_id": str(scene.seed),
                "segments_info": infos,
                "annotations": boxes,
                "relations": [[s, o, PREDICATES.index(predicate)] for s, predicate, o in relations(scene)],
            }
        )
    content = {
        "data": rows,
        "test_image_ids": [str(scene.seed) for scene in test],
        "thing_classes": things,
        "stuff_classes": [GROUND],
        "predicate_classes": list(PREDICATES),
    }
    write_content(root / "psg" / "psg.json", content)
    write_content(root / "psg" / "psg_val.json", _as_coco_panoptic(content, rows[len(train) :]))


def _as_coco_panoptic(content: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rows of `psg.json` in the shape of COCO's panoptic annotations, class numbers from 1 on."""
    names = [*content["thing_classes"], *content["stuff_classes"]]
    return {
        "images": [{"id": int(row["image_id"]), **{key: row[key] for key in ("file_name", "height", "width")}}
                   for row in rows],
        "annotations": [
            {
                "image_id": int(row["image_id"]),
                "file_name": row["pan_seg_file_name"],
                "segments_info": [
                    {**info, "category_id": info["category_id"] + 1, "bbox": box["bbox"]}
                    for info, box in zip(row["segments_info"], row["annotations"], strict=True)
                ],
                "relations": row["relations"],
            }
            for row in rows
        ],
        "categories": [
            {"id": i + 1, "name": name, "isthing": int(name in content["thing_classes"])}
            for i, name in enumerate(names)
        ],
        "relations_categories": [{"id": i + 1, "name": name} for i, name in enumerate(content["predicate_classes"])],
    }  # fmt: skip


def write_multi_round(root: Path, groups: Sequence[Sequence[Scene]]) -> None:
    """Multi-round conversations, one file and group of scenes for each of `MULTI_ROUND`."""
    for name, scenes in zip(MULTI_ROUND, groups, strict=True):
        rounds: dict[str, list[dict[str, Any]]] = {}
        for scene in scenes:
            picture = save_picture(root / "segllm" / "images", f"{scene.seed:012d}", scene)
            codes = [Codes(*pair) for pair in _codes()[str(scene.seed)]]
            rng = np.random.default_rng([scene.seed, 2])
            several = conversations(scene, rng)
            for k in rng.permutation(len(several))[:CONVERSATIONS_PER_SCENE]:
                history: list[dict[str, str]] = []
                turns = language.rounds(scene, several[k], codes)
                for number, ((text, answer), (_, target)) in enumerate(zip(turns, several[k], strict=True)):
                    history = [*history, {"from": "human", "value": text if number else f"<image>\n{text}"}]
                    rounds.setdefault(str(number), []).append(
                        {
                            "image": f"images/{picture}",
                            "history": history,
                            "target_masks": [rle_of(scene, target).to_coco()],
                        }
                    )
                    history = [*history, {"from": "gpt", "value": answer}]
        write_content(root / "segllm" / f"{name}_val_sampled.json", rounds)


def write_grounding_suite(root: Path, scenes: Sequence[Scene]) -> None:
    """Sentences that describe one object or several."""
    rows: list[Any] = []
    for scene in scenes:
        rng = np.random.default_rng([scene.seed, 5])
        several = sentences(scene)
        name = save_picture(root / "grounding_suite" / "unlabeled2017", f"{scene.seed:012d}", scene)
        for k in rng.permutation(len(several))[:SENTENCES_PER_SCENE]:
            sentence = several[k]
            united = masks.union([rle_of(scene, i) for i in sentence.targets], SIDE, SIDE)
            x, y, width, height = xywh(united)
            rows.append(
                {
                    "idx": len(rows),
                    "image_path": f"unlabeled2017/{name}",
                    "class_id": CLASS_OF_ONE if len(sentence.targets) == 1 else CLASS_OF_SEVERAL,
                    "label": sentence.label,
                    "caption": sentence.text,
                    "box": [float(x), float(y), float(x + width), float(y + height)],
                    "segmentation": united.to_coco(),
                }
            )
    path = root / "grounding_suite" / "GroundingSuite-Eval.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_reasonseg(root: Path, splits: dict[str, Sequence[Scene]]) -> None:
    """What a name or a question implies, one object per scene; every second scene has an object to be ignored."""
    for split, scenes in splits.items():
        folder = root / "reasonseg" / split
        folder.mkdir(parents=True)
        for number, scene in enumerate(scenes):
            rng = np.random.default_rng([scene.seed, 6])
            several = [e for e in expressions(scene) if len(e.targets) == 1]
            chosen = several[int(rng.integers(len(several)))]
            is_name = chosen.kind == "attribute"
            shapes = [_shape("target", row) for row in _rows(scene.objects[chosen.targets[0]].mask)]
            others = [i for i in range(len(scene.objects)) if i not in chosen.targets]
            if number % 2:
                shapes += [_shape("ignore", row) for row in _rows(scene.objects[others[0]].mask)]
            name = chosen.text.removeprefix("the ") if is_name else f"What is {chosen.text}?"
            Image.fromarray(scene.image).save(folder / f"{scene.seed}.jpg", quality=95)
            write_content(folder / f"{scene.seed}.json", {"shapes": shapes, "text": [name], "is_sentence": not is_name})


def write_refcoco_m(root: Path, scenes: Mapping[str, Scene]) -> None:
    """Every object of a scene with the sentences that mean it alone, as rows of a Hub data set.

    Args:
        root: data root.
        scenes: by the name of their picture.
    """
    rows = []
    for name, scene in scenes.items():
        samples = []
        for i, item in enumerate(scene.objects):
            sentences = [e.text for e in expressions(scene) if e.targets == (i,)][:SENTENCES_PER_OBJECT]
            rle = rle_of(scene, i)
            mask = {"counts": rle.counts, "size": [SIDE, SIDE]}
            named = {"category": item.name.split()[-1], "supercategory": "shape", "label": item.name}
            samples.append({"id": 10 * scene.seed + i, "image_id": scene.seed, **named, "sentences": sentences,
                            "bbox": xywh(rle), "mask": mask})  # fmt: skip
        rows.append({"image_id": scene.seed, "file_name": name, "samples": samples})
    path = root / "refcoco-m" / "data" / "validation-00000-of-00001.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_mmr(root: Path, scenes: Sequence[Scene]) -> None:
    """Questions about one object and about several of a scene, each object with a mask of its own."""
    entries = []
    for scene in scenes:
        rng = np.random.default_rng([scene.seed, 7])
        asked = []
        for kinds in (("relation", "superlative"), ("multi",)):
            several = [expression for expression in expressions(scene) if expression.kind in kinds]
            asked += [several[i] for i in rng.permutation(len(several))[:1]]
        answers = [[{"segmentation": rle_of(scene, i).to_coco()} for i in expression.targets] for expression in asked]
        entries.append(
            {
                "file_name": f"val2017/{save_picture(root / 'coco' / 'val2017', f'{scene.seed:012d}', scene)}",
                "annotations": [annotation for answer in answers for annotation in answer],
                "questions": [f"Which objects are meant by {expression.text}?" for expression in asked],
                "answers": answers,
                "text_answers": [" and ".join(["{seg}"] * len(answer)) for answer in answers],
            }
        )
    write_content(root / "mmr" / "MMR_val.json", entries)


def write_entityseg(root: Path, scenes: Sequence[Scene]) -> None:
    """Every object of a scene as a mask alone."""
    images: list[Any] = []
    regions: list[Any] = []
    for scene in scenes:
        name = save_picture(root / "entityseg" / "entity_lr", f"{scene.seed:012d}", scene)
        images.append({"id": scene.seed, "file_name": name, "height": SIDE, "width": SIDE})
        for i in range(len(scene.objects)):
            regions.append({"id": len(regions), "image_id": scene.seed, "segmentation": rle_of(scene, i).to_coco()})
    write_content(root / "entityseg" / "entitysef_val_lr.json", {"images": images, "annotations": regions})


def _rows(mask: Any) -> list[list[list[int]]]:
    """A mask as lines from pixel to pixel, one per row run; drawn with their outlines they are the mask again."""
    lines = []
    for y, row in enumerate(np.asarray(mask)):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.view(np.int8), [0]]))).tolist()
        lines += [[[start, y], [stop - 1, y]] for start, stop in zip(edges[::2], edges[1::2], strict=True)]
    return lines


def _shape(label: str, points: list[list[int]]) -> dict[str, Any]:
    return {"label": label, "shape_type": "polygon", "points": points}


@cache
def _codes() -> dict[str, list[list[int]]]:
    return read_object(CODES_FILE, "install the package again")


def seeds(groups: Iterable[Sequence[Scene]]) -> list[int]:
    """Seeds of several groups of scenes, each once."""
    return list(dict.fromkeys(scene.seed for group in groups for scene in group))
