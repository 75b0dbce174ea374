"""SegLLM's own conversations: placeholders, annotations, what is left out, and what is refused."""

from __future__ import annotations

import json

import pytest

from samtok_eval import masks
from samtok_eval.datasets.segllm import read_conversations
from samtok_eval.errors import DataError
from samtok_eval.sample import Region

PICTURE = "coco/train2014/a.jpg"
IMAGE = f"[IMAGE256:{PICTURE}]"
SIZES = {1: (20, 30), 2: (10, 10)}
POLYGONS = {7: [[0, 0, 4, 0, 4, 4, 0, 4]], 8: [[5, 5, 9, 5, 9, 9, 5, 9]], 9: [[3, 3, 3, 3, 3, 3]], 10: "broken"}


def encode(number, collection="refcoco"):
    return f"[MASK-ENCODE:{PICTURE}|{collection}|{number}]"


def decode(number, collection="refcoco"):
    return f"[MASK-DECODE:{PICTURE}|{collection}|{number}]"


def conversation(*turns):
    speakers = ["human", "gpt"] * len(turns)
    return {"conversations": [{"from": speakers[i], "value": text} for i, text in enumerate(turns)]}


def annotations():
    images = [{"id": key, "height": height, "width": width} for key, (height, width) in SIZES.items()]
    rows = [{"id": key, "image_id": 1, "segmentation": value} for key, value in POLYGONS.items()]
    rows += [{"id": 11, "image_id": 2, "segmentation": POLYGONS[7]}, {"id": 12, "image_id": 3, "segmentation": [[]]}]
    return {"images": images, "annotations": rows}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def read(tmp_path):
    """A function that writes conversations beside the annotations and reads them."""
    write(tmp_path / "segllm" / "annotation_folder" / "refcoco" / "instances.json", annotations())

    def run(*conversations, limit=None):
        write(tmp_path / "segllm/conversation_folder/all_data_mix_val/mr_refcoco_val.json", list(conversations))
        return read_conversations(tmp_path, "mr_refcoco", limit)

    return run


def test_masks_of_a_question_are_its_parts_and_those_of_the_answer_the_targets(read):
    first, second = read(
        conversation(
            f"{IMAGE} a", f"It is {decode(7)}.", f"{encode(7)}[BOX-ENCODE:x|y|z]left [of] {encode(8)}", decode(8)
        )
    )
    assert (first.round, first.index, second.round, second.index) == ("1", 0, "2", 0)
    assert [turn.parts for turn in first.turns] == [("a",)]
    question, answer, asked = second.turns
    assert (question.role, answer.role, asked.role) == ("user", "assistant", "user")
    (mask,) = first.targets
    (other,) = second.targets
    assert mask != other
    assert answer.parts == ("It is ", Region(mask), ".")
    assert asked.parts == (Region(mask), "left [of] ", Region(other))
    assert (second.image.id, second.image.height, second.image.width) == (PICTURE, 20, 30)


def test_a_mask_at_the_edge_of_the_first_question_keeps_its_place(read):
    (found,) = read(conversation(f" {IMAGE} {encode(7)} ? {encode(8)} ", decode(7)))
    assert [type(part) for part in found.turns[0].parts] == [Region, str, Region]
    assert found.turns[0].parts[1] == " ? "


@pytest.mark.parametrize(
    "placeholder",
    [
        f"[MASK-DECODE:ref:none:8:{PICTURE}:refcoco]",
        f"[MASK-DECODE:ref:7:8:{PICTURE}:refcoco]",
        f"[MASK-DECODE:ref:7:9:8:{PICTURE}:refcoco]",
        f"[MASK-DECODE:{PICTURE}|refcoco| 8]",
    ],
)
def test_the_mask_to_find_is_named_with_bars_or_behind_its_references_with_colons(read, placeholder):
    (found,) = read(conversation(f"{IMAGE}a", placeholder))
    assert found.targets == read(conversation(f"{IMAGE}a", decode(8)))[0].targets


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ((f"{IMAGE}a", decode("")), "an annotation id is missing"),
        ((f"{IMAGE}a", decode("'")), "an annotation id is missing"),
        ((f"{IMAGE}a", decode("none")), "an annotation id is missing"),
        ((f"{IMAGE}{encode('')}", decode(7)), "an annotation id is missing"),
        ((f"{IMAGE}a", decode(99)), "an annotation is unknown or broken"),
        ((f"{IMAGE}a", decode("7_1")), "an annotation is unknown or broken"),
        ((f"{IMAGE}a", decode(7, "ade20k")), "an annotation is unknown or broken"),
        ((f"{IMAGE}a", decode(10)), "an annotation is unknown or broken"),
        ((f"{IMAGE}a", decode(12)), "an annotation is unknown or broken"),
        ((f"{IMAGE}a", decode(9)), "a mask has no pixel"),
        ((f"{IMAGE}{encode(9)}", decode(7)), "a mask has no pixel"),
        ((f"{IMAGE}{encode(11)}", decode(7)), "its masks are of pictures of several sizes"),
        ((f"{IMAGE}a", "[MASK-DECODE:a|b]"), "a placeholder cannot be read or stands in the wrong turn"),
        ((f"{IMAGE}a", "[MASK-DECODE:ref:7:8:refcoco]"), "a placeholder cannot be read or stands in the wrong turn"),
        ((f"{IMAGE}{decode(7)}", decode(7)), "a placeholder cannot be read or stands in the wrong turn"),
        ((f"{IMAGE}a", encode(7)), "a placeholder cannot be read or stands in the wrong turn"),
        ((f"{IMAGE}[MASK-ENCODE]", decode(7)), "a placeholder cannot be read or stands in the wrong turn"),
        (("a", decode(7)), "the first question shows no picture"),
        (("<image>\na", decode(7)), "the first question shows no picture"),
        ((f"{IMAGE}a", "there"), "an answer has no mask"),
    ],
)
def test_a_conversation_with_an_unusable_mask_is_left_out_as_a_whole_and_counted(read, caplog, turns, reason):
    good = conversation(f"{IMAGE}b", decode(7))
    bad = conversation(f"{IMAGE}a", decode(7), *turns) if turns[0].startswith(IMAGE) else conversation(*turns)
    found = read(bad, good, bad)
    assert [turn.text for row in found for turn in row.turns] == ["b"]
    assert caplog.records[-1].getMessage().endswith(f"2 of 3 conversations left out: 2 because {reason}")


