"""Writes the demo scenes in the file formats of the benchmarks beyond referring expressions.

Out, under a data root: `gcg/` (GLaMM), `psg/` with panoptic PNGs (OpenPSG), `segllm/` (multi-round), `gar_bench/`,
`dlc_bench/`, `visual_genome/` (GLaMM), `osprey/`, `grounding_suite/`, `reasonseg/` (LISA), `mmr/`, `refcoco-m/` and
`entityseg/`.
File names, keys and ids are those of the benchmarks; every writer is a function of the scenes alone.
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
from samtok_eval.demo.world import language
from samtok_eval.demo.world.questions import (
    LETTERS,
    PREDICATES,
    caption,
    choices,
    conversations,
    description,
    relations,
    sentences,
)
from samtok_eval.demo.world.scenes import COLORS, SHAPES, SIDE, Scene, expressions
from samtok_eval.files import read_object
from samtok_eval.mask_tokens import Codes
from samtok_eval.masks import Rle
from samtok_eval.metrics.mdvp import DOMAINS

CODES_FILE = Path(__file__).parent / "codes.json"
"""Codes of the shipped mask tokenizer for the objects of the multi-round scenes, by scene seed; the published files
hold the published tokenizer's in the same way. Written by `python -m samtok_eval.demo.codes`."""
MULTI_ROUND = ("mr_refcoco", "mr_refcoco+", "mr_refcocog", "mr_paco")
CONVERSATIONS_PER_SCENE = 2
CHOICES_PER_SCENE = {"color": 1, "shape": 1, "relation": 1, "ordering": 1}
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
            name = _picture(root / "gcg" / "images", f"demo_{scene.seed}", scene)
            images.append({"id": Path(name).stem, "file_name": name, "height": SIDE, "width": SIDE})
            text, phrases = caption(scene)
            for _, i in phrases:
                rle = _rle(scene, i)
                regions.append(
                    {
                        "id": len(regions) + 1,
                        "image_id": Path(name).stem,
                        "category_id": 1,
                        "segmentation": rle.to_coco(),
                        "area": masks.area(rle),
                        "bbox": _xywh(rle),
                        "iscrowd": 0,
                    }
                )
            labels = [phrase for phrase, _ in phrases]
            captions.append({"id": len(captions) + 1, "image_id": Path(name).stem, "caption": text, "labels": labels})
        categories = [{"id": 1, "name": "object"}]
        whole = {"images": images, "annotations": regions, "categories": categories}
        _write(root / "gcg" / f"{split}_gcg_coco_mask_gt.json", whole)
        _write(root / "gcg" / f"{split}_gcg_coco_caption_gt.json", {"images": images, "annotations": captions})


def write_psg(root: Path, train: Sequence[Scene], test: Sequence[Scene]) -> None:
    """Panoptic scene graphs: `psg.json`, the test pictures again as `psg_val.json`, pictures and panoptic PNGs."""
    things = [f"{color} {shape}" for color in COLORS for shape in SHAPES]
    rows = []
    for scene in [*train, *test]:
        name = _picture(root / "coco" / "val2017", f"{scene.seed:012d}", scene)
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
            boxes.append({"bbox": list(masks.box(_rle(scene, i)) or (0, 0, 0, 0)), "bbox_mode": 0,
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
    _write(root / "psg" / "psg.json", content)
    _write(root / "psg" / "psg_val.json", _as_coco_panoptic(content, rows[len(train) :]))


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
            picture = _picture(root / "segllm" / "images", f"{scene.seed:012d}", scene)
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
                            "target_masks": [_rle(scene, target).to_coco()],
                        }
                    )
                    history = [*history, {"from": "gpt", "value": answer}]
        _write(root / "segllm" / f"{name}_val_sampled.json", rounds)


def write_gar(root: Path, scenes: Sequence[Scene]) -> None:
    """Choice questions about regions."""
    items: list[Any] = []
    for scene in scenes:
        rng = np.random.default_rng([scene.seed, 3])
        asked = choices(scene, rng)
        for kind, count in CHOICES_PER_SCENE.items():
            several = [question for question in asked if question.kind == kind]
            for k in rng.permutation(len(several))[:count]:
                question = several[k]
                name = _picture(root / "gar_bench" / "images", f"vqa_{len(items)}", scene)
                items.append(
                    {
                        "image": f"images/{name}",
                        "mask_rles": [_rle(scene, i).to_coco() for i in question.regions],
                        "question": question.question,
                        "choices": [
                            f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=False)
                        ],
                        "answer": LETTERS[question.right],
                        "type": kind,
                    }
                )
    _write(root / "gar_bench" / "GAR-Bench-VQA.json", items)


