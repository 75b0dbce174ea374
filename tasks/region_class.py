"""Region classification: the model reads a mask and names what it covers, in its own words.

Splits: `lvis` and `paco`, Osprey's samples of LVIS and PACO (arXiv 2312.10032). Official scorer:
`osprey/eval/lvis_paco_eval.py`, cosine of sentence embeddings and overlap of words. The released SAMTok code has no
script for it; here the mask words of a region stand where Osprey's own marks do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from samtok_eval.datasets.osprey import read_named
from samtok_eval.mask_tokens import Codes
from samtok_eval.metrics.class_names import named, semantic_iou
from samtok_eval.metrics.gcg import read_paired
from samtok_eval.metrics.judges import Judges
from samtok_eval.metrics.ratio import Metric, mean_of
from samtok_eval.metrics.referring import clusters
from samtok_eval.passages import Answer, Passage, in_words, passage, plain, question
from samtok_eval.prediction import AnswerStatus, Prediction, Record
from samtok_eval.prompts import NAME_REGION
from samtok_eval.protocol import Protocol
from samtok_eval.sample import Region, Sample, Target, Turn
from samtok_eval.task import Task, TaskMetadata

SIMILARITY = "semantic_similarity"
FILES = {"lvis": "lvis_val_1k_category.json", "paco": "paco_val_1k_category.json"}
"""Osprey's file of each split."""


@dataclass(frozen=True)
class NameRules:
    """How answers are read and failures are scored."""

    cleaned: bool
    """Whether reasoning, mask words and other marks leave the answer; otherwise it is read as it came."""
    empty_is_zero: bool
    """Whether nothing is worth nothing; the encoder gives an empty text some likeness with any other."""


class RegionClass(Task):
    """Semantic similarity and semantic IoU of names."""

    metadata = TaskMetadata(
        name="region_class",
        title="Region classification (LVIS, PACO)",
        version=1,
        paper="arXiv 2312.10032",
        data="https://huggingface.co/datasets/sunshine-lwt/Osprey-ValData",
        licence="LVIS: CC BY 4.0; PACO: MIT; COCO terms for images",
        splits=("lvis", "paco"),
        default_split="lvis",
        sizes={"lvis": "4,004 regions of 1,000 pictures", "paco": "4,263 regions of 1,000 pictures"},
        files=("osprey/lvis_val_1k_category.json", "osprey/paco_val_1k_category.json", "osprey/images"),
        main_metric="semantic_iou",
        metrics=(SIMILARITY, "semantic_iou"),
        max_new_tokens=64,
    )
    prompt = NAME_REGION
    answered_in_words = True
    protocols = (
        Protocol("strict", policy="default", missing_second="skip", errors_fail=True, rules=NameRules(True, True)),
        Protocol("official", policy="default", missing_second="skip", errors_fail=True, rules=NameRules(False, False)),
    )

    def read(self, data_root: Path, split: str, limit: int | None = None) -> list[Sample]:
        """One sample per region."""
        folder = data_root / "osprey"
        return [
            Sample(
                id=region.id,
                image=region.image,
                turns=(Turn("user", NAME_REGION.parts(region=Region(region.region))),),
                target=Target(texts=(region.category,)),
                phrase=region.category,
            )
            for region in read_named(folder / FILES[split], folder / "images", limit)
        ]

    def answer(self, sample: Sample, codes: Sequence[Codes]) -> str:
        """The name of the class."""
        return sample.target.texts[0]

    def guess(self, sample: Sample, samples: Sequence[Sample], rng: np.random.Generator) -> str:
        """The class of a region drawn from all, as often of each class as the split has it."""
        return samples[int(rng.integers(len(samples)))].target.texts[0]

    def status(self, text: str) -> AnswerStatus:
        """`invalid` where no word is left."""
        return "ok" if named(read_paired(text).caption).split() else "invalid"

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol[NameRules]) -> Record:
        """The overlap of words; similarity is added by `score_all`."""
        status = "missing" if prediction is None else prediction.status
        return Record(
            id=sample.id,
            image_id=sample.image.id,
            protocol=protocol.name,
            status=status,
            failed=protocol.errors_fail and status in ("missing", "error"),
            phrase=sample.phrase,
            values={"semantic_iou": semantic_iou(_name(prediction, protocol.rules), sample.target.texts[0])},
            slices=sample.slices,
        )

    def score_all(
        self,
        samples: Sequence[Sample],
        answers: Mapping[str, Prediction],
        protocol: Protocol[NameRules],
        judges: Judges,
    ) -> Sequence[Record]:
        """Records with the similarity of names where the sentence encoder is at hand."""
        records = super().score_all(samples, answers, protocol, judges)
        encoder = judges.sentences
        if encoder is None:
            return records
        names = [_name(answers.get(sample.id), protocol.rules) for sample in samples]
        encoder.embed([*names, *(sample.target.texts[0] for sample in samples)])
        # Rounding of 32-bit floats takes the cosine of equal names above 1.
        alike = [
            0.0
            if protocol.rules.empty_is_zero and not name.split()
            else min(encoder(name, sample.target.texts[0]), 1.0)
            for name, sample in zip(names, samples, strict=True)
        ]
        return [
            replace(record, values={**record.values, SIMILARITY: value})
            for record, value in zip(records, alike, strict=True)
        ]

    def passages(
        self, sample: Sample, answers: Sequence[Answer], record: Record, protocol: Protocol[NameRules]
    ) -> list[Passage]:
        """The question, the class, the name that each answer gives the region, and how alike that of this run is."""
        likeness = [("words in common", "semantic_iou"), ("similarity of sentences", SIMILARITY)]
        known = [f"{what} {100 * record.values[name]:.1f}" for what, name in likeness if name in record.values]
        found = question(sample) + plain("class", *sample.target.texts)
        for answer in answers:
            found += passage(answer.title, [in_words(answer, self.layout)])
            found += plain("compared as", _name(answer.prediction, protocol.rules).strip()) if answer.text else []
            # The record is that of this run, not of the baseline.
            found += plain("likeness", *known) if answer.side == "prediction" else []
        return found

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """Means over regions."""
        names = clusters(records)
        found: dict[str, Metric] = {}
        if records and all(SIMILARITY in record.values for record in records):
            found[SIMILARITY] = mean_of([record.values[SIMILARITY] for record in records], names)
        found["semantic_iou"] = mean_of([record.values["semantic_iou"] for record in records], names)
        return found


def _name(prediction: Prediction | None, rules: NameRules) -> str:
    """The name that is compared; empty where there is no answer."""
    text = "" if prediction is None or prediction.status == "error" else prediction.text or ""
    return named(read_paired(text).caption if rules.cleaned else text)


TASKS = (RegionClass(),)
