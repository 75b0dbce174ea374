"""Results as a model's page on the hub reads them: metadata of its card, and `.eval_results/*.yaml`.

In: result files of one model. Out: a local folder to look at before anything is sent; `upload` sends it, in one commit.
Formats and parsers are those of `huggingface_hub`, the extra `publish`. Values are shares 0..1, as in the result files.
Beside them lies, for the owner of each benchmark's data set, the `eval.yaml` that makes it a benchmark of the hub's
community evaluations: its tasks are what the results name. The format is that of the hub's documentation, of which a
stored copy was read (https://huggingface.co/docs/hub/eval-results); whether the hub takes the file was not tried.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import first_problem, read_yaml, reading, write_text
from samtok_eval.metrics.cards import MetricKey, card
from samtok_eval.registry import load_tasks
from samtok_eval.reports.result_file import HUB_ID, MetricValue, ResultFile
from samtok_eval.run.folder import slug
from samtok_eval.task import Task

CARD, EVAL_RESULTS = "README.md", ".eval_results"
BENCHMARKS, EVAL_YAML = "benchmarks", "eval.yaml"
FRAMEWORK = "samtok-eval"
"""Of `eval.yaml`; the hub keeps a list of the names that it accepts."""
HUB_TASKS = {
    "gcg": "image-text-to-text",
    "region_caption": "image-text-to-text",
    "region_class": "image-text-to-text",
    "region_vqa": "visual-question-answering",
    "scene_graph": "image-text-to-text",
}
"""The hub's kind of task; the others are segmentation."""
SEGMENTATION = "image-segmentation"
DATASETS = {"gcg": "MBZUAI/GranD-f", "grounding_suite": "hustvl/GSEval", "region_caption:dlc": "nvidia/DLC-Bench"}
"""Benchmarks that their authors keep on the hub, by task or task:split."""
MAIN_METRICS = {
    "region_caption:dlc": "dlc_avg",
    "region_caption:gar-detail": "judge_accuracy",
    "region_caption:gar-simple": "judge_accuracy",
    "region_caption:ferret": "relative_score",
    "region_caption:ferret-reason": "relative_score",
    "region_caption:videorefer": "videorefer_avg",
    "region_caption:videorefer-frames": "videorefer_avg",
    "region_caption:mdvp": "mdvp_natural",
    "region_caption:mdvp-qa": "mdvp_natural",
    "region_caption:mdvp-brief": "mdvp_natural",
    "region_caption:mdvp-relations": "mdvp_natural",
}
"""Of splits whose main metric is not their task's."""
BENCHMARKS_OWN = "official"
"""Protocol that a benchmark's page expects, where a task has it."""


def model_index(results: Sequence[ResultFile], *, tasks: Mapping[str, Task] | None = None) -> str:
    """Card metadata as YAML front matter, every metric of every protocol.

    Args:
        results: of one model and revision.
        tasks: tasks by name, for their titles; the bundled ones by default.

    Raises:
        UsageError: no results, or of several models.
        ModuleNotFoundError: the extra `publish` is not installed.
    """
    from huggingface_hub import ModelCardData

    name = _one_model(results)
    data = ModelCardData(model_name=name, eval_results=_eval_results(results, tasks))
    return f"---\n{data.to_yaml()}\n---\n"


def eval_results_yaml(
    results: Sequence[ResultFile], datasets: Mapping[str, str], *, tasks: Mapping[str, Task] | None = None
) -> str:
    """One task's `.eval_results` file: the main metric of each split, under the benchmark's own rules.

    Args:
        results: of one model and task, none of them on the demo.
        datasets: hub ids of the benchmarks, by task or `task:split`.
        tasks: tasks by name, for their main metrics; the bundled ones by default.

    Raises:
        UsageError: several models or tasks, a demo result, or a benchmark without a hub id.
        ModuleNotFoundError: the extra `publish` is not installed.
    """
    from huggingface_hub import eval_result_entries_to_yaml
    from huggingface_hub.utils import yaml_dump

    _one_model(results)
    if len({result.task for result in results}) > 1:
        raise UsageError("expected results of one task for one .eval_results file; give them task by task")
    known = load_tasks() if tasks is None else tasks
    entries = [_entry(result, datasets, known) for result in results]
    return str(yaml_dump(eval_result_entries_to_yaml(entries), sort_keys=False))


