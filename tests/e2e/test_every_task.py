"""The shipped checkpoint on every generation task: between oracle and chance, above answers that ignore the picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from samtok_eval import evaluate
from samtok_eval.mask_tokens import parse
from samtok_eval.masks import encode
from samtok_eval.prediction import Prediction
from samtok_eval.prediction_log import read_predictions
from samtok_eval.registry import load_tasks
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.samples import read_samples
from samtok_eval.run.score import score
from tests.support import meteor

LIMITS = {"gcg": 40, "grounding_suite": 80, "interactive": 160, "region_caption": 30, "scene_graph": 40}


@pytest.fixture(scope="module")
def run_of(demo_root, tmp_path_factory):
    """Runs by task and model, each made once."""
    out = tmp_path_factory.mktemp("runs")
    made = {}

    def run(task, model):
        if (task, model) not in made:
            limit = LIMITS.get(task)
            made[task, model] = evaluate(task, model=model, data_root=str(demo_root), out=out, limit=limit)
        return made[task, model]

    return run


@pytest.mark.parametrize("name", LIMITS)
def test_the_checkpoint_lies_between_chance_and_oracle(name, run_of):
    metric = load_tasks()[name].metadata.main_metric
    if metric == "meteor" and not meteor.IS_THERE:
        pytest.skip("METEOR needs Java and pycocoevalcap")
    oracle, demo, chance = (
        run_of(name, model).values("strict")[metric]["value"] for model in ("oracle", "demo", "random")
    )
    assert oracle >= demo > chance


def test_choice_questions_of_every_type_are_answered_above_the_majority(run_of):
    by_type = run_of("region_vqa", "demo").metrics["slices"]["strict"]["type"]
    assert set(by_type) == {"color", "ordering", "relation", "shape"}
    for kind, metrics in by_type.items():
        assert metrics["accuracy"]["value"] > metrics["majority"]["value"], kind


@pytest.mark.parametrize(("name", "metrics"), [
    ("gcg", ("ap50", "miou_gcg", "recall_gcg_minilm")),
    ("scene_graph", ("recall@20", "triplet_f1", "label_recall")),
])  # fmt: skip
def test_answers_fit_their_own_pictures(name, metrics, run_of, demo_root):
    """The same answers, each given to the next picture, score lower."""
    run, task = run_of(name, "demo"), load_tasks()[name]
    samples = read_samples(task, task.metadata.default_split, str(demo_root), LIMITS[name])
    answers = {p.id: p for p in read_predictions(RunFolder(run.path).parts())}
    moved = [answers[samples[i - 1].id].model_copy(update={"id": sample.id}) for i, sample in enumerate(samples)]
    shuffled = score(task, samples, moved, protocols=["strict"]).metrics["strict"]
    for metric in metrics:
        if metric in shuffled:
            assert run.values("strict")[metric]["value"] > shuffled[metric]["value"], metric


def test_later_rounds_are_more_than_the_first_mask_again(run_of, demo_root, demo_tokenizer):
    run, task = run_of("interactive", "demo"), load_tasks()["interactive"]
    everything = read_samples(task, task.metadata.default_split, str(demo_root), LIMITS["interactive"])
    samples = [s for s in everything if len(s.turns) > 1]
    assert len(samples) > 20
    repeated = []
    for sample in samples:
        first = parse(sample.turns[1].text)[0].codes
        with Image.open(sample.image.path) as file:
            picture = np.asarray(file.convert("RGB"))
        mask = demo_tokenizer.decode(picture, np.array([first]))[0]
        repeated.append(Prediction(id=sample.id, masks=[encode(np.asarray(mask)).to_coco()]))
    answers = {p.id: p for p in read_predictions(RunFolder(run.path).parts())}
    own = score(task, samples, [answers[s.id] for s in samples], protocols=["strict"]).metrics["strict"]["giou"]
    again = score(task, samples, repeated, protocols=["strict"]).metrics["strict"]["giou"]
    assert own["value"] > again["value"] + 0.1
