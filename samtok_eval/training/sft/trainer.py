"""Supervised fine-tuning of a Qwen2.5-VL or Qwen3-VL checkpoint of any size, on TRL's `SFTTrainer`.

In: a checkpoint and conversations in the released SFT format. Out: a checkpoint folder that `transformers`, its server
and this harness load, with `training.json` (settings, data, counts, versions), `training_log.jsonl`, the samples that
were left out, and for LoRA the adapter. The same command goes on where an interrupted one stopped.

Several conversations are never packed into one sequence: the library refuses that for samples with pictures. Batches of
like lengths (`order="by_length"`) save most of the padding instead. The loss of a step is the mean over all answer
tokens of its global batch, whatever the number of processes and the samples at once.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset, Features, List, Value
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import set_seed
from transformers.integrations import is_fsdp_enabled
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging as transformers_logging
from trl import SFTConfig, SFTTrainer

from samtok_eval.datasets.sft import layout_note, layout_of
from samtok_eval.device import choose_device, memory_named
from samtok_eval.errors import UsageError
from samtok_eval.files import write_text, writing
from samtok_eval.hub import local_folder
from samtok_eval.mask_tokens import Layout
from samtok_eval.models.select import named_layout
from samtok_eval.run.samples import data_root as resolved_root
from samtok_eval.training import eval_callback
from samtok_eval.training.checkpoint_files import WholeCheckpoints
from samtok_eval.training.eval_callback import EvaluationCallback
from samtok_eval.training.folder import BINDING, FINISHED, TrainingFolder
from samtok_eval.training.sft.batches import ChatBatches, as_rows, survey
from samtok_eval.training.sft.data import Conversation, Skipped, Source, data_sha256, read_conversations, refuse_above
from samtok_eval.training.sft.export import export_full, merge_adapter
from samtok_eval.training.sft.log import LOG_FILE, LogFile
from samtok_eval.training.sft.recipe import FinetuneJob, FinetuneRecipe
from samtok_eval.training.sft.vocabulary import add_mask_words, load_checkpoint
from samtok_eval.unfinished import flush, put

logger = logging.getLogger(__name__)

CUDA_WORKERS = 4
"""Processes per GPU that open pictures beside training."""
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate")
"""Whose versions are written down."""
STEPS, TRAINED, ADAPTER, SKIPPED = "steps", "trained", "adapter", "skipped.jsonl"
LOWER = ("--batch-size (the global batch stays)", "--max-pixels or --max-length")
ALSO = (
    "keep --checkpointing, train adapters instead of all weights (--lora-rank 128), or split the weights with the "
    "zero3 or fsdp configuration"
)
"""What saves memory."""


def finetune(recipe: FinetuneRecipe, job: FinetuneJob) -> Path:
    """Train and write a checkpoint.

    Args:
        recipe: what decides what is learned.
        job: what to train on what, and where.

    Returns:
        The checkpoint folder; the adapter's folder when a LoRA model is not merged.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or has only some of the mask words or those of another layout.
        DataError: a data file cannot be read, or nothing in it can be trained on.
        TooManyErrorsError: more unusable samples than `max_errors`.
        UsageError: settings that cannot be used together, a folder of another run, or too little memory.
    """
    model_name, data = job.inputs()
    transformers_logging.disable_progress_bar()
    base = local_folder(model_name)
    on_cuda = choose_device(job.device) != "cpu"
    arguments = _arguments(recipe, job, on_cuda)
    sources = [Source.from_text(text) for text in data]
    layout = _layout(job, sources)
    read, skipped = read_conversations(sources, _root(job), recipe.seed, layout)
    refuse_above(skipped, job.max_errors)
    folder = finetune_folder(job.out)
    binding = {"model": model_name, "data_sha256": data_sha256(sources), **asdict(recipe), **layout_note(layout)}
    state = folder.begin(binding | {"processes": arguments.world_size}, "fresh" if job.fresh else "either")
    model, processor = load_checkpoint(base, _weights_dtype(recipe, on_cuda))
    added = add_mask_words(model, processor.tokenizer, layout=layout)
    if added and recipe.lora_rank and recipe.embeddings == "frozen":
        raise UsageError("--embeddings frozen: the mask words are new to this checkpoint, their rows must be trained")
    batches = ChatBatches(processor, recipe.min_pixels, recipe.max_pixels)
    kept, lengths, unusable = survey(read, batches, recipe.max_length, job.check == "whole")
    skipped += unusable
    refuse_above(skipped, job.max_errors)
    if not kept:
        raise UsageError(f"no sample is left of {', '.join(data)}; {len(skipped)} were left out")
    if arguments.should_save:
        folder.note(counts=_counts(kept, lengths, skipped), words_added=added, versions=_versions())
        lines = "".join(json.dumps(item._asdict(), ensure_ascii=False) + "\n" for item in skipped)
        write_text(job.out / SKIPPED, lines)
    held_out = _held_out(recipe, job, batches, layout)
    trainable, rows = _trainable(model, recipe, arguments), _rows(as_rows(kept, lengths))
    trainer = _trainer(job, arguments, trainable, processor, batches, rows, held_out, layout)
    with memory_named(f"{recipe.batch_size} samples at once of up to {recipe.max_length} tokens", LOWER, ALSO):
        trainer.train(resume_from_checkpoint=str(state) if state else None)
    return _finish(recipe, job, trainer, base, folder, layout)


def finetune_folder(out: Path) -> TrainingFolder:
    """The folder of a run: `steps/` holds states to go on from, all else stays beside the finished checkpoint."""
    return TrainingFolder(
        out, _newest, (STEPS, ADAPTER, LOG_FILE, SKIPPED, eval_callback.FOLDER), FinetuneRecipe, key=BINDING
    )


def _newest(out: Path) -> Path | None:
    found = get_last_checkpoint(str(out / STEPS)) if (out / STEPS).is_dir() else None
    return Path(found) if found else None


def _layout(job: FinetuneJob, sources: Sequence[Source]) -> Layout:
    """That of the mask words of all data, held-out ones included."""
    held_out = [Source.from_text(job.held_out)] if job.held_out else []
    files = [file for source in [*sources, *held_out] for file in source.files()]
    return layout_of(files, named_layout(str(job.tokenizer)) if job.tokenizer else None)


def _root(job: FinetuneJob) -> Path | None:
    return resolved_root(job.data_root) if job.data_root else None


def _arguments(recipe: FinetuneRecipe, job: FinetuneJob, on_cuda: bool) -> Any:
    """The trainer's arguments. They exist before the model, because ZeRO-3 splits weights while they are loaded."""
    processes = PartialState(cpu=not on_cuda).num_processes
    if on_cuda and processes == 1 and torch.cuda.device_count() > 1:
        raise UsageError(
            f"{torch.cuda.device_count()} GPUs are visible to one process; start with `accelerate launch`, see "
            "docs/train_sft.md, or choose one with CUDA_VISIBLE_DEVICES"
        )
    known = ("all", "none", *INTEGRATION_TO_CALLBACK)
    unknown = [name for name in job.report_to if name not in known]
    if unknown:
        raise UsageError(f"--report-to {unknown[0]}: expected one of {', '.join(known)}")
    workers = job.workers if job.workers is not None else CUDA_WORKERS if on_cuda else 0
    return SFTConfig(
        output_dir=str(job.out / STEPS),
        use_cpu=not on_cuda,
        bf16=on_cuda,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation(processes),
        learning_rate=recipe.learning_rate,
        num_train_epochs=recipe.epochs,
        max_steps=recipe.steps or -1,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup,
        lr_scheduler_type="cosine",
        max_grad_norm=recipe.clip_norm,
        activation_checkpointing=recipe.checkpointing,
        train_sampling_strategy="group_by_length" if recipe.order == "by_length" else "random",
        seed=recipe.seed,
        data_seed=recipe.seed,
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


def _weights_dtype(recipe: FinetuneRecipe, on_cuda: bool) -> torch.dtype:
    """Trained weights are float32; a frozen base under adapters may be smaller."""
    # FSDP wants one dtype in each of its groups.
    small = on_cuda and recipe.lora_rank is not None and not is_fsdp_enabled()
    return torch.bfloat16 if small else torch.float32


def _trainable(model: Any, recipe: FinetuneRecipe, arguments: Any) -> Any:
    """The model with gradients switched on where weights are trained; under LoRA wrapped in its adapter."""
    if recipe.lora_rank is None:
        model.model.visual.requires_grad_(recipe.vision == "trained")
        return model
    # Adapters start from random numbers, which must be the same on every process and in every run.
    set_seed(recipe.seed)
    parts = ["language_model"] + (["visual"] if recipe.vision == "trained" else [])
    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=[
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and any(part in name.split(".") for part in parts)
        ],
        # Whole matrices, not the new rows alone: the trainer's fused loss knows no head with trainable rows.
        modules_to_save=["embed_tokens", "lm_head"] if recipe.embeddings == "trained" else None,
        ensure_weight_tying=recipe.embeddings == "trained" and bool(model.config.tie_word_embeddings),
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


class AnswerTrainer(WholeCheckpoints, SFTTrainer):
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


def _held_out(recipe: FinetuneRecipe, job: FinetuneJob, batches: ChatBatches, layout: Layout) -> dict[str, Any] | None:
    """Held-out samples with their own pictures, and with the next sample's; a model that looks is worse at these."""
    if job.held_out is None:
        return None
    read, skipped = read_conversations([Source.from_text(job.held_out)], _root(job), recipe.seed, layout)
    kept, lengths, unusable = survey(read, batches, recipe.max_length, decode=True)
    refuse_above([*skipped, *unusable], 0)
    rows = [row for row in as_rows(kept, lengths) if len(row["images"]) == 1]
    if len(rows) < 2:
        raise UsageError(f"--held-out {job.held_out}: expected at least two samples with one picture, got {len(rows)}")
    rolled = [{**row, "images": other["images"]} for row, other in zip(rows, rows[1:] + rows[:1], strict=True)]
    return {"held_out": _rows(rows), "rolled": _rows(rolled)}


def _trainer(
    job: FinetuneJob,
    arguments: Any,
    model: Any,
    processor: Any,
    batches: ChatBatches,
    rows: Any,
    held_out: Any,
    layout: Layout,
) -> Any:
    trainer = AnswerTrainer(
        model=model,
        args=arguments,
        data_collator=batches,
        train_dataset=rows,
        eval_dataset=held_out,
        processing_class=processor,
        callbacks=[LogFile(job.out / LOG_FILE)],
    )
    trainer.remove_callback(PrinterCallback)
    if job.eval_tasks is not None:
        if job.tokenizer is None:
            raise UsageError("--eval-tasks needs the mask tokenizer that draws the answers' masks; give --tokenizer")
        trainer.add_callback(
            EvaluationCallback.asked_by(
                job, trainer, processor, layout, tokenizer=str(job.tokenizer), out=job.out, device=job.device
            )
        )
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    logger.info("training %d of %d weights on %d samples", trained, trainer.model.num_parameters(), len(rows))
    return trainer


def _finish(
    recipe: FinetuneRecipe, job: FinetuneJob, trainer: Any, base: Path, folder: TrainingFolder, layout: Layout
) -> Path:
    """Save with all processes, then write the checkpoint with the first."""
    adapter = recipe.lora_rank is not None
    saved = job.out / STEPS / TRAINED
    trainer.save_model(str(saved))
    if not trainer.is_world_process_zero():
        return job.out
    # A pickle of the trainer's arguments; training.json has what matters.
    (saved / "training_args.bin").unlink(missing_ok=True)
    if adapter:
        with writing(job.out / ADAPTER):
            flush(saved)
            put(saved, job.out / ADAPTER)
        saved = job.out / ADAPTER
        if job.merge:
            merge_adapter(base, saved, job.out, job.dtype, layout)
    else:
        export_full(saved, base, job.out, job.dtype)
    folder.note(state=FINISHED)
    shutil.rmtree(job.out / STEPS / TRAINED if job.keep_steps else job.out / STEPS, ignore_errors=True)
    return job.out if job.merge or not adapter else saved


def _versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def _counts(kept: Sequence[Conversation], lengths: Sequence[int], skipped: Sequence[Skipped]) -> dict[str, int]:
    return {
        "samples": len(kept),
        "skipped": len(skipped),
        "pictures": len({path for item in kept for path in item.pictures}),
        "tokens": sum(lengths),
        "longest": max(lengths),
    }
