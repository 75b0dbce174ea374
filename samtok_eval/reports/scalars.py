"""Numbers over the steps of a training, for TensorBoard, Weights & Biases and MLflow.

In: steps, and numbers by name, of a watch or of finished runs. Out: what the named program keeps. Its package is
imported when it is asked for. What is started again goes on in the same run of W&B or MLflow; TensorBoard reads one
event file per start as one curve.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from samtok_eval.errors import UsageError

PROJECT = "samtok-eval"
"""Of W&B, and name of the experiment of MLflow."""
STEP = "checkpoint_step"
"""Over which W&B draws: its own counter of steps must not fall, and a checkpoint of an earlier step may come late."""
TAG = "samtok_eval.curves"
"""By which MLflow finds the run of an earlier start."""
NOT_IN_MLFLOW = re.compile(r"[^\w./ :-]", re.ASCII)
"""What the name of a metric may not hold there, as in `pr@0.5`."""
TRACKING = "MLFLOW_TRACKING_URI"


@dataclass(frozen=True)
class Curves:
    """What numbers are about."""

    to: Path
    """Folder of everything that a program writes on this machine."""
    title: str
    """Name of the run in W&B and MLflow."""
    part: str = ""
    """Which of several in this folder, a name of a folder; empty where it is the only one."""

    @property
    def key(self) -> str:
        """The same at every start."""
        return hashlib.sha256(f"{self.to.resolve()}{self.part and chr(0) + self.part}".encode()).hexdigest()[:16]


class Scalars(Protocol):
    """Keeps numbers over steps."""

    def begin(self) -> None:
        """Open what is written into; again, nothing happens.

        Before the first number nothing may lie in the folder, which may be the training's to make.

        Raises:
            UsageError: the program does not start.
        """

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers by name at a step."""

    def close(self) -> None:
        """Say that no more numbers come in this process."""


class TensorBoardScalars:
    """Writes event files."""

    def __init__(self, curves: Curves) -> None:
        """Import what is needed.

        Args:
            curves: what the numbers are about.

        Raises:
            UsageError: `tensorboard` or `torch` is not installed.
        """
        with _needed("tensorboard", "samtok-eval[train]"):
            self._writers = import_module("torch.utils.tensorboard.writer")
        self._folder = curves.to / "tensorboard" / curves.part
        self._writer: Any = None

    def begin(self) -> None:
        """The same: a new event file in `TO/tensorboard`."""
        if self._writer is None:
            self._writer = self._writers.SummaryWriter(str(self._folder))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """The same, into the event file."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class WandbScalars:
    """Logs to one run of Weights & Biases, in the mode and with the login that its own settings say."""

    def __init__(self, curves: Curves) -> None:
        """Import what is needed.

        Args:
            curves: what the numbers are about.

        Raises:
            UsageError: `wandb` is not installed.
        """
        with _needed("wandb", "wandb"):
            self._wandb = import_module("wandb")
        self._curves = curves
        self._run: Any = None

    def begin(self) -> None:
        """The same: a run, or go on with it; its own files go into `TO/wandb`."""
        if self._run is not None:
            return
        wandb, to = self._wandb, self._curves.to
        to.mkdir(parents=True, exist_ok=True)
        # Numbers alone: not the console, the code, nor what the machine does.
        quiet = wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, x_disable_meta=True, x_disable_stats=True
        )
        with _started("wandb", wandb.Error, "log in with `wandb login`, or set WANDB_MODE=offline"):
            self._run = wandb.init(
                project=PROJECT,
                dir=str(to),
                id=self._curves.key,
                name=self._curves.title,
                resume="allow",
                settings=quiet,
            )
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """The same, as one row."""
        self._run.log({STEP: step, **values})

    def close(self) -> None:
        """End the run, which sends what is left."""
        self._run.finish()


class MlflowScalars:
    """Logs to one run of MLflow, on the server that `MLFLOW_TRACKING_URI` names, else into `TO/mlflow.db`."""

    def __init__(self, curves: Curves) -> None:
        """Import what is needed.

        Args:
            curves: what the numbers are about.

        Raises:
            UsageError: `mlflow` is not installed.
        """
        with _needed("mlflow", "mlflow"):
            self._mlflow = import_module("mlflow")
        self._curves, self._id = curves, ""

    def begin(self) -> None:
        """The same: a run, or go on with it."""
        if self._id:
            return
        mlflow, to = self._mlflow, self._curves.to
        # A place of its own for artifacts too, so that no folder of them is made where the command was called.
        own = not os.environ.get(TRACKING)
        to.mkdir(parents=True, exist_ok=True)
        place = f"sqlite:///{(to / 'mlflow.db').resolve()}" if own else None
        with _started("mlflow", mlflow.MlflowException, f"correct {TRACKING}, or unset it for a file in {to}"):
            self._client = mlflow.MlflowClient(place)
            experiment = self._client.get_experiment_by_name(PROJECT)
            files = (to / "mlflow").resolve().as_uri() if own else None
            number = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT, files)
            key, title = self._curves.key, self._curves.title
            found = self._client.search_runs([number], f"tags.`{TAG}` = '{key}'")
            run = found[0] if found else self._client.create_run(number, tags={TAG: key}, run_name=title)
        self._id = run.info.run_id

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """The same; what MLflow allows in no name becomes `_`, as in `pr_0.5`."""
        now = int(1000 * time.time())
        metrics = [
            self._mlflow.entities.Metric(NOT_IN_MLFLOW.sub("_", name), value, now, step)
            for name, value in values.items()
        ]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._id)


PROGRAMS: Mapping[str, Callable[[Curves], Scalars]] = {
    "tensorboard": TensorBoardScalars,
    "wandb": WandbScalars,
    "mlflow": MlflowScalars,
}
"""By the name that `--log-to` takes."""


def scalars_to(names: str, curves: Curves) -> list[Scalars]:
    """What keeps the numbers, each program once.

    Args:
        names: of programs, separated by commas.
        curves: what the numbers are about.

    Raises:
        UsageError: there is no such program, it is not installed, or it does not start.
    """
    asked = list(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in asked:
        if name not in PROGRAMS:
            raise UsageError(f"--log-to {name}: expected one or several of {', '.join(PROGRAMS)}, with commas")
    return [PROGRAMS[name](curves) for name in asked]


@contextmanager
def _needed(program: str, install: str) -> Iterator[None]:
    """Name the package that a program lacks.

    Raises:
        UsageError: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--log-to {program} needs the package {error.name}, which is not installed; install {install}, or leave "
            "the option out"
        ) from error


@contextmanager
def _started(program: str, kind: type[Exception], remedy: str) -> Iterator[None]:
    """Say what to do where a program does not start.

    Raises:
        UsageError: its own error, and the remedy.
    """
    try:
        yield
    except kind as error:
        raise UsageError(f"--log-to {program}: {error}; {remedy}, or leave the option out") from error
    except ModuleNotFoundError as error:
        raise UsageError(f"--log-to {program} needs the package {error.name}; install {program}") from error
