"""The recipe of the bundled mask tokenizer: scenes of the demo world -> a trained tokenizer folder."""

from __future__ import annotations

from functools import lru_cache

from samtok_eval.tokenizer.config import MaskTokenizerConfig
from samtok_eval.training.tokenizer.recipe import TokenizerJob, TokenizerRecipe

SCENES = 6000
HELD_OUT_SCENES = 150
FEW_HELD_OUT_SCENES = 8
"""Of a run with another number of steps than the recipe's."""
PRESETS = {
    "demo": TokenizerRecipe(
        MaskTokenizerConfig(
            image_size=128,
            embed_dim=16,
            num_heads=1,
            stages=(1, 1, 2, 1),
            global_att_blocks=(3,),
            window_pos_embed_bkg_spatial_size=(8, 8),
            window_spec=(8, 4, 8, 4),
            d_model=64,
            backbone_channel_list=(128, 64, 32, 16),
            latent_dim=64,
            decoder_heads=4,
            decoder_mlp_dim=128,
            decoder_downsample_rate=1,
        ),
        steps=4000,
    )
}
"""Recipes that bring their data."""


def train_on_scenes(recipe: TokenizerRecipe, job: TokenizerJob, held_out: int = HELD_OUT_SCENES) -> None:
    """Train on scenes of the demo world.

    Args:
        recipe: settings.
        job: folder and everything around; its data is not asked for.
        held_out: scenes of a report.

    Raises:
        UsageError: anything `train_tokenizer` refuses.
        CheckpointError: `job.init` does not fit.
    """
    from samtok_eval.demo.training.corpus import DEVELOPMENT, masked_picture
    from samtok_eval.training.tokenizer.trainer import train_tokenizer

    picture = lru_cache(maxsize=None)(masked_picture)
    shown = [masked_picture(DEVELOPMENT + i) for i in range(held_out)]
    data = {"scenes": SCENES, "held_out_scenes": held_out}
    train_tokenizer(recipe, job, lambda i: picture(i % SCENES), shown, data)
