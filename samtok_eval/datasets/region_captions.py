"""Questions about regions that are answered in words, benchmark by benchmark.

In: a data root and the wording of the question. Out: one `Sample` per question, whose target holds what is right, and
what a judge is given. Prompts and zoomed second views are those of SAMTok's scripts, first of all
`projects/samtok/evaluation/qwen3vl/qwen3vl_dam_infer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from samtok_eval.datasets.dlc import read_dlc
from samtok_eval.datasets.ferret import DESCRIPTION, REASONING, REGION, Questions, read_ferret
from samtok_eval.datasets.gar import DETAILED, SIMPLE, read_related, with_regions
from samtok_eval.datasets.mdvp import BRIEF, QA, RELATIONS, read_mdvp, read_mdvp_questions
from samtok_eval.datasets.refer import Expression, each_expression
from samtok_eval.datasets.videorefer import read_videorefer
from samtok_eval.datasets.visual_genome import read_visual_genome
from samtok_eval.masks import Rle
from samtok_eval.prompts import ANSWER_ABOUT_REGION, CAPTION_REGION, CAPTION_REGION_ZOOM, Prompt
from samtok_eval.regions import ZoomRule
from samtok_eval.sample import CaptionTarget, Frame, Part, Region, Sample, Turn

ZOOM = ZoomRule(largest_share=0.3)
ZOOM_LESS = ZoomRule(largest_share=0.2)
"""Of SAMTok's scripts for VideoRefer-Bench-D and MDVP-Bench."""
REFCOCOG, VG, DLC = "refcocog-val", "vg", "dlc"
GAR_DETAIL, GAR_SIMPLE = "gar-detail", "gar-simple"
FERRET, FERRET_REASON = "ferret", "ferret-reason"
VIDEOREFER, VIDEOREFER_FRAMES, MDVP = "videorefer", "videorefer-frames", "mdvp"
MDVP_QUESTIONS = {"mdvp-qa": QA, "mdvp-brief": BRIEF, "mdvp-relations": RELATIONS}
"""Splits of MDVP-Bench that are asked about all regions of a picture at once, and their kinds of questions."""


def _refcocog(root: Path, prompt: Prompt, limit: int | None) -> list[Sample]:
    images = root / "coco" / "train2014"
    by_region: dict[int, list[Expression]] = {}
    folder = root / "refcocog"
    for said in each_expression(folder / "refs(umd).p", folder / "instances.json", images, "val", objects=limit):
        by_region.setdefault(int(said.annotations[0]["id"]), []).append(said)
    return [
        Sample(
            str(annotation),
            said[0].image,
            _described(said[0].instances[0], prompt, ZOOM),
            CaptionTarget(labels=(said[0].category,), texts=tuple(one.sentence for one in said), benchmark=REFCOCOG),
        )
        for annotation, said in by_region.items()
    ]


def _visual_genome(root: Path, prompt: Prompt, limit: int | None) -> list[Sample]:
    return [
        Sample(r.id, r.image, _described(r.region, prompt, ZOOM), CaptionTarget(texts=(r.caption,), benchmark=VG))
        for r in read_visual_genome(root / "visual_genome", limit)
    ]


def _dlc(root: Path, prompt: Prompt, limit: int | None) -> list[Sample]:
    return [
        Sample(
            r.id,
            r.image,
            _described(r.region, prompt, ZOOM),
            CaptionTarget(labels=(r.name,), questions=r.questions, benchmark=DLC),
            phrase=r.name,
        )
        for r in read_dlc(root / "dlc_bench", limit)
    ]


def _gar_detail(root: Path, prompt: Prompt, limit: int | None) -> list[Sample]:
    samples = []
    for r in read_related(root / "gar_bench", DETAILED, limit):
        parts = prompt.parts(subject=Region(r.regions[0]), object=Region(r.regions[1]))
        target = CaptionTarget(benchmark=GAR_DETAIL, words=r.words, shown=r.regions)
        samples.append(Sample(r.image.id, r.image, (Turn("user", parts),), target, " ".join(r.words.values())))
    return samples


def _gar_simple(root: Path, prompt: Prompt, limit: int | None) -> list[Sample]:
    samples = []
    for r in read_related(root / "gar_bench", SIMPLE, limit):
        parts = with_regions(prompt(question=r.question), r.regions, r.image.id)
        target = CaptionTarget(benchmark=GAR_SIMPLE, words=r.words, shown=r.regions)
        samples.append(Sample(r.image.id, r.image, (Turn("user", parts),), target, r.question))
    return samples