class EvalTask(BaseModel):
    """One leaderboard of a benchmark."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, StringConstraints(min_length=1)]
    """What the `task_id` of a result names."""
    config: Annotated[str, StringConstraints(min_length=1)] = "default"
    split: Annotated[str, StringConstraints(min_length=1)] = "test"


class EvalYaml(BaseModel):
    """`eval.yaml` at the root of a data set's repository, without what the framework `inspect-ai` alone needs."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(min_length=1)]
    description: Annotated[str, StringConstraints(min_length=1)]
    evaluation_framework: Annotated[str, StringConstraints(pattern="^[a-z0-9-]+$")]
    tasks: list[EvalTask] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        ids = [task.id for task in self.tasks]
        if len(set(ids)) < len(ids):
            raise ValueError(f"tasks must have ids of their own, got {', '.join(ids)}")
        return self


def read_eval_yaml(path: Path) -> EvalYaml:
    """Read and check a benchmark's `eval.yaml`.

    Raises:
        DataError: missing, not YAML, or not of the hub's format.
    """
    content = read_yaml(path)
    with reading(str(path), "correct it"):
        return EvalYaml.model_validate(content)


def eval_yaml(
    results: Sequence[ResultFile], framework: str = FRAMEWORK, *, tasks: Mapping[str, Task] | None = None
) -> str:
    """The `eval.yaml` of one benchmark: a task per split that has a result.

    Args:
        results: on the splits of one data set of the hub, none of them on the demo.
        framework: name of the evaluation framework, as the hub's list has it.
        tasks: tasks by name, for their titles; the bundled ones by default.

    Raises:
        UsageError: two tasks of this program would be one leaderboard there, or a name that the format forbids.
        ModuleNotFoundError: the extra `publish` is not installed.
    """
    from huggingface_hub.utils import yaml_dump

    known = load_tasks() if tasks is None else tasks
    by_split = {(result.split, result.task) for result in results}
    if len({split for split, _ in by_split}) < len(by_split):
        named = ", ".join(f"{task}:{split}" for split, task in sorted(by_split))
        raise UsageError(f"{named} have the same split names in one data set; name a data set for each with --dataset")
    names = sorted({task for _, task in by_split})
    titles = [known[name].metadata.title if name in known else name for name in names]
    mains = dict.fromkeys(_main(result, known)[:2] for result in results)
    content = {
        "name": ", ".join(titles),
        "description": f"{', '.join(titles)}, scored by samtok-eval: "
        + "; ".join(f"{metric} under the protocol {protocol}" for protocol, metric in mains),
        "evaluation_framework": framework,
        "tasks": [{"id": split, "config": "default", "split": split} for split, _ in sorted(by_split)],
    }
    try:
        EvalYaml.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"no eval.yaml of {', '.join(names)}: {first_problem(error)}") from error
    return str(yaml_dump(content, sort_keys=False))


def check_named(entries: Sequence[Any], benchmark: EvalYaml, where: str) -> None:
    """Refuse results that name a task which their benchmark does not have: the hub would show them nowhere.

    Args:
        entries: of `.eval_results`, of one data set.
        benchmark: its `eval.yaml`.
        where: for the message.

    Raises:
        DataError: with the first such task.
    """
    known = [task.id for task in benchmark.tasks]
    lost = next((entry.task_id for entry in entries if entry.task_id not in known), None)
    if lost is not None:
        raise DataError(
            f"{where} has the tasks {', '.join(known)}, and a result names {lost!r}; add it there, or remove the file "
            "to have it written anew"
        )


