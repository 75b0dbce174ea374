"""Every setting of a run, once: type, default, description, flag, and what it is a setting of.

From the fields of `RunOptions` follow the options of the commands `run`, `predict` and `score`, the keys of a
configuration file, the keyword arguments of `samtok_eval.evaluate`, the settings in `manifest.json`, the run key, the
signature and the command that repeats a run. A new setting is a field here and the line that uses it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from samtok_eval.models.backend import Backend

DEMO = "demo"
ALL = "all"
"""As a task: every task, each on its default split; as a protocol: every one of the task."""
MODEL_HELP = "demo, a folder, a hub id, vllm:PATH, openai:URL#NAME, python:FILE, oracle, random or replay:FILE."
Role = Literal["answers", "scoring", "where"]


@dataclass(frozen=True)
class Option:
    """What is known of a field beside its type, default and description."""

    role: Role
    """Stage that needs it: `answers` is left out of `score`, `scoring` of `predict`; `where` is in both."""
    flag: str | None = None
    """As in `--flag`, or `--on/--off`; follows from the name by default."""
    keyed: bool = True
    """Whether the run key holds a setting of the answers itself; False where it cannot change an answer, or where the
    key holds what it leads to: weights, prompt, pictures."""


class RunSettings(BaseModel):
    """Settings that `manifest.json` keeps together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_root: Annotated[str, Option("where")] = Field(
        default=DEMO, description="Folder of the benchmarks' own files, or demo."
    )
    out: Annotated[Path, Option("where")] = Field(default=Path("runs"), description="Folder for run folders.")
    protocols: Annotated[tuple[str, ...] | None, Option("scoring", "--protocol")] = Field(
        default=None,
        description="Protocols to score, comma-separated; all by default, and the first is shown. `all` shows all.",
    )
    limit: Annotated[int | None, Option("where")] = Field(default=None, gt=0, description="Only the first N samples.")
    batch_size: Annotated[int, Option("answers")] = Field(default=32, gt=0, description="Questions per batch.")
    concurrency: Annotated[int, Option("answers", keyed=False)] = Field(
        default=16, gt=0, description="Questions sent to a server at the same time."
    )
    tensor_parallel: Annotated[int, Option("answers")] = Field(
        default=1, gt=0, description="GPUs over which vllm:PATH spreads the model."
    )
    max_new_tokens: Annotated[int | None, Option("answers")] = Field(
        default=None, gt=0, description="Maximum number of new tokens of an answer; the task's own by default."
    )
    device: Annotated[str, Option("answers")] = Field(default="auto", description="auto, cpu or cuda.")
    dtype: Annotated[str, Option("answers")] = Field(
        default="auto",
        description="auto (bf16 on CUDA, fp32 on CPU), fp32, bf16, fp16; with a server, of the mask tokenizer only.",
    )
    mask_dtype: Annotated[Literal["fp32", "bf16", "fp16"] | None, Option("answers")] = Field(
        default=None, description="Precision of the mask tokenizer; that of --dtype if given, else fp32."
    )
    tf32: Annotated[bool, Option("answers")] = Field(
        default=False, description="Let CUDA round products of fp32 to TF32; see `doctor --precision` first."
    )
    compile: Annotated[bool, Option("answers")] = Field(
        default=False, description="Compile language model and mask decoder with torch.compile."
    )
    attn: Annotated[
        Literal["sdpa", "eager", "flash_attention_2", "flex_attention"] | None, Option("answers", keyed=False)
    ] = Field(default=None, description="Attention kernel of the language model; that of transformers by default.")
    device_map: Annotated[str | None, Option("answers", keyed=False)] = Field(
        default=None,
        description="How the language model is spread over devices: auto, balanced, balanced_low_0 or sequential.",
    )
    threads: Annotated[int | None, Option("answers", keyed=False)] = Field(
        default=None, gt=0, description="Threads of torch on the CPU; one for models under 100 M parameters by default."
    )
    seed: Annotated[int, Option("answers")] = Field(
        default=0, ge=0, description="Seed of the random model, and of the intervals without --statistics-seed."
    )
    statistics_seed: Annotated[int | None, Option("scoring")] = Field(
        default=None, ge=0, description="Seed of intervals and permutations; --seed by default."
    )
    tokenizer: Annotated[str | None, Option("answers", keyed=False)] = Field(
        default=None,
        description="Mask tokenizer: demo, a folder, a file or a Hub id; by default the one beside the model.",
    )
    min_pixels: Annotated[int | None, Option("answers", keyed=False)] = Field(
        default=None, gt=0, description="Minimum number of pixels of a picture for the language model."
    )
    max_pixels: Annotated[int | None, Option("answers", keyed=False)] = Field(
        default=None, gt=0, description="Maximum number of pixels of a picture for the language model."
    )
    constrained: Annotated[bool, Option("answers", keyed=False)] = Field(
        default=False, description="Allow only well-formed mask words in answers, by a grammar."
    )
    group_pictures: Annotated[bool, Option("answers", "--group/--no-group")] = Field(
        default=True, description="Read and encode each picture once for all its questions."
    )
    share_prefix: Annotated[bool | None, Option("answers", "--share-prefix/--no-share-prefix", keyed=False)] = Field(
        default=None, description="Read the common beginning of a picture's questions once; by default only in fp32."
    )
    reuse_decoded: Annotated[Path | None, Option("answers", keyed=False)] = Field(
        default=None, description="Run folder whose decoded masks are reused for equal samples and codes."
    )
    profile: Annotated[bool, Option("answers", keyed=False)] = Field(
        default=False, description="Measure seconds and memory of each stage, with the least time that it could take."
    )
    max_errors: Annotated[int, Option("answers", keyed=False)] = Field(
        default=0, ge=0, description="Number of failed questions allowed; with more the run ends with exit code 3."
    )
    history: Annotated[Literal["gt", "pred"], Option("answers")] = Field(
        default="gt", description="Whether earlier rounds show the reference masks (gt) or the model's own (pred)."
    )
    judge: Annotated[str | None, Option("scoring")] = Field(
        default=None, description="openai:URL#NAME or replay:FILE, for tasks that have a judge."
    )
    reference_codes: Annotated[Path | None, Option("scoring")] = Field(
        default=None, description="Run folder of --model oracle, to compute the metric token_match."
    )
    prompt: Annotated[str | None, Option("answers", keyed=False)] = Field(
        default=None, description="Another published wording of the task's question."
    )
    tasks_dirs: Annotated[tuple[Path, ...], Option("where", "--tasks-dir")] = Field(
        default=(), description="Folder with task files of your own."
    )

    @field_validator("protocols", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        if isinstance(value, list | tuple):
            # All are scored where none is named.
            return None if tuple(value) == (ALL,) else tuple(value)
        return value

    @property
    def seed_of_statistics(self) -> int:
        """Seed of intervals and permutations."""
        return self.seed if self.statistics_seed is None else self.statistics_seed


class RunOptions(RunSettings):
    """Every setting of one run, with its default."""

    task: Annotated[str, Option("where")] = Field(
        description="NAME[:SPLIT][,NAME[:SPLIT]...] or all, see `samtok-eval tasks`."
    )
    split: Annotated[str | None, Option("where")] = Field(default=None, description="As in --task NAME:SPLIT.")
    model: Annotated[str, Option("answers", keyed=False)] = Field(default=DEMO, description=MODEL_HELP)
    fresh: Annotated[bool, Option("answers", "--fresh/--resume", keyed=False)] = Field(
        default=False, description="Start a new run, or resume where one stopped (default)."
    )
    shard: Annotated[str | None, Option("answers", keyed=False)] = Field(
        default=None, description="I/N: ask every Nth batch from the Ith (0 to N-1), without scoring."
    )


class ScoreOptions(RunOptions):
    """The same for predictions that exist already; `out` is the folder itself."""

    out: Annotated[Path, Option("where")] = Field(default=Path("scored"), description="Folder for the scores.")


class RunKeywords(TypedDict, total=False):
    """The fields of `RunOptions` but `task` as keyword arguments, for editors and type checkers.

    A path may be text and a tuple any sequence; a test holds names and types equal to the fields.
    """

    split: str | None
    model: str | Backend
    data_root: str
    out: str | Path
    protocols: str | Sequence[str] | None
    limit: int | None
    batch_size: int
    concurrency: int
    tensor_parallel: int
    max_new_tokens: int | None
    device: str
    dtype: str
    mask_dtype: Literal["fp32", "bf16", "fp16"] | None
    tf32: bool
    compile: bool
    attn: Literal["sdpa", "eager", "flash_attention_2", "flex_attention"] | None
    device_map: str | None
    threads: int | None
    seed: int
    statistics_seed: int | None
    tokenizer: str | None
    min_pixels: int | None
    max_pixels: int | None
    constrained: bool
    group_pictures: bool
    share_prefix: bool | None
    reuse_decoded: str | Path | None
    profile: bool
    max_errors: int
    history: Literal["gt", "pred"]
    judge: str | None
    reference_codes: str | Path | None
    prompt: str | None
    tasks_dirs: Sequence[str | Path]
    fresh: bool
    shard: str | None


ALWAYS_KEYED = ("batch_size", "max_new_tokens", "device", "dtype", "seed", "group_pictures", "history")
"""Settings that every run key holds. Further ones enter where they are not the default, so that keys from before they
existed stay."""


def option_of(field: FieldInfo) -> Option:
    """What a field of `RunOptions` says of itself."""
    return next(entry for entry in field.metadata if isinstance(entry, Option))


def keywords() -> inspect.Signature:
    """Fields of `RunOptions` as the signature of a function that takes them, `task` first, the others by name."""
    empty = inspect.Parameter.empty
    first = inspect.Parameter("task", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=str)
    others = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=field.annotation or empty, default=field.default
        )
        for name, field in RunOptions.model_fields.items()
        if name != "task"
    ]
    return inspect.Signature([first, *others])


