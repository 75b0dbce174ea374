"""The modules for `evaluate`: loaded by path, equal to the harness's own numbers however the rows arrive.

`evaluate` reads its environment when it is imported, and takes seconds for that. One spawned process, offline and with
caches of its own, therefore answers for the whole file; this process never imports it.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from samtok_eval import masks
from samtok_eval.errors import DataError, UsageError
from samtok_eval.masks import Rle
from samtok_eval.metrics import modules
from samtok_eval.metrics.modules import location
from samtok_eval.metrics.modules.mask_family import NO_ANSWER
from samtok_eval.prediction import CocoRle, Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.sample import ImageRef, Sample, Target

pytestmark = pytest.mark.skipif(importlib.util.find_spec("evaluate") is None, reason="evaluate is not installed")

SQUARE = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
CORNER = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], dtype=bool)
NOTHING = np.zeros((4, 4), dtype=bool)
TASK_OF = {"gres": "gres", "mask_iou": "gres", "boundary_iou": "reconstruction"}


def row(mask):
    return masks.encode(mask).to_coco()


SQUARE_ROW, CORNER_ROW, EMPTY_ROW = row(SQUARE), row(CORNER), row(NOTHING)
HAND = [
    (SQUARE_ROW, SQUARE_ROW),  # 4 / 4
    (CORNER_ROW, SQUARE_ROW),  # 1 / 7
    (EMPTY_ROW, SQUARE_ROW),  # 0 / 4
    (EMPTY_ROW, EMPTY_ROW),  # nothing meant, nothing found
    (CORNER_ROW, EMPTY_ROW),  # nothing meant, 4 pixels found
]


def random_rows(count=60):
    """Pairs of pictures of several sizes; some masks are empty, some answers equal the truth, some are missing."""
    rng = np.random.default_rng(7)
    pairs = []
    for i in range(count):
        truth = rng.random(tuple(rng.integers(1, 40, 2))) < rng.choice([0.0, 0.5, 1.0])
        answer = truth ^ (rng.random(truth.shape) < rng.choice([0.0, 0.1, 0.5]))
        pairs.append((dict(NO_ANSWER) if i % 9 == 4 else row(answer), row(truth)))
    return pairs


def go_offline(home):
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_EVALUATE_OFFLINE", "HF_DATASETS_OFFLINE"), "1")
    os.environ.update(offline, HF_HOME=home)


def columns(pairs):
    return {"predictions": [pair[0] for pair in pairs], "references": [pair[1] for pair in pairs]}


def compute(name, pairs, batches=None, **settings):
    import evaluate

    module = evaluate.load(location(name), **settings)
    if batches is None:
        return module.compute(**columns(pairs))
    start = 0
    for size in batches:
        module.add_batch(**columns(pairs[start : start + size]))
        start += size
    assert start == len(pairs)
    return module.compute()


def compute_one_by_one(name, pairs):
    import evaluate

    module = evaluate.load(location(name))
    for prediction, reference in pairs:
        module.add(prediction=prediction, reference=reference)
    return module.compute()


def compute_combined(names, pairs):
    import evaluate

    return evaluate.combine([location(name) for name in names]).compute(**columns(pairs))


def compute_by_class(pairs):
    from samtok_eval.metrics.modules.mask_iou.mask_iou import MaskIou

    return MaskIou().compute(**columns(pairs))


def compute_in_two_processes(name, pairs, cache):
    fork = multiprocessing.get_context("fork")
    settings = {"num_process": 2, "experiment_id": "halves", "cache_dir": cache}
    split = len(pairs) // 3
    results = fork.Queue()
    second = fork.Process(
        target=lambda: results.put(compute(name, pairs[split:], [len(pairs) - split], process_id=1, **settings))
    )
    second.start()
    first = compute(name, pairs[:split], [split], process_id=0, **settings)
    second.join()
    return first, results.get()


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """Call a function of this file in the process that may import `evaluate`."""
    spawn = multiprocessing.get_context("spawn")
    home = str(tmp_path_factory.mktemp("home"))
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=go_offline, initargs=(home,)) as pool:
        yield lambda function, *given, **settings: pool.submit(function, *given, **settings).result()


def harness(task_name, pairs):
    """The task's own numbers under `strict` for the same masks, as `score` would find them."""
    task = load_tasks()[task_name]
    protocol = next(protocol for protocol in task.protocols if protocol.name == "strict")
    records = []
    for i, (answer, truth) in enumerate(pairs):
        target = Rle.from_coco(truth)
        image = ImageRef(str(i), Path("none.png"), target.height, target.width)
        sample = Sample(str(i), image, (), Target((target,)))
        prediction = None if answer == NO_ANSWER else Prediction(id=str(i), masks=[CocoRle(**answer)])
        records.append(task.score(sample, prediction, protocol))
    return {name: metric.value for name, metric in task.metrics(records, "strict").items()}


def test_mask_iou_of_a_case_worked_by_hand(apart):
    assert apart(compute, "mask_iou", HAND) == {
        "giou": pytest.approx((1 + 1 / 7 + 0 + 1 + 0) / 5),
        "ciou": pytest.approx((4 + 1 + 0 + 0 + 0) / (4 + 7 + 4 + 0 + 4)),
        **dict.fromkeys(("pr@0.5", "pr@0.6", "pr@0.7", "pr@0.8", "pr@0.9"), pytest.approx(1 / 3)),
    }


