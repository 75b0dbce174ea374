"""The mask pool: codes of many pictures' masks, equal to those of one picture at a time."""

from __future__ import annotations

import numpy as np
from PIL import Image

from samtok_eval import masks
from samtok_eval.conversations.mask_pool import MaskPool
from samtok_eval.mask_tokens import Codes
from samtok_eval.registry import load_tasks


def test_each_picture_and_each_of_its_masks_is_encoded_once(demo_root, demo_tokenizer, monkeypatch):
    samples = load_tasks()["gcg"].read(demo_root, "val")[:3]
    pictures = [np.asarray(Image.open(s.image.path).convert("RGB")) for s in samples]
    several = [np.stack([masks.decode(rle) for rle in s.target.masks]) for s in samples]
    batches = []
    encode_pixels = demo_tokenizer.encode_pixels

    def counted(pixels):
        batches.append(len(pixels))
        return encode_pixels(pixels)

    monkeypatch.setattr(demo_tokenizer, "encode_pixels", counted)
    pool = MaskPool(demo_tokenizer, batch_size=2)
    places = [pool.add(p, m) for p, m in zip(pictures, several, strict=True)]
    assert pool.add(pictures[0], several[0]) == places[0]
    assert pool.add(pictures[0], several[0][:0]) == []
    pool.encode()
    assert batches == [2, 1]
    for picture, found, some in zip(pictures, places, several, strict=True):
        assert pool.codes(found) == [Codes(*pair) for pair in demo_tokenizer.encode(picture, some).tolist()]