def test_rounds_are_numbered_across_the_conversations_that_reach_them(read):
    short, long = (f"{IMAGE}a", decode(7)), (f"{IMAGE}a", decode(7), "b", decode(8))
    found = read(conversation(*short), conversation(*long), conversation(*short), conversation(*long))
    assert [(row.round, row.index) for row in found] == [("1", i) for i in range(4)] + [("2", 0), ("2", 1)]


@pytest.mark.parametrize(("limit", "made"), [(1, 2), (2, 3), (3, 3), (4, 3)])
def test_a_limit_gives_the_first_rounds_and_makes_masks_of_no_further_conversation(read, monkeypatch, limit, made):
    empty, short = (conversation(f"{IMAGE}a", decode(number)) for number in (9, 7))
    rows = [empty, short, conversation(f"{IMAGE}a", decode(8), "b", decode(7))]
    whole = read(*rows)
    assert len(whole) == 3
    calls, make = [], masks.from_segmentation
    monkeypatch.setattr(masks, "from_segmentation", lambda *a: calls.append(a) or make(*a))
    assert read(*rows, limit=limit) == whole[:limit]
    assert len(calls) == made


@pytest.mark.parametrize("order", [(7, 11), (11, 7)])
def test_conversations_about_one_picture_have_each_the_size_of_their_own_masks(read, order):
    found = read(*(conversation(f"{IMAGE}a", decode(number), "b", decode(number)) for number in order))
    expected = [SIZES[1 if number == 7 else 2] for number in order]
    assert [(row.image.height, row.image.width) for row in found] == expected * 2
    assert all((row.image.height, row.image.width) == (row.targets[0].height, row.targets[0].width) for row in found)


def test_rounds_beyond_the_tenth_are_left_out_and_counted(read, caplog):
    found = read(conversation(f"{IMAGE}a", decode(7), *("b", decode(8)) * 11))
    assert [row.round for row in found] == [str(i) for i in range(1, 11)]
    assert caplog.records[-1].getMessage().endswith("2 rounds beyond the 10th of a conversation left out")


def test_folders_may_have_the_names_of_segllms_own_instructions(tmp_path):
    folder = tmp_path / "segllm"
    write(folder / "annotations_folder/paco_lvis/annotations/paco_lvis_v1_val.json", annotations())
    path = folder / "conversations_folder/all_data_mix_val/mr_paco_val.json"
    write(path, [conversation(f"{IMAGE}a", decode(7, "paco_lvis"))])
    assert len(read_conversations(tmp_path, "mr_paco")) == 1


def test_a_repacked_file_is_preferred(read, tmp_path):
    row = {"history": [{"from": "human", "value": "<image>\nrepacked"}], "image": "a.jpg"}
    row["target_masks"] = [{"size": [2, 2], "counts": [0, 4]}]
    write(tmp_path / "segllm/mr_refcoco_val_sampled.json", {"1": [row]})
    (found,) = read(conversation(f"{IMAGE}own", decode(7)))
    assert found.turns[0].text == "repacked"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"conversation 0: KeyError 'conversations'; expected"),
        (3, "conversation 0: TypeError"),
        (conversation(f"{IMAGE}a"), "conversation 0: ValueError questions and answers must alternate"),
        ({"conversations": [{"from": "gpt", "value": "x"}] * 2}, "questions and answers must alternate"),
        (conversation(), "1 because the first question shows no picture"),
    ],
)
def test_other_structures_are_refused(read, content, message):
    with pytest.raises(DataError, match=message):
        read(content)


@pytest.mark.parametrize("content", [[], {"images": []}, {"images": [{"id": 1}], "annotations": []}])
def test_a_broken_annotation_file_is_named(read, tmp_path, content):
    write(tmp_path / "segllm" / "annotation_folder" / "refcoco" / "instances.json", content)
    with pytest.raises(DataError, match=r"refcoco/instances\.json is not a COCO annotation file"):
        read(conversation(f"{IMAGE}a", decode(7)))


def test_a_missing_annotation_file_is_named_when_a_conversation_needs_it(read):
    with pytest.raises(DataError, match=r"annotation_folder/lvis_v1_train\.json is missing"):
        read(conversation(f"{IMAGE}a", decode(7, "lvis")))
