"""Training of the mask tokenizer at any scale: streams, ranks, resume, errors, live metrics.

Run as a program (`python -m tests.training.tokenizer.test_trainer DATA OUT`) this file is one rank of a tiny training.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from samtok_eval.errors import CheckpointError, DataError, TooManyErrorsError, UsageError
from samtok_eval.setting import changed
from samtok_eval.tokenizer.config import MaskTokenizerConfig
from samtok_eval.tokenizer.model import MaskTokenizer
from samtok_eval.training.tokenizer.codebooks import collapse_warning
from samtok_eval.training.tokenizer.from_data import train_from_data
from samtok_eval.training.tokenizer.log import TrainingLog, Window
from samtok_eval.training.tokenizer.losses import uncertain_points
from samtok_eval.training.tokenizer.recipe import PAPER, TokenizerJob, TokenizerRecipe, with_changes
from samtok_eval.training.tokenizer.state import load_start
from samtok_eval.training.tokenizer.streams import JoinedSources, MaskStream, split_held_out
from tests.support.mask_collections import (
    broken_coco,
    scene,
    write_coco,
    write_coconut,
    write_index_folder,
    write_mask_folders,
    write_panoptic,
    write_sa1b,
)

MODEL = MaskTokenizerConfig(
    image_size=64, embed_dim=8, num_heads=1, stages=(1, 1, 2, 1), global_att_blocks=(3,), d_model=32, latent_dim=32,
    window_pos_embed_bkg_spatial_size=(4, 4), window_spec=(8, 4, 4, 2), backbone_channel_list=(64, 32, 16, 8),
    codebook_size=8, decoder_heads=2, decoder_mlp_dim=32, decoder_downsample_rate=1,
)  # fmt: skip
SMALL = replace(
    PAPER, model=MODEL, steps=20, pictures_per_step=4, masks_per_picture=3, learning_rate=1e-3, trained="all",
    unquantized_share=0.4, book_start="kmeans", restart_count=None, loss_points=48, candidates="all", iou_weight=1.0,
    second_code_dropout=0.2, restart_below=0.5, evaluate_every=10,
)  # fmt: skip
OPTIONS = {"device": "cpu", "log_every": 1, "save_every": 5, "held_out_pictures": 3, "tensorboard": False}


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("coco"))


def train(spec, out, settings=SMALL, **options):
    train_from_data(settings, TokenizerJob(out, data=(spec,), **{**OPTIONS, **options}))
    return steps_of(out)


def steps_of(out, name="training_steps.jsonl"):
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def losses(lines):
    return np.array([line["loss"] for line in lines])


@pytest.fixture(scope="module")
def unbroken(coco, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken") / "run"
    train(coco, out, tensorboard=True)
    return out


# ---- streams ----


@pytest.mark.parametrize(
    "write", [write_coco, write_sa1b, write_panoptic, write_coconut, write_index_folder, write_mask_folders]
)
def test_every_format_gives_its_pictures_and_masks(write, tmp_path):
    source = JoinedSources.of_specs([write(tmp_path / "data")])
    for number in range(3):
        opened = source.open(number)
        image, expected = scene(number)
        assert (opened.image() == image).all()
        found = [opened.mask(i) for i in range(opened.count)]
        assert sorted(m.tobytes() for m in found) == sorted(m.tobytes() for m in expected)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("voc:/x", UsageError, "sa1b:FOLDER"),
        ("coco:/x.json", UsageError, "coco:JSON@PICTURES"),
        ("sa1b:/x@/y", UsageError, "sa1b:FOLDER"),
        ("sa1b:/not/there", DataError, "no folder"),
    ],
)
def test_wrong_data_says_what_to_write(spec, error, message):
    with pytest.raises(error, match=message):
        JoinedSources.of_specs([spec])


def test_a_pass_shows_every_picture_once_in_an_order_of_its_own_that_the_seed_decides(coco):
    source = JoinedSources.of_specs([coco])

    def order(seed, one_pass):
        stream = MaskStream(source, np.arange(11), seed)
        return [stream._at(11 * one_pass + place) for place in range(11)]

    assert sorted(order(0, 0)) == sorted(order(0, 1)) == list(range(11))
    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, one_pass)) for seed in (0, 1) for one_pass in (0, 1)}) == 4


def test_held_out_pictures_are_never_trained_on():
    training, held_out = split_held_out(20, 5, seed=3)
    assert sorted([*training, *held_out]) == list(range(20))
    with pytest.raises(UsageError, match="give more data"):
        split_held_out(5, 5, seed=0)


def test_broken_and_empty_things_are_skipped_counted_and_limited(tmp_path, caplog):
    spec = broken_coco(tmp_path / "data")
    held_out = write_coco(tmp_path / "held_out", 2)
    settings = replace(SMALL, steps=8, unquantized_share=1.0)
    lines = train(spec, tmp_path / "run", settings, held_out=(held_out,), max_errors=2)
    warned = [record.getMessage()[:10] for record in caplog.records if record.levelname == "WARNING"]
    assert sorted(warned) == ["skipped: 0", "skipped: i"]
    assert lines[-1]["skipped_broken"] == 2  # the picture and the run lengths, however often they are met
    assert lines[-1]["skipped_empty"] == 1 + 3 + 1  # masks, and the picture that has no other
    with pytest.raises(TooManyErrorsError, match="--max-errors allows 1"):
        train(spec, tmp_path / "other", settings, held_out=(held_out,), max_errors=1)


def test_data_without_any_mask_says_so(tmp_path):
    spec = write_coco(tmp_path, 3)
    content = json.loads((tmp_path / "instances.json").read_text())
    (tmp_path / "instances.json").write_text(json.dumps({**content, "annotations": []}))
    stream = MaskStream(JoinedSources.of_specs([spec]), np.arange(3), 0)
    with pytest.raises(DataError, match="no mask with a pixel"):
        stream.draw(0, 1, np.random.default_rng(0))


# ---- ranks, accumulation, resume ----


def test_two_ranks_learn_what_one_rank_with_their_batches_joined_learns(coco, unbroken, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
        "--master-port", str(port), "--module", "tests.training.tokenizer.test_trainer", coco, str(tmp_path / "run"),
    ]  # fmt: skip
    root = Path(__file__).parents[3]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = steps_of(unbroken), steps_of(tmp_path / "run")
    assert len(one) == len(two) == 20
    assert np.abs(losses(one) - losses(two)).max() < 1e-4
    assert one[-1]["used"] == two[-1]["used"]


def test_accumulation_checkpointing_and_reading_processes_change_nothing(coco, unbroken, tmp_path):
    lines = train(coco, tmp_path / "run", pictures_at_once=2, gradient_checkpointing=True, workers=1)
    assert np.abs(losses(lines) - losses(steps_of(unbroken))).max() < 1e-4


def test_a_killed_run_goes_on_exactly_where_it_was(coco, unbroken, tmp_path):
    """Killed in step 13, after the checkpoint of step 10, in the phase in which books move."""
    out = tmp_path / "run"
    child = multiprocessing.get_context("fork").Process(target=train_until_killed, args=(coco, out))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    assert steps_of(out)[-1]["step"] >= 11
    lines = train(coco, out, resume=True)
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert (losses(lines) == losses(steps_of(unbroken))).all()
    first, second = (steps_of(folder, "training_log.jsonl")[-1] for folder in (unbroken, out))
    assert first["two_codes"] == second["two_codes"]


def train_until_killed(spec, out):
    from samtok_eval.training.tokenizer import trainer as tokenizer

    step = tokenizer.TokenizerTrainer._step

    def deadly(self, number, batches):
        if number == 12:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, number, batches)

    tokenizer.TokenizerTrainer._step = deadly
    train(spec, out)


def test_other_settings_or_data_are_refused_by_name(coco, unbroken, tmp_path):
    with pytest.raises(UsageError, match=r"learning_rate was 0\.001, now 0\.002"):
        train(coco, unbroken, replace(SMALL, learning_rate=2e-3), resume=True)
    with pytest.raises(UsageError, match=r"data\.pictures\.count was 11, now 5"):
        train(write_coco(tmp_path / "other", 5), unbroken, resume=True)
    with pytest.raises(UsageError, match="give --resume"):
        train(coco, unbroken)
    with pytest.raises(UsageError, match="no run to resume"):
        train(coco, tmp_path / "nothing", resume=True)


def test_a_fresh_run_leaves_nothing_of_the_one_before(coco, tmp_path):
    settings = replace(SMALL, steps=2, unquantized_share=1.0)
    train(coco, tmp_path / "run", settings)
    lines = train(coco, tmp_path / "run", replace(settings, learning_rate=2e-3), fresh=True)
    assert [line["step"] for line in lines] == [1, 2]
    assert json.loads((tmp_path / "run" / "training.json").read_text())["learning_rate"] == 2e-3


# ---- what the run says ----


def test_live_metrics_reach_both_logs_and_tensorboard(unbroken):
    lines = steps_of(unbroken)
    assert sum(line["restarted"] for line in lines) > 0
    assert "used" not in lines[7] and len(lines[8]["perplexities"]) == 2
    assert {"loss", "bce", "dice", "commitment", "iou", "rate", "restarted", "masks_per_second"} <= lines[-1].keys()
    evaluations = steps_of(unbroken, "training_log.jsonl")
    assert [line["step"] for line in evaluations] == [10, 20]
    assert {"unquantized", "two_codes", "first_code", "used", "perplexities"} <= evaluations[0].keys()
    assert list((unbroken / "tensorboard").glob("events*"))
    MaskTokenizer.from_pretrained(unbroken)


def test_a_collapsing_book_is_named_once_with_what_to_do(tmp_path, caplog):
    window = Window(2, 64)
    window.codes[0, :2] = 200
    window.codes[1] = 5
    log = TrainingLog(tmp_path, 10, 0, writes=True, tensorboard=False)
    with caplog.at_level(logging.WARNING):
        log.step(1, window, {"rate": 0.1})
        log.step(2, window, {"rate": 0.1})
    log.close()
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "codebook 1 is collapsing: 2 of 64" in warning and "--batch-size" in warning
    assert collapse_warning(0, torch.ones(64, dtype=torch.int64)) is None  # too little was seen to say anything


def test_out_of_memory_names_the_settings_that_help(coco, tmp_path, monkeypatch):
    def full(self, pixels):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(MaskTokenizer, "encode_pixels", full)
    with pytest.raises(UsageError, match=r"4 pictures at once of 64 pixels.*--batch-per.*--image.*checkpointing"):
        train(coco, tmp_path / "run")


def test_a_loss_that_is_not_finite_ends_the_run(coco, tmp_path):
    with pytest.raises(UsageError, match=r"step \d+ is not finite.*--learning-rate"):
        train(coco, tmp_path / "run", replace(SMALL, learning_rate=1e30))


# ---- recipe, weights, points ----


def test_bfloat16_follows_float32(coco, unbroken, tmp_path):
    lines = train(coco, tmp_path / "run", replace(SMALL, dtype="bfloat16"))
    assert np.abs(losses(lines) - losses(steps_of(unbroken))).max() < 0.1


def test_the_paper_recipe_freezes_the_trunk_and_both_score_heads(coco, tmp_path):
    fresh = MaskTokenizer(MODEL)
    weights = {name: value for name, value in fresh.sam.state_dict().items() if "mask_encoder" not in name}
    torch.save({"model": weights}, tmp_path / "s.pt")
    settings = replace(PAPER, model=MODEL, steps=2, pictures_per_step=4, learning_rate=1e-2, loss_points=32)
    train(coco, tmp_path / "run", settings, init=tmp_path / "s.pt")
    before, after = fresh.state_dict(), MaskTokenizer.from_pretrained(tmp_path / "run").state_dict()
    moved = {name.split(".")[2] + "." + name.split(".")[3] for name in before if not before[name].equal(after[name])}
    assert {"sam_mask_decoder.transformer", "sam_mask_decoder.conv_s0", "sam_mask_encoder.transformer"} <= moved
    frozen = ("image_encoder", "sam_prompt_encoder", "no_mem_embed", "sam_mask_decoder.iou_prediction", "pred_obj")
    assert not any(part in name for part in frozen for name in moved)


def test_sam_weights_of_another_size_are_refused(tmp_path):
    torch.save({"model": MaskTokenizer(MODEL).sam.state_dict()}, tmp_path / "sam.pt")
    wider = MODEL.model_copy(update={"d_model": 16, "latent_dim": 16})
    with pytest.raises(CheckpointError, match="has shape"):
        load_start(MaskTokenizer(wider), tmp_path / "sam.pt")


def test_the_paper_recipe_counts_its_steps_from_the_data():
    settings = PAPER.resolved(11_185_362, on_cuda=True)
    assert (settings.steps, settings.warmup_steps, settings.dtype) == (218_465, 10_923, "bfloat16")
    with pytest.raises(UsageError, match="--steps"):
        PAPER.resolved(None, on_cuda=False)
    with pytest.raises(UsageError, match="balanced"):
        TokenizerRecipe(MODEL, steps=1, loss_points=5).resolved(None, on_cuda=False)
    with pytest.raises(UsageError, match="no setting 'lr'"):
        changed(PAPER, {"lr": 1})
    with pytest.raises(UsageError, match="--image-size 100 does not fit"):
        with_changes(PAPER, {}, image_size=100)


def test_another_number_of_steps_is_evaluated_twice_unless_the_user_says_otherwise():
    assert with_changes(PAPER, {"steps": 10}).evaluate_every == 5
    assert with_changes(PAPER, {"steps": 10, "evaluate_every": 3}).evaluate_every == 3
    assert with_changes(PAPER, {"seed": 1}).evaluate_every == PAPER.evaluate_every


def test_points_gather_where_the_mask_ends():
    logits = torch.linspace(-8, 8, 64).expand(2, 1, 64, 64)
    settings = replace(PAPER, point_importance=0.75)
    points = uncertain_points(logits, 400, settings, torch.Generator().manual_seed(0))
    assert points.shape == (2, 400, 2) and points.min() >= 0 and points.max() <= 1
    near = ((points[..., 0] - 0.5).abs() < 0.15).float().mean(1)
    assert (near > 0.75).all()


if __name__ == "__main__":
    train(sys.argv[1], Path(sys.argv[2]))
