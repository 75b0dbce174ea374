"""Parity with the official mask tokenizer on deterministic weights, and the rules of loading.

The golden files were made by running the official code in float32 on a CPU with weights filled by a fixed rule: see
golden/README.md.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from samtok_eval import masks
from samtok_eval.errors import CheckpointError
from samtok_eval.masks import Rle
from samtok_eval.tokenizer import MaskTokenizer, MaskTokenizerConfig
from samtok_eval.tokenizer.checkpoint import PUBLISHED_FILE

GOLDEN = Path(__file__).parents[1] / "golden"
EMBEDDING_TOLERANCE, LOGIT_TOLERANCE, BOX_TOLERANCE = 5e-4, 1e-4, 1e-7


def fill_by_rule(tokenizer: MaskTokenizer) -> None:
    """Weights as a function of their names alone; the rule is written out in golden/README.md."""
    state = tokenizer.state_dict()
    for key, value in state.items():
        if key.endswith(".embed_ema"):
            continue
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") % 2**63
        z = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))
        if key.endswith(".cluster_size_ema"):
            z = torch.ones(value.shape)
        elif key.startswith("quantizer.codebooks.") and key.endswith(".weight"):
            z[-1] = 0
        elif key.endswith("positional_encoding_gaussian_matrix"):
            pass
        elif z.ndim >= 2:
            z = z / (z.numel() / z.shape[0]) ** 0.5
            z = z * 3 if ".sam_mask_encoder.transformer." in key else z
        else:
            z = 1 + 0.02 * z if key.endswith(".weight") else 0.02 * z
        value.copy_(z)
    for key in state:
        if key.endswith(".embed_ema"):
            state[key].copy_(state[key.replace(".embed_ema", ".weight")][:-1])


class Goldens:
    def __init__(self, name: str) -> None:
        self.facts = json.loads((GOLDEN / f"{name}.json").read_text())
        self.arrays = np.load(GOLDEN / f"{name}.npz")
        self.tokenizer = MaskTokenizer(MaskTokenizerConfig(**self.facts["config"]))
        fill_by_rule(self.tokenizer)

    def picture(self, name: str) -> np.ndarray:
        return np.asarray(Image.open(GOLDEN / f"image_{name}.png").convert("RGB"))

    def masks(self, name: str) -> np.ndarray:
        return np.stack([masks.decode(Rle.from_coco(m["rle"])) for m in self.facts["images"][name]["masks"]])


@pytest.fixture(scope="module")
def small() -> Goldens:
    return Goldens("small")


@pytest.fixture(scope="module")
def full() -> Goldens:
    return Goldens("full")


def check_keys(goldens: Goldens) -> None:
    found = {key: list(value.shape) for key, value in goldens.tokenizer.state_dict().items()}
    assert found == goldens.facts["keys"]


def check_picture(goldens: Goldens, name: str) -> None:
    tokenizer, picture, regions = goldens.tokenizer, goldens.picture(name), goldens.masks(name)
    facts = goldens.facts["images"][name]
    embedding = tokenizer.embed(picture, regions).numpy()
    assert np.abs(embedding - goldens.arrays[f"{name}/embedding"]).max() < EMBEDDING_TOLERANCE
    assert tokenizer.encode(picture, regions).tolist() == [mask["codes"] for mask in facts["masks"]]

    codes = torch.tensor([item["codes"] for item in facts["decode"]])
    before = codes.clone()
    with torch.inference_mode():
        state = tokenizer.encode_pixels(tokenizer.pixels([picture]))
        vectors = tokenizer.quantizer.decode(codes, "zero")
        output = tokenizer.logits(state, torch.zeros(len(codes), dtype=torch.int64), vectors)
    assert (codes == before).all()
    assert output.picked.tolist() == [item["picked"] for item in facts["decode"]]
    stride = output.best.shape[-1] // goldens.arrays[f"{name}/decode_logits"].shape[-1]
    difference = output.best.numpy()[:, ::stride, ::stride] - goldens.arrays[f"{name}/decode_logits"]
    assert np.abs(difference).max() < LOGIT_TOLERANCE
    found = tokenizer.masks_from_logits(output.best, *picture.shape[:2])
    for item, mask in zip(facts["decode"], found, strict=True):
        truth = masks.decode(Rle.from_coco(item["rle_gt_half"]))
        assert (truth != mask).sum() <= item["pixels_within_1e3_of_half"]

    alone = tokenizer.decode_logits(picture, torch.tensor([[facts["masks"][0]["codes"][0], -1]]), "skip").numpy()
    golden = goldens.arrays[f"{name}/first_codeword_only_logits"]
    assert np.abs(alone[:, ::stride, ::stride] - golden).max() < LOGIT_TOLERANCE


def test_small_state_dict_has_the_official_keys_and_shapes(small):
    check_keys(small)


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_small_tokenizer_equals_the_official_one(small, name):
    check_picture(small, name)


@pytest.mark.full
def test_full_state_dict_has_the_992_official_keys_and_the_rule_fills_it(full):
    check_keys(full)
    state = full.tokenizer.state_dict()
    assert len(state) == 992
    assert sum(float(v.double().sum()) for v in state.values()) == pytest.approx(full.facts["weights_sum"], rel=1e-6)
    squares = sum(float(v.double().pow(2).sum()) for v in state.values())
    assert squares == pytest.approx(full.facts["weights_sumsq"], rel=1e-6)


@pytest.mark.full
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_full_tokenizer_equals_the_official_one(full, name):
    check_picture(full, name)


def test_boxes_are_inclusive_shares_and_an_empty_mask_has_the_zero_box(small):
    from samtok_eval.tokenizer.model import normalised_boxes

    for name in "abc":
        expected = [mask["box"] for mask in small.facts["images"][name]["masks"]]
        assert np.abs(normalised_boxes(small.masks(name)) - np.array(expected)).max() < BOX_TOLERANCE
    assert (normalised_boxes(np.zeros((1, 4, 4), dtype=bool)) == 0).all()


def test_one_by_one_equals_all_at_once(small):
    picture, regions = small.picture("c"), small.masks("c")
    together = small.tokenizer.encode(picture, regions)
    assert together.tolist() == [small.tokenizer.encode(picture, region[None])[0].tolist() for region in regions]
    both = small.tokenizer.decode(picture, together)
    assert (both == np.concatenate([small.tokenizer.decode(picture, codes[None]) for codes in together])).all()


def test_a_missing_second_code_is_skipped_or_decoded_as_entry_zero(small):
    picture = small.picture("a")
    missing, zero = torch.tensor([[98, -1]]), torch.tensor([[98, 0]])
    as_zero = small.tokenizer.decode_logits(picture, missing, "zero")
    assert (as_zero == small.tokenizer.decode_logits(picture, zero, "skip")).all()
    assert (as_zero - small.tokenizer.decode_logits(picture, missing, "skip")).abs().max() > 0.01
    assert (small.tokenizer.decode_logits(picture, missing) == as_zero).all()


def test_masks_of_0_and_255_are_read_as_those_of_bool(small):
    picture, regions = small.picture("a"), small.masks("a")
    assert (small.tokenizer.embed(picture, regions * np.uint8(255)) == small.tokenizer.embed(picture, regions)).all()


@pytest.mark.parametrize("shape", [(1, 4), (4,), (2, 2, 2)])
def test_boxes_of_another_shape_than_one_per_mask_are_refused(small, shape):
    with pytest.raises(ValueError, match=r"boxes must have shape \(2, 4\)"):
        small.tokenizer.encode(small.picture("a"), small.masks("a")[:2], np.zeros(shape, dtype=np.float32))


def test_no_masks_and_no_codes_are_fine(small):
    picture = small.picture("c")
    assert small.tokenizer.encode(picture, np.zeros((0, 191, 257), dtype=bool)).shape == (0, 2)
    assert small.tokenizer.decode(picture, torch.zeros(0, 2, dtype=torch.int64)).shape == (0, 191, 257)


@pytest.mark.parametrize("codes", [[[257, 0]], [[0, 300]], [[-2, 0]], [[0]], [0, 1]])
def test_codes_out_of_range_are_refused_before_the_look_up(small, codes):
    with pytest.raises(ValueError, match="codes must"):
        small.tokenizer.decode(small.picture("c"), torch.tensor(codes))


def test_masks_and_pictures_of_wrong_shape_are_refused(small):
    with pytest.raises(ValueError, match="masks must have shape"):
        small.tokenizer.encode(small.picture("c"), np.zeros((1, 3, 3), dtype=bool))
    with pytest.raises(ValueError, match="uint8"):
        small.tokenizer.encode(np.zeros((191, 257, 3)), np.ones((1, 191, 257), dtype=bool))


def test_the_picture_is_encoded_once_however_many_masks(small, monkeypatch):
    calls = []
    original = small.tokenizer.encode_pixels
    monkeypatch.setattr(small.tokenizer, "encode_pixels", lambda pixels: calls.append(len(pixels)) or original(pixels))
    small.tokenizer.decode(small.picture("a"), torch.tensor([[i, i] for i in range(8)]))
    assert calls == [1]


def test_our_folder_round_trips(small, tmp_path):
    small.tokenizer.save_pretrained(tmp_path)
    again = MaskTokenizer.from_pretrained(tmp_path)
    assert again.config == small.tokenizer.config
    assert all(
        (a == b).all() for a, b in zip(again.state_dict().values(), small.tokenizer.state_dict().values(), strict=True)
    )


def test_the_published_file_layout_loads_strictly(small, tmp_path, monkeypatch):
    # The published file is of full size; here the same reading code meets the small configuration.
    monkeypatch.setattr("samtok_eval.tokenizer.checkpoint.MaskTokenizerConfig", lambda: small.tokenizer.config)
    torch.save(small.tokenizer.state_dict(), tmp_path / PUBLISHED_FILE)
    again = MaskTokenizer.from_pretrained(tmp_path)
    assert (again.quantizer.codebooks[1].weight == small.tokenizer.quantizer.codebooks[1].weight).all()


def broken(tmp_path: Path, small: Goldens, damage: str) -> Path:
    small.tokenizer.save_pretrained(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    values = json.loads(config.read_text())
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    elif damage == "no weights":
        weights.unlink()
    elif damage == "no config":
        config.unlink()
    elif damage == "other size":
        config.write_text(json.dumps(values | {"codebook_size": 128}))
    elif damage == "other depth":
        config.write_text(json.dumps(values | {"codebook_depth": 3}))
    elif damage == "unknown key":
        config.write_text(json.dumps(values | {"colour": 1}))
    elif damage == "bad json":
        config.write_text("{")
    return tmp_path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncated", "truncated"),
        ("no weights", "incomplete"),
        ("no config", "no mask tokenizer"),
        ("other size", "has shape"),
        ("other depth", r"missing: quantizer\.codebooks\.2"),
        ("unknown key", "colour"),
        ("bad json", "JSON"),
    ],
)
def test_half_a_checkpoint_is_refused_with_the_reason(small, tmp_path, damage, message):
    with pytest.raises(CheckpointError, match=message):
        MaskTokenizer.from_pretrained(broken(tmp_path, small, damage))


def test_a_pth_that_holds_code_is_not_loaded(tmp_path):
    torch.save({"x": Path("x")}, tmp_path / PUBLISHED_FILE)
    with pytest.raises(CheckpointError, match="other than tensors"):
        MaskTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 1000}, "multiple of 16"),
        ({"d_model": 24, "latent_dim": 24}, "multiple of 16"),
        ({"latent_dim": 64}, "latent_dim must equal"),
        ({"backbone_channel_list": (1, 2, 3, 4)}, "embed_dim x"),
        ({"global_att_blocks": (2,)}, "first block of a stage"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        MaskTokenizerConfig(**change)


def test_the_shipped_tokenizer_reconstructs_held_out_scenes(demo_tokenizer):
    from samtok_eval.demo.benchmark import HELD_OUT
    from samtok_eval.demo.training.corpus import masked_picture
    from samtok_eval.training.tokenizer.trainer import reconstruct

    quality = reconstruct(demo_tokenizer, [masked_picture(HELD_OUT + i) for i in range(40)])
    assert quality.two_codes > 0.85
    assert quality.unquantized >= quality.two_codes > quality.first_code