def write_gar_captions(root: Path, scenes: Sequence[Scene]) -> None:
    """What holds between two objects of a scene, as a description and as the answer to a question."""
    detailed, simple = [], []
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng([scene.seed, 9])
        several = relations(scene)
        subject, predicate, other = several[int(rng.integers(len(several)))]
        rles = [_rle(scene, i).to_coco() for i in (subject, other)]
        detailed.append(
            {
                "image": f"images/{_picture(root / 'gar_bench' / 'images', f'caption_detailed_{number}', scene)}",
                "subject_name": scene.objects[subject].name,
                "object_name": scene.objects[other].name,
                "predicate_name": predicate,
                "mask_rles": rles,
            }
        )
        simple.append(
            {
                "mask_rles": rles,
                "question": "What is the relationship between <Prompt0> and <Prompt1>?",
                "answer": f"<Prompt0> is {predicate} <Prompt1>.",
                "image": f"images/{_picture(root / 'gar_bench' / 'images', f'caption_simple_{number}', scene)}",
            }
        )
    _write(root / "gar_bench" / "GAR-Bench-Caption-Detailed.json", detailed)
    _write(root / "gar_bench" / "GAR-Bench-Caption-Simple.json", simple)


def write_ferret(root: Path, scenes: Sequence[Scene]) -> None:
    """A box of each scene, with what is around it, and what it is that lies so."""
    described, reasoned = [], []
    for number, scene in enumerate(scenes):
        subject, predicate, other = relations(scene)[0]
        name, thing = description(scene.objects[subject]), scene.objects[other].name
        question = "What is the interaction between the object {} and its surroundings?"
        described.append((number, scene, subject, question, f"It is {name}, {predicate} the {thing}."))
        question = "What is the object {} to the " + f"{thing}?"
        reasoned.append((number, scene, subject, question, f"It is {predicate} the {thing}."))
    _write_ferret(root, "box_refer_caption.json", "refer_desc", described)
    _write_ferret(root, "box_refer_reason.json", "refer_reason", reasoned)


def _write_ferret(root: Path, file: str, category: str, questions: Sequence[tuple[int, Scene, int, str, str]]) -> None:
    """Questions with a place for the region, and right answers, about objects of scenes."""
    folder = root / "ferret_bench"
    regions: list[Any] = []
    given: dict[str, list[dict[str, Any]]] = {"question": [], "answer": [], "context": []}
    for number, scene, subject, question, answer in questions:
        x, y, width, height = _xywh(_rle(scene, subject))
        name = _picture(root / "coco" / "val2017", f"{scene.seed:012d}", scene)
        common = {"question_id": number, "image": name, "category": category}
        corners = [x, y, x + width, y, x + width, y + height, x, y + height]
        annotation = {"bbox": [x, y, width, height], "segmentation": [corners]}
        regions.append({**common, "text": question.format("<region>"), "annotation": annotation})
        box = [round(side / SIDE, 3) for side in (x, y, x + width, y + height)]
        objects = [f"Object {i} : {item.name}" for i, item in enumerate(scene.objects)]
        texts = {"question": question.format(box), "answer": answer, "context": "Objects:\n" + "\n".join(objects)}
        for kind, text in texts.items():
            given[kind].append({**common, "text": text})
    _write(folder / file, regions)
    for kind, rows in given.items():
        path = folder / "ferret_gpt4_data" / category / f"{kind}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_videorefer(root: Path, scenes: Sequence[Scene]) -> None:
    """One object of each scene, which stands for two frames of a video."""
    rows = []
    for number, scene in enumerate(scenes):
        video, frame = f"demo_{scene.seed}", str(number % 7)
        i = int(np.random.default_rng([scene.seed, 10]).integers(len(scene.objects)))
        marked = {}
        # Nothing moves, so that a later frame is the same picture.
        for shown in (frame, str(number % 7 + 8)):
            _picture(root / "videorefer_bench" / "frames" / video, shown, scene)
            marked[shown] = {"segmentation": _rle(scene, i).to_coco()}
        rows.append(
            {
                "id": number,
                "video": f"{video}.mp4",
                "caption": f"{description(scene.objects[i]).capitalize()}. It does not move.",
                "frame_idx": frame,
                "annotation": [marked],
            }
        )
    _write(root / "videorefer_bench" / "VideoRefer-Bench-D.json", rows)


