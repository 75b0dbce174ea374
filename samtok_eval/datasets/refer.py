"""Readers of the refer family: RefCOCO, RefCOCO+, RefCOCOg (`refs(*.p)`) and gRefCOCO (`grefs(unc).json`).

In: `instances.json` and a refs file, in the formats of lichengunc/refer and henghuiding/gRefCOCO. Out: one `Expression`
per sentence, in file order. A gRefCOCO reference names a list of annotations, `[-1]` when nothing is meant. RefCOCO,
RefCOCO+ and RefCOCOg are also read from a Hub data set (`refer_hub`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from samtok_eval import masks
from samtok_eval.datasets.pickles import read_plain_pickle
from samtok_eval.datasets.refer_hub import read_parts
from samtok_eval.errors import DataError
from samtok_eval.files import MAX_NUMBER, inside, json_items, read_json, reading, text, whole_number
from samtok_eval.masks import Rle
from samtok_eval.prompts import Prompt
from samtok_eval.sample import ImageRef
from samtok_eval.sample_table import Common, SampleTable

NO_TARGET = -1
SHOWN = 20
"""Splits that a message names."""
_Whole = Annotated[int, msgspec.Meta(ge=-MAX_NUMBER, le=MAX_NUMBER - 1)]


class _Sentence(msgspec.Struct, gc=False):
    """A sentence of a `_Reference`."""

    sent_id: _Whole
    sent: str
    kind: str = ""


class _Reference(msgspec.Struct, gc=False):
    """What is read of a reference; msgspec makes and checks it in a third of the time that a dictionary takes."""

    split: str
    ref_id: _Whole
    ann_id: _Whole | list[_Whole]
    image_id: _Whole
    category_id: _Whole | list[_Whole]
    sentences: list[_Sentence]


_references = msgspec.json.Decoder(list[_Reference]).decode


def _many(content: str) -> list[Any]:
    """References; as plain values where one of them needs a conversion, or is wrong, which is told later."""
    try:
        return _references(content)
    except msgspec.ValidationError:
        found: list[Any] = msgspec.json.decode(content)
        return found


class Expression(NamedTuple):
    """One sentence and what it means."""

    id: str
    """`<ref_id>-<sent_id>`"""
    image: ImageRef
    sentence: str
    """As the file has it, outer blanks removed."""
    instances: tuple[Rle, ...]
    annotations: tuple[Mapping[str, Any], ...]
    """Of the instances, as `instances.json` has them."""
    annotation_ids: tuple[int, ...]
    """Sentences that have them in common mean the same objects."""
    no_target: bool
    """Whether the reference says that nothing is meant; one that lists no annotation at all says neither."""
    category: str
    kind: str | None
    """Kind of expression where the file names one; only the demo benchmark does."""


def each_expression(
    refs_file: Path,
    instances_file: Path,
    images_dir: Path,
    split: str,
    no_targets: bool = False,
    objects: int | None = None,
) -> Iterator[Expression]:
    """The sentences of a split, one after another; a JSON file of references is not held in memory.

    Args:
        refs_file: `refs(*).p` or `grefs(*).json`.
        instances_file: COCO annotations of the same images.
        images_dir: where the images lie.
        split: the value of `split` in the refs.
        no_targets: whether a reference may mean nothing, as in gRefCOCO.
        objects: gives all sentences about the first so many objects of the split, by default about all.

    Raises:
        DataError: a file is missing or broken, a reference names an unknown image or annotation, or none where it may
            not, an annotation's RLE has another size than its picture, or the split is empty.
    """
    refs = json_items(refs_file, decode=_many) if refs_file.suffix == ".json" else read_plain_pickle(refs_file)
    # The refs are opened first, so that an error names them first.

    def instances() -> _Instances:
        return _Instances(read_json(instances_file), instances_file, images_dir)

    return _of_split(refs, refs_file, instances, split, no_targets, objects)


def each_hub_expression(parts: Sequence[Path], images_dir: Path, split: str) -> Iterator[Expression]:
    """The same from the files of a Hub data set, see `refer_hub`.

    Args:
        parts: the files of the split, at least one.
        images_dir: where the images lie.
        split: the value of `split` in the references.

    Raises:
        DataError: as `each_expression`.
        UsageError: pyarrow is not installed.
    """
    refs, instances = read_parts(parts)
    return _of_split(refs, parts[0], lambda: _Instances(instances, parts[0], images_dir), split)


def _of_split(
    refs: Iterable[Any],
    refs_file: Path,
    made: Callable[[], _Instances],
    split: str,
    no_targets: bool = False,
    objects: int | None = None,
) -> Iterator[Expression]:
    """Sentences of the references of a split; the instances are made when the first reference was read."""
    instances: _Instances | None = None
    splits: set[str] = set()
    first: set[tuple[int, ...]] = set()
    found = False
    with reading(f"{refs_file} is not a refs file"):
        for ref in refs:
            instances = instances or made()
            name = ref.split if type(ref) is _Reference else text(ref["split"])
            splits.add(name)
            if name != split:
                continue
            known = ref if type(ref) is _Reference else _reference(ref)
            meant = _meant(known)
            _check_annotations(known.ref_id, meant, instances, refs_file, no_targets)
            if objects is not None and known.sentences:
                if meant[:1] not in first and len(first) >= objects:
                    continue
                first.add(meant[:1])
            for expression in _sentences(known, meant, instances):
                found = True
                yield expression
    if not found:
        raise DataError(
            f"{refs_file} has no reference of split {split!r}; it holds {', '.join(sorted(splits)[:SHOWN])}"
        )


def sentence_samples(
    expressions: Iterable[Expression],
    prompt: Prompt,
    common: Callable[[Expression], Common],
    written: Callable[[str], str] = str,
) -> SampleTable:
    """One sample per sentence.

    Args:
        expressions: the sentences.
        prompt: asks for a phrase.
        common: what depends on the objects alone, and on whether a sentence is empty.
        written: the phrase of a sentence, the sentence itself by default.
    """
    known: dict[tuple[object, ...], Common] = {}

    def row(said: Expression) -> tuple[str, str, Common]:
        key = (said.image.id, said.annotation_ids, said.no_target, said.category, said.kind, said.sentence == "")
        if key not in known:
            known[key] = common(said)
        return said.id, written(said.sentence), known[key]

    return SampleTable(map(row, expressions), partial(_asked, prompt.template))


def _asked(template: str, phrase: str) -> str:
    # `Prompt.__call__` takes twice as long.
    return template.format(phrase=phrase)


class _Instances:
    """`instances.json` by id; masks are made when first asked for."""

    def __init__(self, content: Any, path: Path, images_dir: Path) -> None:
        self.path = path
        with reading(f"{path} is not a COCO instances file"):
            self.images = {
                (number := whole_number(image["id"])): ImageRef(
                    str(number),
                    inside(images_dir, image["file_name"]),
                    *masks.picture_size(image["height"], image["width"]),
                )
                for image in content["images"]
            }
            self.annotations: dict[int, dict[str, Any]] = {whole_number(a["id"]): a for a in content["annotations"]}
            self.categories = {whole_number(c["id"]): str(c["name"]) for c in content["categories"]}
        self._masks: dict[int, Rle] = {}

    def image(self, image_id: int) -> ImageRef:
        if image_id not in self.images:
            raise DataError(f"{self.path} has no image {image_id}; refs and instances are of different releases")
        return self.images[image_id]

    def mask(self, annotation_id: int, image: ImageRef) -> Rle:
        if annotation_id not in self._masks:
            with reading(f"{self.path}: annotation {annotation_id}"):
                segmentation = self.annotations[annotation_id]["segmentation"]
                self._masks[annotation_id] = masks.from_segmentation(segmentation, image.height, image.width)
        return self._masks[annotation_id]


def _check_annotations(
    number: int, named: Sequence[int], instances: _Instances, refs_file: Path, no_targets: bool
) -> None:
    """Refuse a reference whose objects are not known.

    Raises:
        DataError: it names an annotation that does not exist, or none at all; the message names both sides.
    """
    for annotation_id in named:
        if annotation_id not in instances.annotations:
            raise DataError(
                f"{instances.path} has no annotation {annotation_id}, which reference {number} of {refs_file} names; "
                "refs and instances are of different releases"
            )
    if not (named or no_targets):
        raise DataError(
            f"{refs_file}: reference {number} names no annotation, expected one of {instances.path}; download it again"
        )


def _reference(ref: dict[str, Any]) -> _Reference:
    """A reference of plain values, its numbers converted; its sentences are left as they are."""
    named = ref["ann_id"] if isinstance(ref["ann_id"], list) else [ref["ann_id"]]
    category = ref["category_id"]
    return _Reference(
        ref["split"],
        whole_number(ref["ref_id"]),
        named if named == [NO_TARGET] else [each for each in map(whole_number, named) if each != NO_TARGET],
        whole_number(ref["image_id"]),
        whole_number(category[0] if isinstance(category, list) else category),
        ref["sentences"],
    )


def _sentence(sentence: dict[str, Any]) -> _Sentence:
    number, said = whole_number(sentence["sent_id"]), text(sentence["sent"])
    return _Sentence(number, said, text(sentence["kind"]) if "kind" in sentence else "")


def _meant(ref: _Reference) -> tuple[int, ...]:
    """Annotations of the objects that a reference means."""
    named = ref.ann_id if isinstance(ref.ann_id, list) else [ref.ann_id]
    return tuple([number for number in named if number != NO_TARGET])


def _sentences(ref: _Reference, meant: tuple[int, ...], instances: _Instances) -> Iterator[Expression]:
    image = instances.image(ref.image_id)
    wanted = tuple([instances.mask(i, image) for i in meant])
    annotations = tuple([instances.annotations[i] for i in meant])
    category = ref.category_id[0] if isinstance(ref.category_id, list) else ref.category_id
    no_target = ref.ann_id in (NO_TARGET, [NO_TARGET])
    for sentence in ref.sentences:
        said = sentence if type(sentence) is _Sentence else _sentence(sentence)  # type: ignore[arg-type]
        # Named by their order, which takes half as long.
        yield Expression(
            f"{ref.ref_id}-{said.sent_id}",
            image,
            said.sent.strip(),
            wanted,
            annotations,
            meant,
            no_target,
            instances.categories.get(category, "none"),
            said.kind or None,
        )
