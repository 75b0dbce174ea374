"""The RefCOCO family under the cumulative protocols, for the right answers and for a guess."""

from __future__ import annotations

import numpy as np
import pytest

from samtok_eval import evaluate, masks
from samtok_eval.mask_tokens import masks_of
from samtok_eval.prediction_log import read_predictions
from samtok_eval.registry import load_tasks
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.samples import read_samples

LIMIT = 24
CUMULATIVE = {"samtok_cumulative": "ref_gres", "samtok_cumulative_qwen25": "ref_last"}
"""Protocols and the policies by which they read an answer."""


@pytest.fixture(scope="module", params=["refcoco", "refcoco+", "refcocog"])
def runs(request, demo_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("cumulative")
    samples = read_samples(load_tasks()[request.param], "val", str(demo_root), LIMIT)
    return samples, {
        model: evaluate(
            request.param, model=model, data_root=str(demo_root), out=out, limit=LIMIT, device="cpu", dtype="fp32"
        )
        for model in ("oracle", "random")
    }


@pytest.mark.parametrize("protocol", CUMULATIVE)
def test_right_answers_reach_the_ceiling_and_a_guess_stays_at_the_floor(runs, protocol):
    _, made = runs
    values = {model: {name: entry["value"] for name, entry in run.values(protocol).items()} for model, run in
              made.items()}  # fmt: skip
    for metric in ("ciou", "giou"):
        assert 0.9 < values["oracle"][metric] <= 1
        assert 0 <= values["random"][metric] < 0.35
    # One span an answer: reading it whole or by its last word is the same.
    strict = {name: entry["value"] for name, entry in made["oracle"].values("strict").items()}
    assert values["oracle"]["ciou"] == pytest.approx(strict["ciou"], abs=1e-6)


@pytest.mark.parametrize("model", ["oracle", "random"])
@pytest.mark.parametrize("protocol", CUMULATIVE)
def test_pixels_are_added_up_over_all_sentences(runs, protocol, model):
    """The formula of the scripts, from the stored answers and the targets."""
    samples, made = runs
    answers = {p.id: p for p in read_predictions(RunFolder(made[model].path).parts())}
    inter = union = 0
    terms = []
    for sample in samples:
        answer = answers[sample.id]
        truth = np.any([masks.decode(m) for m in sample.target.masks], axis=0)
        codes = masks_of(answer.text, CUMULATIVE[protocol])
        said = [masks.decode(answer.decoded[f"{first},{second}"].rle()) for first, second in codes]
        mask = np.any(said, axis=0) if said else np.zeros_like(truth)
        both, either = int((truth & mask).sum()), int((truth | mask).sum())
        inter, union = inter + both, union + either
        terms.append(both / (either + 1e-5) + (either == 0))
    found = made[model].values(protocol)
    assert found["ciou"]["value"] == pytest.approx(inter / (union + 1e-10), abs=1e-12)
    assert found["giou"]["value"] == pytest.approx(np.mean(terms), abs=1e-12)
    assert found["ciou"]["n"] == len(samples) == LIMIT
