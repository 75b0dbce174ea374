"""RefCOCO-M: parquet files as on the Hub and the same rows as JSON lines; the mean is over sentences."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.prediction import CocoRle, Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score

TASK = load_tasks()["refcoco-m"]
NAME = "validation-00000-of-00001.jsonl"


def rows(root):
    return [json.loads(line) for line in (root / "refcoco-m" / "data" / NAME).open()]


def written(tmp_path, changed):
    folder = tmp_path / "refcoco-m" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text("".join(json.dumps(row) + "\n" for row in changed))
    return tmp_path


def answer(sample, rles):
    return Prediction(id=sample.id, masks=[CocoRle(**rle.to_coco()) for rle in rles])


def test_parquet_files_of_the_hub_are_the_same_samples(demo_root, tmp_path):
    folder = tmp_path / "refcoco-m" / "data"
    folder.mkdir(parents=True)
    content = rows(demo_root)
    for number, part in enumerate((content[:60], content[60:])):
        table = pa.Table.from_pylist([row | {"image": {"bytes": b"not looked at", "path": None}} for row in part])
        pq.write_table(table, folder / f"validation-0000{number}-of-00002.parquet")
    shutil.copytree(demo_root / "coco", tmp_path / "coco")
    found, expected = TASK.read(tmp_path, "val"), TASK.read(demo_root, "val")
    assert [sample.id for sample in found] == [sample.id for sample in expected]
    for one, other in zip(found, expected, strict=True):
        assert (one.phrase, one.target, one.slices, one.image.id) == (
            other.phrase, other.target, other.slices, other.image.id,
        )  # fmt: skip
        assert one.image.path.is_file()


def test_the_mean_is_over_sentences_as_the_card_says(demo_root, tmp_path):
    # Three sentences about one mask, one about another; half of the first is marked, and all of the second.
    first, second = next(row["samples"][:2] for row in rows(demo_root) if len(row["samples"]) > 1)
    row = rows(demo_root)[0]
    row["samples"] = [first | {"sentences": ["a", "b", "c"]}, second | {"sentences": ["d"]}]
    samples = TASK.read(written(tmp_path, [row]), "val")
    assert [sample.id.rpartition("-")[2] for sample in samples] == ["0", "1", "2", "0"]
    whole = masks.decode(samples[0].target.masks[0])
    part = whole.copy()
    part[:, : whole.shape[1] // 2] = False
    share = part.sum() / whole.sum()
    answers = [answer(sample, [masks.encode(part)]) for sample in samples[:3]] + [
        answer(samples[3], samples[3].target.masks)
    ]
    for protocol in ("strict", "official"):
        found = score(TASK, samples, answers).metrics.protocols[protocol]["giou"]
        assert found.value == pytest.approx((3 * share + 1) / 4) and found.n == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": None}, "not a part of moondream/refcoco-m"),
        ({"file_name": "../x.jpg"}, "leads out"),
        ({"samples": [{"id": 1, "category": "x", "sentences": ["a"]}]}, "not a part of"),
    ],
)
def test_what_is_no_row_of_the_data_set_is_one_clear_error(demo_root, tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        TASK.read(written(tmp_path, [rows(demo_root)[0] | change]), "val")


def test_masks_of_several_sizes_and_a_missing_file_are_named(demo_root, tmp_path):
    row = next(row for row in rows(demo_root) if len(row["samples"]) > 1)
    row["samples"][0]["mask"] = masks.empty(4, 5).to_coco()
    with pytest.raises(DataError, match="several sizes"):
        TASK.read(written(tmp_path, [row]), "val")
    with pytest.raises(DataError, match=r"moondream/refcoco-m"):
        TASK.read(tmp_path / "none", "val")