def flags_of(name: str, settings: type[RunSettings] = RunOptions) -> tuple[str, str | None]:
    """A field's spelling on the command line, and what switches it off.

    Args:
        name: a field.
        settings: whose.
    """
    field = settings.model_fields[name]
    plain = name.replace("_", "-")
    on, _, off = (option_of(field).flag or f"--{plain}").partition("/")
    return on, off or (f"--no-{plain}" if field.annotation is bool else None)


def words_of(settings: RunSettings, names: Iterable[str]) -> list[str]:
    """Some of a run's settings as they are typed on the command line.

    Args:
        settings: of the run.
        names: fields; those that are no settings are left out.
    """
    words: list[str] = []
    for name in (name for name in RunSettings.model_fields if name in set(names)):
        value, (on, off) = getattr(settings, name), flags_of(name)
        if isinstance(value, bool):
            words += [on if value else str(off)]
        else:
            words += [word for text in _typed(value) for word in (on, text)]
    return words


def recorded(options: RunOptions) -> dict[str, Any]:
    """The settings that a manifest keeps."""
    return options.model_dump(include=set(RunSettings.model_fields))


def settings_of_scoring(options: RunOptions) -> dict[str, Any]:
    """What scoring sets in the manifest of answers that exist already; their own seed stays."""
    names = {name for name, field in RunSettings.model_fields.items() if option_of(field).role == "scoring"}
    return options.model_dump(include=names) | {"statistics_seed": options.seed_of_statistics}


def further_keyed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the answers beyond `ALWAYS_KEYED` that are not the default.

    Args:
        settings: as JSON.
    """
    usual = RunSettings().model_dump(mode="json")
    names = [name for name, field in RunSettings.model_fields.items() if _is_keyed(field) and name not in ALWAYS_KEYED]
    return {name: settings[name] for name in names if name in settings and settings[name] != usual[name]}


def _typed(value: Any) -> list[str]:
    """A value as texts of one option: names are joined by commas, folders are options of their own."""
    if not isinstance(value, tuple):
        return [] if value is None else [str(value)]
    names = all(isinstance(entry, str) for entry in value)
    return [",".join(value)] if value and names else [str(entry) for entry in value]


def _is_keyed(field: FieldInfo) -> bool:
    option = option_of(field)
    return option.role == "answers" and option.keyed
