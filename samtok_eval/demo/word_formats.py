"""Writes the demo scenes in the file formats of the benchmarks whose answers are words.

Out, under a data root: `gar_bench/`, `ferret_bench/`, `videorefer_bench/`, `mdvp_bench/`, `dlc_bench/`,
`visual_genome/` (GLaMM) and `osprey/`. File names, keys and ids are those of the benchmarks; every writer is a function
of the scenes alone.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samtok_eval import masks
from samtok_eval.datasets.mdvp import BRIEF, DETAILED, DOMAINS, HAVE, QA, RELATIONS
from samtok_eval.demo.files import rle_of, save_picture, write_content, xywh
from samtok_eval.demo.world.questions import LETTERS, choices, description, relations, side
from samtok_eval.demo.world.scenes import COLORS, SHAPES, SIDE, Scene

CHOICES_PER_SCENE = {"color": 1, "shape": 1, "relation": 1, "ordering": 1}


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
                name = save_picture(root / "gar_bench" / "images", f"vqa_{len(items)}", scene)
                items.append(
                    {
                        "image": f"images/{name}",
                        "mask_rles": [rle_of(scene, i).to_coco() for i in question.regions],
                        "question": question.question,
                        "choices": [
                            f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=False)
                        ],
                        "answer": LETTERS[question.right],
                        "type": kind,
                    }
                )
    write_content(root / "gar_bench" / "GAR-Bench-VQA.json", items)


def write_gar_captions(root: Path, scenes: Sequence[Scene]) -> None:
    """What holds between two objects of a scene, as a description and as the answer to a question."""
    detailed, simple = [], []
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng([scene.seed, 9])
        several = relations(scene)
        subject, predicate, other = several[int(rng.integers(len(several)))]
        rles = [rle_of(scene, i).to_coco() for i in (subject, other)]
        detailed.append(
            {
                "image": f"images/{save_picture(root / 'gar_bench' / 'images', f'caption_detailed_{number}', scene)}",
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
                "image": f"images/{save_picture(root / 'gar_bench' / 'images', f'caption_simple_{number}', scene)}",
            }
        )
    write_content(root / "gar_bench" / "GAR-Bench-Caption-Detailed.json", detailed)
    write_content(root / "gar_bench" / "GAR-Bench-Caption-Simple.json", simple)


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
        x, y, width, height = xywh(rle_of(scene, subject))
        name = save_picture(root / "coco" / "val2017", f"{scene.seed:012d}", scene)
        common = {"question_id": number, "image": name, "category": category}
        corners = [x, y, x + width, y, x + width, y + height, x, y + height]
        annotation = {"bbox": [x, y, width, height], "segmentation": [corners]}
        regions.append({**common, "text": question.format("<region>"), "annotation": annotation})
        box = [round(side / SIDE, 3) for side in (x, y, x + width, y + height)]
        objects = [f"Object {i} : {item.name}" for i, item in enumerate(scene.objects)]
        texts = {"question": question.format(box), "answer": answer, "context": "Objects:\n" + "\n".join(objects)}
        for kind, text in texts.items():
            given[kind].append({**common, "text": text})
    write_content(folder / file, regions)
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
            save_picture(root / "videorefer_bench" / "frames" / video, shown, scene)
            marked[shown] = {"segmentation": rle_of(scene, i).to_coco()}
        rows.append(
            {
                "id": number,
                "video": f"{video}.mp4",
                "caption": f"{description(scene.objects[i]).capitalize()}. It does not move.",
                "frame_idx": frame,
                "annotation": [marked],
            }
        )
    write_content(root / "videorefer_bench" / "VideoRefer-Bench-D.json", rows)


def write_videorefer_questions(root: Path, scenes: Sequence[Scene]) -> None:
    """Choice questions about objects in a frame of a video in which nothing moves."""
    rows: list[Any] = []
    for scene in scenes:
        video = f"DAVIS/JPEGImages/480p/demo_{scene.seed}"
        for frame in ("00000", "00001"):
            save_picture(root / "videorefer_bench" / video, frame, scene)
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
                    # Nothing moves, so that the marks of both frames are the same.
                    "annotation": [
                        {frame: {"segmentation": rle_of(scene, i).to_coco()} for frame in ("0", "1")}
                        for i in question.regions
                    ],
                }
            )
    write_content(root / "videorefer_bench" / "VideoRefer-Bench-Q.json", rows)


def write_mdvp(root: Path, scenes: Sequence[Scene]) -> None:
    """Up to three regions of each scene, dealt out to the domains in turn, with questions of all kinds."""
    folder, regions = root / "mdvp_bench", []
    question = "Please provide a detailed description of each marked region in the image."
    by_domain: dict[str, list[Scene]] = {}
    for number, scene in enumerate(scenes):
        by_domain.setdefault(DOMAINS[number % len(DOMAINS)], []).append(scene)
    for domain, mine in by_domain.items():
        name = f"{domain}_{DETAILED}"
        pictures = []
        for scene in mine:
            said = [f"{description(scene.objects[i]).capitalize()}." for i in _marked(scene)]
            pictures.append((scene, question, _listed(said)))
            for i, right in zip(_marked(scene), said, strict=True):
                path = f"{name}/images/{_mdvp_picture(scene)}.png"
                common = {"question": question, "dataset_name": f"{name}_box"}
                regions.append({**common, "image_path": path, "mask_rle": rle_of(scene, i).to_coco(), "caption": right})
        _write_mdvp(folder / "data", name, pictures)
        for kind, ask in (QA, _asked_of_one), (BRIEF, _asked_of_all), (RELATIONS, _asked_of_relations):
            if domain in HAVE[kind]:
                _write_mdvp(folder / "data", f"{domain}_{kind}", [(scene, *ask(scene)) for scene in mine])
    write_content(folder / "mdvp_caption_mask.json", regions)


def _write_mdvp(data: Path, name: str, pictures: Sequence[tuple[Scene, str, str]]) -> None:
    """Scenes with question and right answer."""
    rows: list[dict[str, Any]] = []
    for number, (scene, question, answer) in enumerate(pictures, start=1):
        picture = save_picture(data / name / "images", _mdvp_picture(scene), scene)
        boxes = [xywh(rle_of(scene, i)) for i in _marked(scene)]
        texts = {"question": question, "dataset_name": f"{name}_box", "image_name": picture}
        rows.append({**texts, "question_id": number, "gt_answers": answer, "bbox": boxes})
    write_content(data / name / f"{name}_box.json", rows)


def _mdvp_picture(scene: Scene) -> str:
    return f"demo_{scene.seed:012d}"


def _marked(scene: Scene) -> range:
    return range(min(3, len(scene.objects)))


def _listed(said: Sequence[str]) -> str:
    return "\n".join(f"<Region {place}>: {right}" for place, right in enumerate(said, start=1))


def _asked_of_one(scene: Scene) -> tuple[str, str]:
    place = scene.seed % len(_marked(scene))
    region = f"<Region {place + 1}>"
    return f"What is marked by {region}?", f"{region} marks {description(scene.objects[place])}."


def _asked_of_all(scene: Scene) -> tuple[str, str]:
    question = "Please provide a brief description of each marked region in the image."
    return question, _listed([scene.objects[i].name for i in _marked(scene)])


def _asked_of_relations(scene: Scene) -> tuple[str, str]:
    said = []
    for first, second in itertools.pairwise(_marked(scene)):
        one, other = scene.objects[first], scene.objects[second]
        lies = f"The {one.name} is {side(one, other)} the {other.name}."
        said.append(f"<Region {first + 1}><Region {second + 1}>: {lies}")
    return "Please analyze the relationship between all marked regions in the image.", "\n".join(said)


def write_dlc(root: Path, scenes: Sequence[Scene]) -> None:
    """Region captions judged by questions: one region per scene."""
    images, regions = [], []
    names: dict[str, str] = {}
    questions: dict[str, list[dict[str, Any]]] = {}
    for scene in scenes:
        rng = np.random.default_rng([scene.seed, 4])
        i = int(rng.integers(len(scene.objects)))
        item, rle = scene.objects[i], rle_of(scene, i)
        file = save_picture(root / "dlc_bench" / "images", f"demo_{scene.seed:012d}", scene)
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
                "bbox": xywh(rle),
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
    write_content(root / "dlc_bench" / "annotations.json", {"images": images, "annotations": regions,
                                                     "categories": categories})  # fmt: skip
    write_content(root / "dlc_bench" / "class_names.json", names)
    write_content(root / "dlc_bench" / "qa.json", questions)


def write_visual_genome(root: Path, scenes: Sequence[Scene]) -> None:
    """Captions of boxes, two per scene; every region is also an entry among the pictures, as in GLaMM's file."""
    images: list[Any] = []
    regions: list[Any] = []
    for scene in scenes:
        rng = np.random.default_rng([scene.seed, 8])
        file = save_picture(root / "visual_genome" / "images", str(scene.seed), scene)
        for i in rng.permutation(len(scene.objects))[:2].tolist():
            number, rle = len(regions) + 1, rle_of(scene, i)
            images.append({"id": number, "file_name": file, "height": SIDE, "width": SIDE})
            regions.append(
                {
                    "id": number,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": xywh(rle),
                    "area": masks.area(rle),
                    "iscrowd": 0,
                    "caption": description(scene.objects[i]),
                }
            )
    categories = [{"id": 1, "name": "object"}]
    whole = {"images": images, "annotations": regions, "categories": categories}
    write_content(root / "visual_genome" / "test_caption.json", whole)


def write_named_regions(root: Path, splits: dict[str, Sequence[Scene]]) -> None:
    """Class names of two objects per scene, joined by LVIS's underscore or by the colon of PACO's parts."""
    for split, scenes in splits.items():
        entries: list[Any] = []
        for scene in scenes:
            rng = np.random.default_rng([scene.seed, 10])
            shown = [(scene.objects[i], rle_of(scene, i)) for i in rng.permutation(len(scene.objects))[:2].tolist()]
            joint = "_" if split == "lvis" else ":"
            entries.append(
                {
                    "file_name": save_picture(root / "osprey" / "images", f"{scene.seed:012d}", scene),
                    "height": SIDE,
                    "width": SIDE,
                    "categories": [f"{item.color}{joint}{item.shape}" for item, _ in shown],
                    "annotations": [{"segmentation": rle.to_coco()} for _, rle in shown],
                }
            )
        write_content(root / "osprey" / f"{split}_val_1k_category.json", entries)


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
