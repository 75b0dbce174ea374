"""Writes `codes.json`: `python -m samtok_eval.demo.codes` after training a mask tokenizer.

The multi-round files show earlier answers as mask words, so whoever writes them needs a tokenizer's codes. Keeping the
codes in a small file lets the demo benchmark be built without torch.
"""

from __future__ import annotations

import json

import numpy as np

from samtok_eval.demo.benchmark import multi_round_scenes
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.demo.formats import CODES_FILE, seeds
from samtok_eval.demo.world.scenes import Scene, draw_scene
from samtok_eval.files import write_text
from samtok_eval.tokenizer.model import MaskTokenizer


def scene_codes(scene: Scene, tokenizer: MaskTokenizer) -> list[list[int]]:
    """One code pair per object."""
    found: list[list[int]] = tokenizer.encode(scene.image, np.stack([o.mask for o in scene.objects])).tolist()
    return found


def main() -> None:
    """Encode every object of the multi-round scenes."""
    tokenizer = MaskTokenizer.from_pretrained(DEMO_CHECKPOINT)
    found = {str(seed): scene_codes(draw_scene(seed), tokenizer) for seed in seeds(multi_round_scenes())}
    write_text(CODES_FILE, json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
