"""What scoring may need beyond arithmetic: caption scorers, text similarity and a judge model.

Each is started when it is first asked and closed at the end of a run, so that a run starts at most one Java process and
loads at most one text model. A task asks for what it needs; nothing is started for tasks that need none.
"""

from __future__ import annotations

from types import TracebackType


class Judges:
    """The outside helpers of one scoring run."""

    def __init__(self, judge: str | None = None) -> None:
        """Prepare; nothing is started.

        Args:
            judge: `openai:URL#NAME` or `replay:FILE`; None leaves judged metrics out.
        """
        self.judge_name = judge

    def close(self) -> None:
        """End every process that was started."""

    def __enter__(self) -> Judges:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
