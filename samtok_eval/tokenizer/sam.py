"""The SAM 2.1 modules of a mask tokenizer, built from its configuration with the settings of SAM's own yaml files.

In: a `MaskTokenizerConfig`. Out: `sam2` modules with random weights, named as the published checkpoint names them.
"""

from __future__ import annotations

from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.transformer import RoPEAttention, TwoWayTransformer
from sam2.modeling.sam2_base import SAM2Base

from samtok_eval.tokenizer.config import SAM2_BACKBONE_STRIDE, MaskTokenizerConfig


def build_sam(config: MaskTokenizerConfig) -> SAM2Base:
    """Image encoder, prompt encoder and mask decoder, and the video memory where the configuration has it."""
    trunk = Hiera(
        embed_dim=config.embed_dim,
        num_heads=config.num_heads,
        stages=config.stages,
        global_att_blocks=config.global_att_blocks,
        window_pos_embed_bkg_spatial_size=config.window_pos_embed_bkg_spatial_size,
        window_spec=config.window_spec,
    )
    neck = FpnNeck(
        position_encoding=PositionEmbeddingSine(num_pos_feats=config.d_model, normalize=True),
        d_model=config.d_model,
        backbone_channel_list=list(config.backbone_channel_list),
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    sam = SAM2Base(
        image_encoder=ImageEncoder(trunk=trunk, neck=neck, scalp=1),
        memory_attention=_memory_attention(config) if config.has_video_memory else None,
        memory_encoder=_memory_encoder(config) if config.has_video_memory else None,
        image_size=config.image_size,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        no_obj_embed_spatial=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        add_tpos_enc_to_obj_ptrs=True,
        proj_tpos_enc_in_obj_ptrs=True,
        use_signed_tpos_enc_to_obj_ptrs=True,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        multimask_output_for_tracking=True,
        use_multimask_token_for_obj_ptr=True,
        multimask_min_pt_num=0,
        multimask_max_pt_num=1,
        use_mlp_for_obj_ptr_proj=True,
    )
    # SAM2Base builds its decoder at one fixed size; narrow models need fewer heads and a smaller MLP.
    sam.sam_mask_decoder = MaskDecoder(
        transformer_dim=config.d_model,
        transformer=two_way_transformer(config),
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
        use_high_res_features=True,
        iou_prediction_use_sigmoid=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        use_multimask_token_for_obj_ptr=True,
    )
    return sam


def two_way_transformer(config: MaskTokenizerConfig) -> TwoWayTransformer:
    """The attention stack of mask encoder and mask decoder: two layers between tokens and picture."""
    return TwoWayTransformer(
        depth=2,
        embedding_dim=config.d_model,
        num_heads=config.decoder_heads,
        mlp_dim=config.decoder_mlp_dim,
        attention_downsample_rate=config.decoder_downsample_rate,
    )


def _memory_attention(config: MaskTokenizerConfig) -> MemoryAttention:
    width = config.d_model
    side = config.image_size // SAM2_BACKBONE_STRIDE

    def rope(**extra: object) -> RoPEAttention:
        return RoPEAttention(
            rope_theta=10000.0,
            feat_sizes=(side, side),
            embedding_dim=width,
            num_heads=1,
            downsample_rate=1,
            dropout=0.1,
            **extra,
        )

    layer = MemoryAttentionLayer(
        activation="relu",
        dim_feedforward=2048,
        dropout=0.1,
        pos_enc_at_attn=False,
        self_attention=rope(),
        d_model=width,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        cross_attention=rope(rope_k_repeat=True, kv_in_dim=64),
    )
    return MemoryAttention(d_model=width, pos_enc_at_input=True, layer=layer, num_layers=4)


def _memory_encoder(config: MaskTokenizerConfig) -> MemoryEncoder:
    width = config.d_model
    return MemoryEncoder(
        out_dim=64,
        position_encoding=PositionEmbeddingSine(num_pos_feats=64, normalize=True),
        mask_downsampler=MaskDownSampler(kernel_size=3, stride=2, padding=1, embed_dim=width),
        fuser=Fuser(
            CXBlock(dim=width, kernel_size=7, padding=3, layer_scale_init_value=1e-6, use_dwconv=True), num_layers=2
        ),
        in_dim=width,
    )