def write_publication(
    results: Sequence[ResultFile],
    folder: Path,
    datasets: Mapping[str, str] | None = None,
    *,
    tasks: Mapping[str, Task] | None = None,
    framework: str = FRAMEWORK,
) -> list[Path]:
    """Write card and `.eval_results` files of one model into a local folder, and the benchmarks' `eval.yaml`.

    An `eval.yaml` that lies there, such as the benchmark's own, is kept and checked: every result must name one of its
    tasks. The others are written to be given to whoever owns the data set, and are not uploaded.

    A card that is there keeps its text, its other metadata and other people's results. A demo result goes into the
    card, under its own name, and never into `.eval_results`: the hub shows those beside a benchmark's real results.

    Args:
        results: of one model and revision.
        folder: as it will look in the model's repository.
        datasets: hub ids of the benchmarks, by task or `task:split`; what is given goes before `DATASETS`. A benchmark
            without one has no page to appear on, and gets no `.eval_results` file.
        tasks: tasks by name; the bundled ones by default.
        framework: name of the evaluation framework, as the hub's list has it.

    Returns:
        The files written.

    Raises:
        UsageError: no results, or of several models.
        DataError: an `eval.yaml` that lies there is malformed, or lacks a task that a result names.
        ModuleNotFoundError: the extra `publish` is not installed.
    """
    named = DATASETS | dict(datasets or {})
    by_task: dict[str, list[ResultFile]] = {}
    for result in results:
        if not result.dataset.demo and _key(result, named):
            by_task.setdefault(result.task, []).append(result)
    content = {folder / CARD: _card(results, folder / CARD, tasks)}
    for task, of_task in by_task.items():
        content[folder / EVAL_RESULTS / f"{task}.yaml"] = eval_results_yaml(of_task, named, tasks=tasks)
    content |= _benchmark_files([r for mine in by_task.values() for r in mine], folder, named, framework, tasks)
    for path, text in content.items():
        write_text(path, text)
    return list(content)