def test_gres_of_a_case_worked_by_hand(apart):
    found = apart(compute, "gres", HAND)
    assert list(found)[:4] == ["ciou", "giou", "n_acc", "t_acc"]
    assert (found["n_acc"], found["t_acc"]) == (pytest.approx(1 / 2), pytest.approx(2 / 3))
    assert found["ciou"] == pytest.approx(5 / 19)


def test_boundary_iou_of_a_case_worked_by_hand(apart):
    """In a 4x4 picture the band is one pixel wide, so 2x2 masks are their own boundary and a full mask a ring of 12."""
    full = row(np.ones((4, 4), dtype=bool))
    pairs = [*HAND[:2], (full, SQUARE_ROW), (full, full)]
    assert apart(compute, "boundary_iou", pairs) == {"boundary_iou": pytest.approx((1 + 1 / 7 + 0 + 1) / 4)}


def test_an_answer_that_does_not_exist_fails_also_where_nothing_is_meant(apart):
    missing = dict(NO_ANSWER)
    for pairs in ([(missing, EMPTY_ROW), HAND[3]], [HAND[3], (missing, EMPTY_ROW)]):
        found = apart(compute, "gres", pairs)
        assert (found["giou"], found["n_acc"], found["t_acc"], found["ciou"]) == (0.5, 0.5, None, None)


@pytest.mark.parametrize("name", modules.NAMES)
def test_random_masks_give_the_numbers_of_the_harness(apart, name):
    pairs = random_rows()
    if name == "boundary_iou":
        # The task is about masks with a pixel; both-empty pairs are 1 here, as in the other modules.
        pairs = [pair for pair in pairs if masks.area(Rle.from_coco(pair[1]))]
    expected = harness(TASK_OF[name], pairs)
    found = apart(compute, name, pairs)
    assert found == {key: expected[key] for key in found}
    assert found.keys() == expected.keys() if name == "gres" else found.keys() <= expected.keys()


@pytest.mark.parametrize("name", modules.NAMES)
def test_rows_may_come_at_once_in_uneven_batches_or_one_by_one(apart, name):
    pairs = random_rows()
    whole = apart(compute, name, pairs)
    assert apart(compute, name, pairs, [1, 37, 2, 20]) == whole
    assert apart(compute_one_by_one, name, pairs) == whole
    assert apart(compute, name, pairs, keep_in_memory=True) == whole


def test_modules_of_the_family_can_be_combined(apart):
    pairs = random_rows()
    combined = apart(compute_combined, modules.NAMES, pairs)
    single = {name: apart(compute, name, pairs) for name in modules.NAMES}
    assert combined["boundary_iou"] == single["boundary_iou"]["boundary_iou"]
    assert combined["n_acc"] == single["gres"]["n_acc"]
    # A key that several modules have gets the name of its module before it.
    assert combined["gres_giou"] == combined["mask_iou_giou"] == single["gres"]["giou"]


@pytest.mark.parametrize("name", ["gres", "boundary_iou"])
def test_two_processes_give_the_numbers_of_one(apart, tmp_path, name):
    pairs = random_rows()
    first, second = apart(compute_in_two_processes, name, pairs, str(tmp_path))
    assert first == apart(compute, name, pairs)
    assert second is None


def test_the_class_can_be_used_without_load(apart):
    assert apart(compute_by_class, HAND) == apart(compute, "mask_iou", HAND)


def test_without_samples_nothing_has_a_value(apart):
    assert set(apart(compute, "gres", []).values()) == {None}


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((row(np.ones((5, 4), dtype=bool)), SQUARE_ROW), "sample 1: expected .* size 4x4, got 5x4; bring"),
        (({"size": [4, 4], "counts": SQUARE_ROW["counts"][:-1]}, SQUARE_ROW), "sample 1, prediction: .*; give COCO"),
        ((SQUARE_ROW, {"size": [4, 5], "counts": SQUARE_ROW["counts"]}), "sample 1, reference: .* sum to 4x5=20, got"),
        (({"size": [16], "counts": "`0"}, SQUARE_ROW), "sample 1, prediction: an RLE must be"),
        (({"size": [4, 4], "counts": SQUARE_ROW["counts"].encode()}, SQUARE_ROW), r"counts.decode\(\)"),
        ((SQUARE_ROW, NO_ANSWER), "sample 1, reference: an RLE must be"),
        ((None, SQUARE_ROW), "sample 1, prediction: an RLE must be .* got None"),
    ],
)
def test_broken_rows_are_refused_with_their_place(apart, pair, message):
    with pytest.raises(DataError, match=message):
        apart(compute, "mask_iou", [HAND[0], pair], keep_in_memory=True)


def test_every_folder_has_a_name_and_a_card():
    folders = {path.parent for path in Path(modules.__file__).parent.glob("*/*.py")}
    assert {folder.name for folder in folders} == set(modules.NAMES)
    for name in modules.NAMES:
        assert (Path(location(name)) / f"{name}.py").is_file()
        assert (Path(location(name)) / "README.md").read_text().startswith(f"# `{name}`")


def test_an_unknown_module_is_refused_with_near_names():
    with pytest.raises(UsageError, match="unknown evaluate module 'maskiou'; did you mean mask_iou"):
        location("maskiou")
    with pytest.raises(UsageError, match="choose from boundary_iou, gres, mask_iou"):
        location("wer")