def write_videorefer_questions(root: Path, scenes: Sequence[Scene]) -> None:
    """Choice questions about objects in a frame of a video in which nothing moves."""
    rows: list[Any] = []
    for scene in scenes:
        video = f"DAVIS/JPEGImages/480p/demo_{scene.seed}"
        for frame in ("00000", "00001"):
            _picture(root / "videorefer_bench" / video, frame, scene)
        for question in choices(scene, np.random.default_rng([scene.seed, 11]))[:2]:
            options = [f"({letter}) {said}" for letter, said in zip(LETTERS, question.options, strict=False)]
            asked = question.question
            for place in range(len(question.regions)):
                asked = asked.replace(f"<Prompt{place}>", f"<object{place}><region>", 1)
            if asked.count("<region>") != len(question.regions) or "<Prompt" in asked + "".join(options):
                continue
            rows.append(
                {
                    "id": len(rows),
                    "video": video,
                    "Question": asked,
                    "type": "Relationship Questions" if len(question.regions) > 1 else "Basic Questions",
                    "options": options,
                    "Answer": options[question.right],
                    "frame_idx": "1",
                    "annotation": [{"1": {"segmentation": _rle(scene, i).to_coco()}} for i in question.regions],
                }
            )
    _write(root / "videorefer_bench" / "VideoRefer-Bench-Q.json", rows)


def write_mdvp(root: Path, scenes: Sequence[Scene]) -> None:
    """Up to three regions of each scene, dealt out to the domains in turn."""
    folder, regions = root / "mdvp_bench", []
    question = "Please provide a detailed description of each marked region in the image."
    by_domain: dict[str, list[Scene]] = {}
    for number, scene in enumerate(scenes):
        by_domain.setdefault(list(DOMAINS)[number % len(DOMAINS)], []).append(scene)
    for domain, mine in by_domain.items():
        common, pictures = {"question": question, "dataset_name": f"{domain}_box"}, []
        for number, scene in enumerate(mine, start=1):
            name = _picture(folder / "data" / domain / "images", f"demo_{scene.seed:012d}", scene)
            shown = range(min(3, len(scene.objects)))
            said = [f"{description(scene.objects[i]).capitalize()}." for i in shown]
            texts = "\n".join(f"<Region {place}>: {right}" for place, right in enumerate(said, start=1))
            boxes = [_xywh(_rle(scene, i)) for i in shown]
            pictures.append({**common, "image_name": name, "question_id": number, "gt_answers": texts, "bbox": boxes})
            for i, right in zip(shown, said, strict=True):
                rle, path = _rle(scene, i).to_coco(), f"{domain}/images/{name}"
                regions.append({**common, "image_path": path, "mask_rle": rle, "caption": right})
        _write(folder / "data" / domain / f"{domain}_box.json", pictures)
    _write(folder / "mdvp_caption_mask.json", regions)


def write_dlc(root: Path, scenes: Sequence[Scene]) -> None:
    """Region captions judged by questions: one region per scene."""
    images, regions = [], []
    names: dict[str, str] = {}
    questions: dict[str, list[dict[str, Any]]] = {}
    for scene in scenes:
        rng = np.random.default_rng([scene.seed, 4])
        i = int(rng.integers(len(scene.objects)))
        item, rle = scene.objects[i], _rle(scene, i)
        file = _picture(root / "dlc_bench" / "images", f"demo_{scene.seed:012d}", scene)
        region = str(scene.seed * 10 + i + 1)
        images.append({"id": scene.seed, "file_name": file, "height": SIDE, "width": SIDE})
        regions.append(
            {
                "id": int(region),
                "image_id": scene.seed,
                "category_id": SHAPES.index(item.shape) + 1,
                # The published file keeps each run-length encoding as the text of a Python dictionary.
                "segmentation": str(rle.to_coco()),
                "area": masks.area(rle),
                "bbox": _xywh(rle),
                "iscrowd": 0,
            }
        )
        names[region] = item.shape
        absent = [color for color in COLORS if color != item.color]
        questions[region] = [
            _about("color", item.shape, item.color),
            _about("size", item.shape, item.size),
            *(_never(str(absent[k]), item.shape) for k in rng.permutation(len(absent))[:2]),
        ]
    categories = [{"id": k + 1, "name": shape} for k, shape in enumerate(SHAPES)]
    _write(root / "dlc_bench" / "annotations.json", {"images": images, "annotations": regions,
                                                     "categories": categories})  # fmt: skip
    _write(root / "dlc_bench" / "class_names.json", names)
    _write(root / "dlc_bench" / "qa.json", questions)


def write_visual_genome(root: Path, scenes: Sequence[Scene]) -> None:
    """Captions of boxes, two per scene; every region is also an entry among the pictures, as in GLaMM's file."""
    images: list[Any] = []
    regions: list[Any] = []
    for scene in scenes:
        rng = np.random.default_rng([scene.seed, 8])
        file = _picture(root / "visual_genome" / "images", str(scene.seed), scene)
        for i in rng.permutation(len(scene.objects))[:2].tolist():
            number, rle = len(regions) + 1, _rle(scene, i)
            images.append({"id": number, "file_name": file, "height": SIDE, "width": SIDE})
            regions.append(
                {
                    "id": number,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": _xywh(rle),
                    "area": masks.area(rle),
                    "iscrowd": 0,
                    "caption": description(scene.objects[i]),
                }
            )
    categories = [{"id": 1, "name": "object"}]
    whole = {"images": images, "annotations": regions, "categories": categories}
    _write(root / "visual_genome" / "test_caption.json", whole)