def upload(
    folder: Path, repo_id: str, *, endpoint: str | None = None, token: str | None = None, create_pr: bool = True
) -> str:
    """Send a folder that `write_publication` wrote to a model's repository, in one commit.

    Args:
        folder: holds `README.md` and `.eval_results/`; nothing else in it is sent.
        repo_id: `org/model`.
        endpoint: the hub's address; the public one by default.
        token: access token; the one of `hf auth login` by default.
        create_pr: propose the change instead of making it.

    Returns:
        The address of the commit or proposal.

    Raises:
        UsageError: the folder holds no card, the repository's name is not well formed, or the hub refuses.
        ModuleNotFoundError: the extra `publish` is not installed.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    # The library's transport has changed its package between versions; this name has not.
    from huggingface_hub.errors import HTTPError

    if not re.fullmatch(HUB_ID, repo_id):
        raise UsageError(f"expected a repository org/model, got {repo_id!r}")
    if not (folder / CARD).is_file():
        raise UsageError(f"{folder} holds no {CARD}; write it with `leaderboard publish` first")
    paths = [folder / CARD, *sorted((folder / EVAL_RESULTS).glob("*.yaml"))]
    operations = [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in paths]
    try:
        done = HfApi(endpoint=endpoint, token=token).create_commit(
            repo_id, operations, commit_message="Evaluation results of samtok-eval", create_pr=create_pr
        )
    except (HTTPError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{repo_id} was not written: {reason}; check name, token and connection, then try again"
        ) from error
    return str(done.pr_url or done.commit_url)


def _entry(result: ResultFile, datasets: Mapping[str, str], tasks: Mapping[str, Task]) -> Any:
    """One line of `.eval_results`: the main number, with the address of its records where they have one."""
    from huggingface_hub import EvalResultEntry

    protocol, metric, value = _main(result, tasks)
    place = result.records.place if result.records else None
    return EvalResultEntry(
        dataset_id=_dataset_id(result, datasets),
        task_id=result.split,
        value=value.value,
        date=result.date,
        source_url=place,
        source_name="Records, for samtok-eval leaderboard verify" if place else None,
        notes=f"{metric}, protocol {protocol}, {_spread(value)}; {result.signature[protocol]}",
    )


def _benchmark_files(
    results: Sequence[ResultFile],
    folder: Path,
    datasets: Mapping[str, str],
    framework: str,
    tasks: Mapping[str, Task] | None,
) -> dict[Path, str]:
    """The `eval.yaml` of every data set that has none there yet; those that are there must fit the results."""
    known = load_tasks() if tasks is None else tasks
    by_dataset: dict[str, list[ResultFile]] = {}
    for result in results:
        by_dataset.setdefault(_dataset_id(result, datasets), []).append(result)
    content = {}
    for dataset, mine in by_dataset.items():
        path = folder / BENCHMARKS / slug(dataset) / EVAL_YAML
        if path.exists():
            check_named([_entry(result, datasets, known) for result in mine], read_eval_yaml(path), str(path))
        else:
            content[path] = eval_yaml(mine, framework, tasks=known)
    return content


def _eval_results(results: Sequence[ResultFile], tasks: Mapping[str, Task] | None) -> list[Any]:
    from huggingface_hub import EvalResult

    known = load_tasks() if tasks is None else tasks
    found = []
    for result in results:
        title = known[result.task].metadata.title if result.task in known else result.task
        for protocol, metrics in result.protocols.items():
            for name, value in metrics.items():
                if value.value is not None:
                    found.append(
                        EvalResult(
                            task_type=HUB_TASKS.get(result.task, SEGMENTATION),
                            dataset_type=f"demo-{result.task}" if result.dataset.demo else result.task,
                            dataset_name=f"DEMO (synthetic scenes, not {title})" if result.dataset.demo else title,
                            dataset_config=None if result.history == "gt" else f"history-{result.history}",
                            dataset_split=result.split,
                            dataset_args={
                                "questions_sha256": result.dataset.sha256,
                                "samples": result.dataset.samples,
                            },
                            metric_type=name,
                            metric_name=f"{card(name).title} ({protocol})",
                            metric_config=protocol,
                            metric_value=value.value,
                            metric_args={
                                "low": value.low,
                                "high": value.high,
                                "n": value.n,
                                "signature": result.signature[protocol],
                            },
                        )
                    )
    return found


def _card(results: Sequence[ResultFile], path: Path, tasks: Mapping[str, Task] | None) -> str:
    """A new card, or the one that is there with these results in it."""
    if not path.exists():
        return model_index(results, tasks=tasks)
    from huggingface_hub import ModelCard

    name = _one_model(results)
    page = ModelCard(path.read_text(encoding="utf-8"))
    new = _eval_results(results, tasks)
    ours = {_identity(result) for result in new}
    old = [result for result in page.data.eval_results or [] if _identity(result) not in ours]
    page.data.model_name = page.data.model_name or name
    page.data.eval_results = old + new
    return str(page)


def _identity(result: Any) -> tuple[Any, ...]:
    return (*result.unique_identifier, result.metric_type, result.metric_config)


def _one_model(results: Sequence[ResultFile]) -> str:
    models = sorted({f"{result.model.name} {result.model.revision}" for result in results})
    if len(models) != 1:
        raise UsageError(f"a card is about one revision of one model, got {', '.join(models) or 'no result'}; name one")
    return results[0].model.name


def _main(result: ResultFile, tasks: Mapping[str, Task]) -> tuple[str, str, MetricValue]:
    """The number of a result that stands for it: protocol, metric and value."""
    if result.dataset.demo:
        raise UsageError(
            f"{result.task}:{result.split} was run on the demo's scenes, which are no benchmark; leave it out"
        )
    protocol = BENCHMARKS_OWN if BENCHMARKS_OWN in result.protocols else next(iter(result.protocols))
    metrics = result.protocols[protocol]
    split = f"{result.task}:{result.split}"
    if split in MAIN_METRICS:
        main = MAIN_METRICS[split]
    else:
        main = tasks[result.task].metadata.main_metric if result.task in tasks else next(iter(metrics))
    for metric, value in metrics.items():
        if MetricKey.of(metric).metric == main and value.value is not None:
            return protocol, metric, value
    raise UsageError(f"{split} has no {main} under {protocol}; leave it out")


def _spread(value: MetricValue) -> str:
    interval = "no interval" if value.low is None else f"95 % interval {value.low:.4f} to {value.high:.4f}"
    return f"{interval}, n {value.n}"


def _key(result: ResultFile, datasets: Mapping[str, str]) -> str | None:
    exact = f"{result.task}:{result.split}"
    return exact if exact in datasets else result.task if result.task in datasets else None


def _dataset_id(result: ResultFile, datasets: Mapping[str, str]) -> str:
    key = _key(result, datasets)
    if key is None:
        raise UsageError(
            f"{result.task}:{result.split} has no dataset on the hub; name it, e.g. {result.task}=org/name"
        )
    return datasets[key]
