"""The RefCOCO family from a Hub data set gives the sentences and masks of the original files."""

from __future__ import annotations

import json
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samtok_eval.datasets.refer_hub import COCO_CATEGORIES
from samtok_eval.errors import DataError
from samtok_eval.registry import load_tasks

IMAGES = [
    {"id": 9, "file_name": "COCO_train2014_000000000009.jpg", "height": 40, "width": 60},
    {"id": 25, "file_name": "COCO_train2014_000000000025.jpg", "height": 50, "width": 50},
]
SQUARE = [[2.0, 2.0, 20.0, 2.0, 20.0, 20.0, 2.0, 20.0]]
TWO_PARTS = [[1.5, 1.5, 9.5, 1.5, 9.5, 9.5], [20.0, 20.0, 30.0, 20.0, 30.0, 33.25, 20.0, 30.0]]


def annotation(number, image, category, polygons):
    return {
        "id": number, "image_id": image, "category_id": category, "segmentation": polygons, "iscrowd": 0,
        "area": 10.0, "bbox": [2.0, 2.0, 18.0, 18.0],
    }  # fmt: skip


ANNOTATIONS = [annotation(501, 9, 1, SQUARE), annotation(502, 9, 90, TWO_PARTS), annotation(503, 25, 13, SQUARE)]


def ref(number, image, meant, category, split, *sentences):
    rows = [{"sent_id": 10 * number + i, "sent": s, "raw": s.upper(), "tokens": s.split()} for i, s in
            enumerate(sentences)]  # fmt: skip
    return {
        "ref_id": number, "ann_id": meant, "image_id": image, "category_id": category, "split": split,
        "file_name": f"COCO_train2014_{image:012d}_{number}.jpg", "sent_ids": [row["sent_id"] for row in rows],
        "sentences": rows,
    }  # fmt: skip


REFS = [
    ref(0, 9, 501, 1, "val", "left man", "man in  red "),
    ref(1, 25, 503, 13, "val", "stop sign"),
    ref(2, 9, 502, 90, "val", "the brush"),
]
STRING, WHOLE, NUMBER = pa.string(), pa.int64(), pa.float64()
SCHEMA = pa.schema({
    "ref_list": pa.list_(pa.struct({
        "ann_info": pa.struct({
            "area": NUMBER, "bbox": pa.list_(NUMBER), "category_id": WHOLE, "id": WHOLE, "image_id": WHOLE,
            "iscrowd": WHOLE, "segmentation": pa.list_(pa.list_(NUMBER)),
        }),
        "ref_info": pa.struct({
            "ann_id": WHOLE, "category_id": WHOLE, "file_name": STRING, "image_id": WHOLE, "ref_id": WHOLE,
            "sent_ids": pa.list_(WHOLE), "split": STRING,
            "sentences": pa.list_(pa.struct({"raw": STRING, "sent": STRING, "sent_id": WHOLE,
                                             "tokens": pa.list_(STRING)})),
        }),
    })),
    "image_info": pa.struct({"file_name": STRING, "height": WHOLE, "id": WHOLE, "width": WHOLE}),
    "image": pa.struct({"bytes": pa.binary(), "path": STRING}),
})  # fmt: skip
"""The columns that the data set's card names."""


