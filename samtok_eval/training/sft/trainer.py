"""Supervised fine-tuning of a Qwen2.5-VL or Qwen3-VL checkpoint of any size, on TRL's `SFTTrainer`.

In: a checkpoint and conversations in the released SFT format. Out: a checkpoint folder that `transformers`, its server
and this harness load, with `training.json` (settings, data, counts, versions), `training_log.jsonl`, the samples that
were left out, and for LoRA the adapter. The same command goes on where an interrupted one stopped.

Several conversations are never packed into one sequence: the library refuses that for samples with pictures. Batches of
like lengths (`order="by_length"`) save most of the padding instead. The loss of a step is the mean over all answer
tokens of its global batch, whatever the number of processes and the samples at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import PartialState
from datasets import Dataset, Features, List, Value
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import set_seed
from transformers.integrations import is_fsdp_enabled
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as transformers_logging
from trl import SFTConfig, SFTTrainer

from samtok_eval.errors import UsageError
from samtok_eval.hub import local_folder
from samtok_eval.training.sft.batches import ChatBatches, as_rows, survey
from samtok_eval.training.sft.data import Conversation, Skipped, Source, data_sha256, read_conversations, refuse_above
from samtok_eval.training.sft.export import export_full, merge_adapter
from samtok_eval.training.sft.recipe import FinetuneSettings
from samtok_eval.training.sft.run import FinetuneFolder, LogFile, versions
from samtok_eval.training.sft.vocabulary import add_mask_words, load_checkpoint

logger = logging.getLogger(__name__)

CUDA_WORKERS = 4
"""Processes per GPU that open pictures beside training."""


@dataclass(frozen=True)
class FinetuneJob:
    """What to train on what, and everything around it that changes no weight."""

    model: str
    """Folder or hub id."""
    data: tuple[str, ...]
    """Files or folders, each perhaps with `%N`."""
    out: Path
    settings: FinetuneSettings
    data_root: Path | None = None
    """Where relative picture paths begin; None: beside each data file."""
    held_out: str | None = None
    """Conversations whose loss is reported, with their own pictures and with each other's."""
    max_errors: int = 0
    """Unusable samples that may be left out."""
    check: Literal["whole", "header"] = "whole"
    """How much of each picture is read before training."""
    device: str = "auto"
    merge: bool = True
    """Write a LoRA model as a whole checkpoint, not as an adapter alone."""
    dtype: str = "auto"
    """Of the written checkpoint."""
    save_every: int = 500
    log_every: int = 10
    evaluate_every: int = 500
    keep: int = 2
    """Intermediate states kept."""
    workers: int | None = None
    report_to: tuple[str, ...] = ()
    fresh: bool = False


def finetune(job: FinetuneJob) -> Path:
    """Train and write a checkpoint.

    Args:
        job: what to do.

    Returns:
        The checkpoint folder; the adapter's folder when a LoRA model is not merged.

    Raises:
        CheckpointError: the checkpoint cannot be loaded or has only some of the mask words.
        DataError: a data file cannot be read, or nothing in it can be trained on.
        TooManyErrorsError: more unusable samples than `max_errors`.
        UsageError: settings that cannot be used together, a folder of another run, or too little memory.
    """
    transformers_logging.disable_progress_bar()
    base = local_folder(job.model)
    on_cuda = _on_cuda(job.device)
    arguments = _arguments(job, on_cuda)
    sources = [Source.from_text(text) for text in job.data]
    read, skipped = read_conversations(sources, job.data_root, job.settings.seed)
    refuse_above(skipped, job.max_errors)
    folder = FinetuneFolder(job.out, arguments.world_size)
    state = folder.begin(_binding(job, sources), job.fresh, arguments.should_save)
    model, processor = load_checkpoint(base, _weights_dtype(job.settings, on_cuda))
    added = add_mask_words(model, processor.tokenizer)
    if added and job.settings.lora_rank and job.settings.embeddings == "frozen":
        raise UsageError("--embeddings frozen: the mask words are new to this checkpoint, their rows must be trained")
    batches = ChatBatches(processor, job.settings.min_pixels, job.settings.max_pixels)
    kept, lengths, unusable = survey(read, batches, job.settings.max_length, job.check == "whole")
    skipped += unusable
    refuse_above(skipped, job.max_errors)
    if not kept:
        raise UsageError(f"no sample is left of {', '.join(job.data)}; {len(skipped)} were left out")
    if arguments.should_save:
        folder.note_data(_counts(kept, lengths, skipped), skipped, versions(), added)
    held_out = _held_out(job, batches)
    trainer = _trainer(job, arguments, _trainable(model, job.settings, arguments), processor, batches,
                       _rows(as_rows(kept, lengths)), held_out, folder)  # fmt: skip
    _train(trainer, state)
    return _finish(job, trainer, base, folder)


