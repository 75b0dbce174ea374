"""Multi-round segmentation against the released scripts: what is asked from either kind of file, and both scorers."""

from __future__ import annotations

import json
import shutil

import pytest

from samtok_eval import evaluate, masks
from samtok_eval.images import read_image
from samtok_eval.mask_tokens import render
from samtok_eval.messages import messages
from samtok_eval.models.backend import Answer, request_of
from samtok_eval.prediction import Prediction
from samtok_eval.prediction_log import read_predictions
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.predict import with_own_history
from samtok_eval.run.samples import read_samples
from samtok_eval.run.score import score
from tests.support.originals import ORIGINALS, task, write_json

FOLDER = ORIGINALS / "mr_segllm"
TURNS = json.loads((FOLDER / "expected_turns.json").read_text())
METRICS = json.loads((FOLDER / "expected_metrics.json").read_text())["cases"]
SETS = ("refcoco", "refcoco+", "refcocog", "paco")
TREES = {"repacked": {"repacked": "segllm"}} | {
    "own": {name: f"segllm/{name}" for name in ("conversation_folder", "annotation_folder")}
}


@pytest.fixture(scope="module", params=TREES)
def root(request, tmp_path_factory):
    """A data root with the re-packed or with SegLLM's own files."""
    return tree(tmp_path_factory.mktemp("root"), request.param)


@pytest.fixture(scope="module")
def own_root(tmp_path_factory):
    """A data root with SegLLM's own files."""
    return tree(tmp_path_factory.mktemp("root"), "own")


def tree(root, kind):
    for source, place in {"coco": "coco", **TREES[kind]}.items():
        shutil.copytree(FOLDER / source, root / place)
    return root


def codes_of(mask):
    """The tokenizer of the golden files: both codes follow from the area and the box's corner."""
    area = int(mask.sum())
    left, top, *_ = masks.box(masks.encode(mask))
    return area % 256, (31 * top + 7 * left + 3 * area) % 256


def asked(sample):
    """The messages of a sample, rendered with that tokenizer."""
    return messages(sample.turns, read_image(sample.image), lambda image, several: list(map(codes_of, several)))


def text(message):
    return "".join(part for part in message.parts if isinstance(part, str))


@pytest.mark.parametrize("name", SETS)
def test_every_round_is_asked_as_the_released_scripts_ask_it(root, name):
    samples = read_samples(task("interactive"), name, str(root), None)
    expected = [case for case in TURNS["cases"] if case["set"] == name]
    assert [sample.id for sample in samples] == [f"{case['round']}-{case['index']}" for case in expected]
    for sample, case in zip(samples, expected, strict=True):
        found = asked(sample)
        assert [{"role": message.role, "text": text(message)} for message in found] == case["turns"]
        shows = [i for i, message in enumerate(found) if not all(isinstance(part, str) for part in message.parts)]
        assert shows == case["image_in_turn"]
        assert sample.image.path == root / case["image"].removeprefix("./data/")
        assert sample.target.masks[0].to_coco() == case["target"]
        assert len(sample.target.masks) == case["targets"]


def test_conversations_without_a_mask_are_left_out_and_counted_by_reason(own_root, caplog):
    for name in SETS:
        read_samples(task("interactive"), name, str(own_root), None)
    found = [record.getMessage().partition(".json: ")[2] for record in caplog.records]
    assert found == [
        "1 of 6 conversations left out: 1 because an annotation id is missing",
        "1 of 2 conversations left out: 1 because a mask has no pixel",
        "1 of 3 conversations left out: 1 because an annotation is unknown or broken",
        "2 rounds beyond the 10th of a conversation left out",
    ]


def test_rounds_are_also_counted_by_the_masks_that_were_decoded_before(root):
    samples = {sample.id: sample for sample in read_samples(task("interactive"), "refcoco", str(root), None)}
    # The first of its answers has two masks.
    assert samples["3-2"].slices == {"round": "3", "mask_round": "4"}
    assert samples["3-0"].slices == {"round": "3", "mask_round": "3"}


SAMTOK = [case for case in METRICS if case["scorer"] == "samtok"]
SEGLLM = [case for case in METRICS if case["scorer"] == "segllm"]