def write_named_regions(root: Path, splits: dict[str, Sequence[Scene]]) -> None:
    """Class names of two objects per scene, joined by LVIS's underscore or by the colon of PACO's parts."""
    for split, scenes in splits.items():
        entries: list[Any] = []
        for scene in scenes:
            rng = np.random.default_rng([scene.seed, 10])
            shown = [(scene.objects[i], _rle(scene, i)) for i in rng.permutation(len(scene.objects))[:2].tolist()]
            joint = "_" if split == "lvis" else ":"
            entries.append(
                {
                    "file_name": _picture(root / "osprey" / "images", f"{scene.seed:012d}", scene),
                    "height": SIDE,
                    "width": SIDE,
                    "categories": [f"{item.color}{joint}{item.shape}" for item, _ in shown],
                    "annotations": [{"segmentation": rle.to_coco()} for _, rle in shown],
                }
            )
        _write(root / "osprey" / f"{split}_val_1k_category.json", entries)


def write_grounding_suite(root: Path, scenes: Sequence[Scene]) -> None:
    """Sentences that describe one object or several."""
    rows: list[Any] = []
    for scene in scenes:
        rng = np.random.default_rng([scene.seed, 5])
        several = sentences(scene)
        name = _picture(root / "grounding_suite" / "unlabeled2017", f"{scene.seed:012d}", scene)
        for k in rng.permutation(len(several))[:SENTENCES_PER_SCENE]:
            sentence = several[k]
            united = masks.union([_rle(scene, i) for i in sentence.targets], SIDE, SIDE)
            x, y, width, height = _xywh(united)
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
            _write(folder / f"{scene.seed}.json", {"shapes": shapes, "text": [name], "is_sentence": not is_name})


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
            rle = _rle(scene, i)
            mask = {"counts": rle.counts, "size": [SIDE, SIDE]}
            named = {"category": item.name.split()[-1], "supercategory": "shape", "label": item.name}
            samples.append({"id": 10 * scene.seed + i, "image_id": scene.seed, **named, "sentences": sentences,
                            "bbox": _xywh(rle), "mask": mask})  # fmt: skip
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
        answers = [[{"segmentation": _rle(scene, i).to_coco()} for i in expression.targets] for expression in asked]
        entries.append(
            {
                "file_name": f"val2017/{_picture(root / 'coco' / 'val2017', f'{scene.seed:012d}', scene)}",
                "annotations": [annotation for answer in answers for annotation in answer],
                "questions": [f"Which objects are meant by {expression.text}?" for expression in asked],
                "answers": answers,
                "text_answers": [" and ".join(["{seg}"] * len(answer)) for answer in answers],
            }
        )
    _write(root / "mmr" / "MMR_val.json", entries)


def write_entityseg(root: Path, scenes: Sequence[Scene]) -> None:
    """Every object of a scene as a mask alone."""
    images: list[Any] = []
    regions: list[Any] = []
    for scene in scenes:
        name = _picture(root / "entityseg" / "entity_lr", f"{scene.seed:012d}", scene)
        images.append({"id": scene.seed, "file_name": name, "height": SIDE, "width": SIDE})
        for i in range(len(scene.objects)):
            regions.append({"id": len(regions), "image_id": scene.seed, "segmentation": _rle(scene, i).to_coco()})
    _write(root / "entityseg" / "entitysef_val_lr.json", {"images": images, "annotations": regions})


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


def _about(word: str, name: str, value: str) -> dict[str, Any]:
    return {
        "question": "Which statement fits the description?",
        "choices": [
            [f"It does not mention the {word} of the {name}.", 0],
            [f"It says that the {name} is {value}.", 1],
            [f"It gives the {name} a {word} other than {value}.", -1],
        ],
        "type": "positive",
    }


def _never(color: str, name: str) -> dict[str, Any]:
    return {
        "question": "Which statement fits the description?",
        "choices": [[f"It says that the {name} is {color}.", -1], [f"It does not say that the {name} is {color}.", 1]],
        "type": "negative",
    }


def _picture(folder: Path, stem: str, scene: Scene) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.png"
    if not path.exists():
        path.write_bytes(scene.png)
    return path.name


def _rle(scene: Scene, index: int) -> Rle:
    return masks.encode(scene.objects[index].mask)


def _xywh(rle: Rle) -> list[int]:
    x1, y1, x2, y2 = masks.box(rle) or (0, 0, -1, -1)
    return [x1, y1, x2 - x1 + 1, y2 - y1 + 1]


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def seeds(groups: Iterable[Sequence[Scene]]) -> list[int]:
    """Seeds of several groups of scenes, each once."""
    return list(dict.fromkeys(scene.seed for group in groups for scene in group))