def _on_cuda(device: str) -> bool:
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: expected auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device is visible; use --device cpu, or mend the driver")
    return device != "cpu" and torch.cuda.is_available()


def _arguments(job: FinetuneJob, on_cuda: bool) -> Any:
    """The trainer's arguments. They exist before the model, because ZeRO-3 splits weights while they are loaded."""
    settings = job.settings
    processes = PartialState(cpu=not on_cuda).num_processes
    if on_cuda and processes == 1 and torch.cuda.device_count() > 1:
        raise UsageError(
            f"{torch.cuda.device_count()} GPUs are visible to one process; start with `accelerate launch`, see "
            "docs/train_sft.md, or choose one with CUDA_VISIBLE_DEVICES"
        )
    workers = job.workers if job.workers is not None else CUDA_WORKERS if on_cuda else 0
    return SFTConfig(
        output_dir=str(job.out / "steps"),
        use_cpu=not on_cuda,
        bf16=on_cuda,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation(processes),
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        max_steps=settings.steps or -1,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup,
        lr_scheduler_type="cosine",
        max_grad_norm=settings.clip_norm,
        activation_checkpointing=settings.checkpointing,
        train_sampling_strategy="group_by_length" if settings.order == "by_length" else "random",
        seed=settings.seed,
        data_seed=settings.seed,
        # Samples that are too long were left out; cutting one would part pictures from their marks.
        max_length=None,
        remove_unused_columns=False,
        dataloader_num_workers=workers,
        logging_steps=job.log_every,
        logging_first_step=True,
        save_steps=job.save_every,
        save_total_limit=job.keep,
        eval_strategy="steps" if job.held_out else "no",
        eval_steps=job.evaluate_every,
        prediction_loss_only=True,
        report_to=list(job.report_to) or "none",
        disable_tqdm=True,
    )


def _weights_dtype(settings: FinetuneSettings, on_cuda: bool) -> torch.dtype:
    """Trained weights are float32; a frozen base under adapters may be smaller."""
    # FSDP wants one dtype in each of its groups.
    small = on_cuda and settings.lora_rank is not None and not is_fsdp_enabled()
    return torch.bfloat16 if small else torch.float32


def _trainable(model: Any, settings: FinetuneSettings, arguments: Any) -> Any:
    """The model with gradients switched on where weights are trained; under LoRA wrapped in its adapter."""
    if settings.lora_rank is None:
        model.model.visual.requires_grad_(settings.vision == "trained")
        return model
    # Adapters start from random numbers, which must be the same on every process and in every run.
    set_seed(settings.seed)
    parts = ["language_model"] + (["visual"] if settings.vision == "trained" else [])
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=[
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and any(part in name.split(".") for part in parts)
        ],
        # Whole matrices, not the new rows alone: the trainer's fused loss knows no head with trainable rows.
        modules_to_save=["embed_tokens", "lm_head"] if settings.embeddings == "trained" else None,
        ensure_weight_tying=settings.embeddings == "trained" and bool(model.config.tie_word_embeddings),
        task_type="CAUSAL_LM",
    )
    deepspeed = arguments.deepspeed_plugin is not None
    adapted = get_peft_model(model, config, autocast_adapter_dtype=not deepspeed)
    if not deepspeed:
        # An update of 2e-5 is lost in a bfloat16 row; DeepSpeed keeps float32 copies itself.
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return adapted