def _ferret(
    root: Path, prompt: Prompt, limit: int | None, name: str = FERRET, part: Questions = DESCRIPTION
) -> list[Sample]:
    samples = []
    for r in read_ferret(root / "ferret_bench", root / "coco" / "val2017", part, limit):
        region = Region(r.region)
        before, _, after = r.question.partition(REGION)
        theirs = (before, region, after) if prompt is ANSWER_ABOUT_REGION else prompt.parts(region=region)
        target = CaptionTarget(benchmark=name, words=r.words)
        samples.append(Sample(r.id, r.image, (Turn("user", theirs),), target, r.question))
    return samples


def _videorefer(root: Path, prompt: Prompt, limit: int | None) -> list[Sample]:
    return [
        Sample(
            r.id,
            r.frames[0].image,
            _described(r.frames[0].region, prompt, ZOOM_LESS),
            CaptionTarget(benchmark=VIDEOREFER, words={"caption": r.caption}),
        )
        for r in read_videorefer(root / "videorefer_bench", limit)
    ]


def _videorefer_frames(root: Path, prompt: Prompt, limit: int | None) -> list[Sample]:
    """Frames as pictures, then the question with the object's mask words in each of them."""
    before, _, after = prompt(regions=REGION).partition(REGION)
    samples = []
    for r in read_videorefer(root / "videorefer_bench", limit, several=True):
        further = [(Frame(frame.image), frame.region) for frame in r.frames[1:]]
        regions = [Region(r.frames[0].region), *(Region(region, frame) for frame, region in further)]
        listed = [part for region in regions for part in (", ", region)][1:]
        turn = Turn("user", (*(frame for frame, _ in further), before, *listed, after))
        target = CaptionTarget(benchmark=VIDEOREFER_FRAMES, words={"caption": r.caption})
        samples.append(Sample(r.id, r.frames[0].image, (turn,), target))
    return samples


def _mdvp(root: Path, prompt: Prompt, limit: int | None) -> list[Sample]:
    samples = []
    for r in read_mdvp(root / "mdvp_bench", limit):
        words = {"domain": r.domain, "number": str(r.number), "question": r.question, "caption": r.caption}
        target = CaptionTarget(benchmark=MDVP, words=words, box=r.box)
        samples.append(Sample(r.id, r.image, _described(r.region, prompt, ZOOM_LESS), target))
    return samples


def _mdvp_questions(name: str) -> Callable[[Path, Prompt, int | None], list[Sample]]:
    """A reader of questions of one kind: names and mask words of all regions, then the question."""

    def read(root: Path, prompt: Prompt, limit: int | None) -> list[Sample]:
        samples = []
        for r in read_mdvp_questions(root / "mdvp_bench", MDVP_QUESTIONS[name], limit):
            before, _, after = prompt(regions=REGION, question=r.question).partition(REGION)
            listed: list[Part] = []
            for number, region in enumerate(r.regions, start=1):
                listed += [before + f"<Region {number}>: ", Region(region)]
                before = "\n"
            words = {"domain": r.domain, "number": str(r.number), "question": r.question, "answer": r.answer}
            target = CaptionTarget(benchmark=name, words=words, boxes=r.boxes)
            samples.append(Sample(r.image.id, r.image, (Turn("user", (*listed, after)),), target, r.question))
        return samples

    return read


def _described(region: Rle, prompt: Prompt, zoom: ZoomRule) -> tuple[Turn, ...]:
    """The question about one region, with a second view of a small one unless the prompt is the plain one."""
    view = zoom.view(region) if prompt is CAPTION_REGION_ZOOM else None
    parts: tuple[Part, ...] = CAPTION_REGION.parts(region=Region(region))
    if view is not None:
        parts = CAPTION_REGION_ZOOM.parts(region=Region(region), view=view, region_in_view=Region(region, view))
    return (Turn("user", parts),)


READERS: Mapping[str, Callable[[Path, Prompt, int | None], list[Sample]]] = {
    REFCOCOG: _refcocog,
    VG: _visual_genome,
    DLC: _dlc,
    GAR_DETAIL: _gar_detail,
    GAR_SIMPLE: _gar_simple,
    FERRET: _ferret,
    FERRET_REASON: lambda root, prompt, limit: _ferret(root, prompt, limit, FERRET_REASON, REASONING),
    VIDEOREFER: _videorefer,
    VIDEOREFER_FRAMES: _videorefer_frames,
    MDVP: _mdvp,
    **{name: _mdvp_questions(name) for name in MDVP_QUESTIONS},
}