def write_parquet(path, refs=REFS, annotations=ANNOTATIONS, schema=SCHEMA):
    by_id = {row["id"]: row for row in annotations}
    rows = [
        {
            "ref_list": [{"ref_info": r, "ann_info": by_id[r["ann_id"]]} for r in refs if r["image_id"] == image["id"]],
            "image_info": image,
            "image": {"bytes": b"not a picture", "path": None},
        }
        for image in IMAGES
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def write_original(folder, refs_file):
    folder.mkdir(parents=True, exist_ok=True)
    categories = [{"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}, {"id": 90, "name": "toothbrush"}]
    content = {"images": IMAGES, "annotations": ANNOTATIONS, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    (folder / refs_file).write_bytes(pickle.dumps(REFS, protocol=2))


@pytest.mark.parametrize(
    ("task", "split", "refs_file", "name"),
    [
        ("refcoco", "val", "refs(unc).p", "refcoco_unc_val"),
        ("refcoco+", "val", "refs(unc).p", "refcoco_plus_unc_val"),
        ("refcocog", "val", "refs(umd).p", "refcocog_umd_val"),
        ("refcocog", "google-val", "refs(google).p", "refcocog_google_val"),
    ],
)
def test_samples_are_those_of_the_original_files_in_the_order_of_pictures(tmp_path, task, split, refs_file, name):
    found = load_tasks()[task]
    write_parquet(tmp_path / "a" / task / "hub" / f"{name}-00000-of-00001-abc.parquet")
    write_original(tmp_path / "b" / task, refs_file)
    hub = {sample.id: sample for sample in found.read(tmp_path / "a", split)}
    original = {sample.id: sample for sample in found.read(tmp_path / "b", split)}
    assert list(hub) == ["0-0", "0-1", "2-20", "1-10"]
    assert set(hub) == set(original)
    for key, sample in hub.items():
        theirs = original[key]
        assert (sample.phrase, sample.target, sample.slices) == (theirs.phrase, theirs.target, theirs.slices)
        assert sample.image.path.relative_to(tmp_path / "a") == theirs.image.path.relative_to(tmp_path / "b")
        assert (sample.image.height, sample.image.width) == (theirs.image.height, theirs.image.width)


def test_the_benchmark_s_own_file_is_preferred(tmp_path):
    write_parquet(tmp_path / "refcoco" / "hub" / "refcoco_unc_val-0.parquet", refs=REFS[:1])
    write_original(tmp_path / "refcoco", "refs(unc).p")
    assert len(load_tasks()["refcoco"].read(tmp_path, "val")) == 4


def test_parts_are_read_together_and_other_splits_left(tmp_path):
    hub = tmp_path / "refcoco" / "hub"
    write_parquet(hub / "refcoco_unc_val-00000-of-00002.parquet", refs=REFS[:1])
    write_parquet(hub / "refcoco_unc_val-00001-of-00002.parquet", refs=REFS[1:])
    write_parquet(hub / "refcoco_unc_testA-00000-of-00001.parquet", refs=[REFS[0] | {"split": "testA"}])
    samples = load_tasks()["refcoco"].read(tmp_path, "val")
    assert [sample.id for sample in samples] == ["0-0", "0-1", "2-20", "1-10"]
    assert [sample.id for sample in load_tasks()["refcoco"].read(tmp_path, "testA")] == ["0-0", "0-1"]


def lacking(column, field):
    """The schema with one field of a struct left out."""
    kind = SCHEMA.field("ref_list").type.value_type
    inner = pa.struct([f for f in kind.field(column).type if f.name != field])
    parts = pa.struct([f if f.name != column else pa.field(column, inner) for f in kind])
    return pa.schema([pa.field("ref_list", pa.list_(parts)), *list(SCHEMA)[1:]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": lacking("ann_info", "segmentation")}, "'segmentation' is missing"),
        ({"schema": lacking("ref_info", "sentences")}, "'sentences' is missing"),
        ({"schema": pa.schema(list(SCHEMA)[1:])}, "it has no column ref_list"),
        ({"annotations": [row | {"segmentation": []} for row in ANNOTATIONS]}, "no sentence or no mask"),
        ({"refs": [REFS[0] | {"sentences": []}]}, "no sentence or no mask"),
        ({"refs": [row | {"split": "train"} for row in REFS]}, "no reference of split 'val'; it holds train"),
        ({"annotations": [row | {"segmentation": [[0.0, 0.0, 1e9, 0.0, 5.0, 5.0]]} for row in ANNOTATIONS]}, "far"),
    ],
)
def test_a_data_set_without_masks_or_sentences_is_one_clear_error(tmp_path, change, message):
    write_parquet(tmp_path / "refcoco" / "hub" / "refcoco_unc_val-0.parquet", **change)
    with pytest.raises(DataError, match=message):
        load_tasks()["refcoco"].read(tmp_path, "val")


@pytest.mark.parametrize("body", [b"", b"PAR1", b"PAR1" + b"\xff" * 200 + b"PAR1", b"<html>no</html>"])
def test_what_is_no_parquet_is_one_clear_error(tmp_path, body):
    path = tmp_path / "refcoco" / "hub" / "refcoco_unc_val-0.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(body)
    with pytest.raises(DataError, match="is not a part of jxu124/refcoco-benchmark"):
        load_tasks()["refcoco"].read(tmp_path, "val")


def test_coco_s_categories_have_coco_s_numbers():
    assert len(COCO_CATEGORIES) == 80
    assert [COCO_CATEGORIES[number] for number in (1, 13, 27, 44, 62, 67, 70, 72, 84, 90)] == [
        "person", "stop sign", "backpack", "bottle", "chair", "dining table", "toilet", "tv", "book", "toothbrush",
    ]  # fmt: skip