class AnswerTrainer(SFTTrainer):
    """The library's trainer with one mean over all answer tokens of a step, and without reports to the hub."""

    def __init__(self, **options: Any) -> None:
        """Prepare.

        Args:
            options: as the library has them.
        """
        super().__init__(**options)
        # Qwen's models do not take the step's token count, the trainer's own loss does. Without it, the mean of the
        # parts' means depends on how a step is cut into parts.
        self.model_accepts_loss_kwargs = True

    def _send_telemetry(self) -> None:
        return


def _rows(rows: Sequence[dict[str, Any]]) -> Any:
    turns = List({"role": Value("string"), "text": Value("string")})
    features = Features({"images": List(Value("string")), "turns": turns, "length": Value("int64")})
    return Dataset.from_list(list(rows), features=features)


def _held_out(job: FinetuneJob, batches: ChatBatches) -> dict[str, Any] | None:
    """Held-out samples with their own pictures, and with the next sample's; a model that looks is worse at these."""
    if job.held_out is None:
        return None
    read, skipped = read_conversations([Source.from_text(job.held_out)], job.data_root, job.settings.seed)
    kept, lengths, unusable = survey(read, batches, job.settings.max_length, decode=True)
    refuse_above([*skipped, *unusable], 0)
    rows = [row for row in as_rows(kept, lengths) if len(row["images"]) == 1]
    if len(rows) < 2:
        raise UsageError(f"--held-out {job.held_out}: expected at least two samples with one picture, got {len(rows)}")
    rolled = [{**row, "images": other["images"]} for row, other in zip(rows, rows[1:] + rows[:1], strict=True)]
    return {"held_out": _rows(rows), "rolled": _rows(rolled)}


def _trainer(
    job: FinetuneJob, arguments: Any, model: Any, processor: Any, batches: ChatBatches, rows: Any, held_out: Any,
    folder: FinetuneFolder,
) -> Any:  # fmt: skip
    trainer = AnswerTrainer(
        model=model,
        args=arguments,
        data_collator=batches,
        train_dataset=rows,
        eval_dataset=held_out,
        processing_class=processor,
        callbacks=[LogFile(folder.log)],
    )
    trainer.remove_callback(PrinterCallback)
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    logger.info("training %d of %d weights on %d samples", trained, trainer.model.num_parameters(), len(rows))
    return trainer


def _train(trainer: Any, state: Path | None) -> None:
    try:
        trainer.train(resume_from_checkpoint=str(state) if state else None)
    except torch.OutOfMemoryError as error:
        raise UsageError(
            "out of memory; lower --batch-size (the global batch stays), --max-pixels or --max-length, keep "
            "--checkpointing on, train adapters instead of all weights (--lora-rank 128), or split the weights with "
            "the zero3 or fsdp configuration"
        ) from error


def _finish(job: FinetuneJob, trainer: Any, base: Path, folder: FinetuneFolder) -> Path:
    """Save with all processes, then write the checkpoint with the first."""
    adapter = job.settings.lora_rank is not None
    saved = folder.adapter if adapter else folder.trained
    trainer.save_model(str(saved))
    if not trainer.is_world_process_zero():
        return job.out
    # A pickle of the trainer's arguments; training.json has what matters.
    (saved / "training_args.bin").unlink(missing_ok=True)
    write = partial(merge_adapter, base, saved) if adapter else partial(export_full, saved, base)
    if job.merge or not adapter:
        write(job.out, job.dtype)
    folder.finish()
    return job.out if job.merge or not adapter else saved


def _binding(job: FinetuneJob, sources: Sequence[Source]) -> dict[str, Any]:
    return {"model": job.model, "data_sha256": data_sha256(sources), **job.settings.binding()}


def _counts(kept: Sequence[Conversation], lengths: Sequence[int], skipped: Sequence[Skipped]) -> dict[str, int]:
    return {
        "samples": len(kept),
        "skipped": len(skipped),
        "pictures": len({path for item in kept for path in item.pictures}),
        "tokens": sum(lengths),
        "longest": max(lengths),
    }
