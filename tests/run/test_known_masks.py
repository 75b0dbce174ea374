"""`--reuse-decoded`: masks of the same codes over the same pictures are taken from another run, and spot-checked."""

from __future__ import annotations

import json

import pytest

from samtok_eval import masks
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.errors import DataError, UsageError
from samtok_eval.prediction_log import read_own_predictions
from samtok_eval.run.evaluate import run
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.known_masks import DECODED_AGAIN
from samtok_eval.run.settings import RunOptions
from samtok_eval.tokenizer.model import MaskTokenizer

LIMIT = 60


@pytest.fixture(scope="module")
def asked(demo_root, tmp_path_factory):
    """A function that runs the oracle, each time in a folder of its own."""

    def ask(**settings):
        options = {"task": "gres", "model": "oracle", "limit": LIMIT, "data_root": str(demo_root)}
        return run(RunOptions(**{**options, "out": tmp_path_factory.mktemp("runs"), **settings}), scoring=False)

    return ask


@pytest.fixture(scope="module")
def first(asked):
    return asked()


def predictions(found):
    return {
        p.id: p.model_dump(exclude={"seconds"}) for p in read_own_predictions(RunFolder(found.path).parts()).values()
    }


@pytest.fixture
def decoded(monkeypatch):
    """Codes that the mask tokenizer decodes."""
    seen = []
    original = MaskTokenizer.decode_pictures

    def counted(self, pictures, codes):
        seen.extend(entry for mine in codes for entry in mine.tolist())
        return original(self, pictures, codes)

    monkeypatch.setattr(MaskTokenizer, "decode_pictures", counted)
    return seen


def test_known_masks_are_not_decoded_but_for_a_share_and_the_answers_are_the_same(asked, first, decoded):
    again = asked(reuse_decoded=first.path)
    known = sum(len(p["decoded"]) for p in predictions(first).values())
    assert known > DECODED_AGAIN
    assert predictions(again) == predictions(first)
    assert len(decoded) == known - again.manifest.counters["reused"] == -(-known // DECODED_AGAIN)
    assert again.manifest.run_key == first.manifest.run_key


def test_other_codes_are_decoded(asked, first, decoded):
    answers = {p["id"]: list(p["decoded"]) for p in predictions(first).values()}
    other = asked(model="random", reuse_decoded=first.path)
    new = sum(len(set(p["decoded"]) - set(answers[p["id"]])) for p in predictions(other).values())
    assert new > 0
    assert len(decoded) >= new
    assert predictions(other) == predictions(asked(model="random"))


def test_a_mask_that_does_not_come_out_the_same_ends_the_run(asked, tmp_path):
    there = asked(out=tmp_path, limit=3)
    part = RunFolder(there.path).part()
    lines = [json.loads(line) for line in part.read_text().splitlines()]
    line = next(line for line in lines if line["decoded"])
    key, mask = next(iter(line["decoded"].items()))
    line["decoded"][key] = masks.empty(*mask["size"]).to_coco()
    part.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UsageError, match="decode to another mask here than there"):
        asked(limit=3, reuse_decoded=there.path)


def test_a_broken_mask_is_named(asked, tmp_path):
    there = asked(out=tmp_path, limit=3)
    part = RunFolder(there.path).part()
    part.write_text(part.read_text().replace('"counts": "', '"counts": "0'))
    with pytest.raises(DataError, match="run without --reuse-decoded"):
        asked(limit=3, reuse_decoded=there.path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit": 3}, "pictures of that run"),
        ({"dtype": "bf16"}, "precision of that run: float32, of this one: bfloat16"),
    ],
)
def test_masks_of_other_pictures_or_another_precision_are_refused(asked, first, settings, message):
    with pytest.raises(UsageError, match=message):
        asked(reuse_decoded=first.path, **settings)


def test_masks_of_another_mask_tokenizer_are_refused(asked, first, tmp_path):
    other = MaskTokenizer.from_pretrained(DEMO_CHECKPOINT)
    next(other.parameters()).data += 0.01
    other.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="the mask tokenizer of that run"):
        asked(reuse_decoded=first.path, tokenizer=str(tmp_path))


def test_a_folder_without_a_run_is_refused(asked, tmp_path):
    with pytest.raises(DataError, match="is no run folder"):
        asked(reuse_decoded=tmp_path)