@pytest.mark.parametrize("case", SAMTOK, ids=[f"{case['set']}-{case['round']}" for case in SAMTOK])
def test_samtok_gives_each_round_the_numbers_of_the_released_scripts(root, case):
    found = task("interactive")
    samples = read_samples(found, case["set"], str(root), None)
    answers = [Prediction.model_validate({"id": key, "masks": [rle]}) for key, rle in case["predictions"].items()]
    scored = score(found, samples, answers, protocols=["samtok"])
    entries = scored.metrics["slices"]["samtok"]["round"][str(case["round"])]
    assert entries["ciou"]["value"] == pytest.approx(case["CIoU"], abs=1e-6)
    assert entries["giou"]["value"] == pytest.approx(case["GIoU"], abs=1e-6)
    assert entries["giou"]["n"] == len(case["predictions"])


@pytest.mark.parametrize("case", SEGLLM, ids=range(len(SEGLLM)))
def test_strict_gives_each_round_the_numbers_of_segllm(tmp_path, case):
    rounds: dict[str, list[dict[str, object]]] = {}
    answers = []
    for conversation in case["conversations"]:
        for number, pair in enumerate(conversation, start=1):
            entries = rounds.setdefault(str(number), [])
            answers.append(Prediction(id=f"{number}-{len(entries)}", masks=[pair["prediction"]]))
            asked_before = [{"from": "human", "value": "q"}, {"from": "gpt", "value": render([(1, 2)])}] * (number - 1)
            history = [*asked_before, {"from": "human", "value": "<image>\nq"}]
            entries.append({"image": "x.jpg", "history": history, "target_masks": [pair["target"]]})
    write_json(tmp_path / "segllm" / "mr_refcoco_val_sampled.json", rounds)
    samples = read_samples(task("interactive"), "refcoco", str(tmp_path), None)
    scored = score(task("interactive"), samples, answers, protocols=["strict"])
    # A slice with one value only is left out.
    whole = {"1": scored.metrics["strict"]}
    found = scored.metrics["slices"]["strict"].get("mask_round", whole)
    assert found.keys() == case["rounds"].keys()
    for number, expected in case["rounds"].items():
        assert found[number]["giou"]["value"] == pytest.approx(expected["mIoU"], abs=2e-4)
        assert found[number]["ciou"]["value"] == pytest.approx(expected["oIoU"], abs=2e-4)


class Counting:
    """Answers every round of a conversation with as many masks as the right answer has, each with codes of its own."""

    name = "counting"

    def __init__(self, conversation):
        self.conversation, self.given = conversation, []

    def identity(self):
        return {}

    def generate(self, requests, max_new_tokens):
        return [Answer(self._answer(text(self.conversation[len(request.messages)]))) for request in requests]

    def _answer(self, right):
        count = right.count("<|mt_start|>")
        self.given += [render([(255, len(self.given) + k)]) for k in range(count)]
        return " then ".join(self.given[-count:])


def with_counted_answers(sample):
    """The conversation of a sample with answers of a `Counting` model, and the masks of these answers."""
    backend = Counting(asked(sample))
    asking = request_of(sample.id, read_image(sample.image), backend.conversation)
    (found,), _ = with_own_history([asking], backend, 128)
    return found, backend.given


def test_own_history_takes_the_place_of_the_masks_of_segllms_own_files(own_root):
    samples = {sample.id: sample for sample in read_samples(task("interactive"), "refcoco", str(own_root), None)}
    # Two masks in the first answer, of which the second question names the second.
    found, given = with_counted_answers(samples["3-2"])
    first, second, third = given
    assert [text(message) for message in found.messages] == [
        "Segment the handle of it.",
        f"{first} then {second}",
        f"Only the one behind {second}.",
        third,
        "  Please segment the dog.",
    ]
    # A mask that no answer gave stays the file's own.
    found, given = with_counted_answers(samples["2-3"])
    shown = render([(140, 476 - 256)])
    assert [text(message) for message in found.messages] == [
        f"What is next to {shown}? Segment it.",
        given[-1],
        f"And next to {shown}?",
    ]


def test_with_right_answers_both_histories_agree_on_segllms_own_files(own_root, tmp_path):
    """The oracle answers with the words of the run's own mask tokenizer, and so do the questions show masks."""
    runs = [
        evaluate("interactive", model="oracle", data_root=str(own_root), out=tmp_path, split="paco", history=history)
        for history in ("gt", "pred")
    ]
    texts = [[p.text for p in read_predictions(RunFolder(run.path).parts())] for run in runs]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 13
    assert all(run.manifest.counters["errored"] == 0 for run in runs)
