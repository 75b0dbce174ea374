"""Commands as users type them, without starting Python and torch for each."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from samtok_eval.cli.main import main


def command(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What `samtok-eval WORDS` prints and ends with, run in this process.

    Args:
        *words: as typed.
        cwd: where; here by default.
    """
    arguments = ["samtok-eval", *map(str, words)]
    output, errors = io.StringIO(), io.StringIO()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(sys, "argv", arguments)
        # Without handlers, so that the program sets up its own and writes to this command's stream.
        patch.setattr(logging.root, "handlers", [])
        stack.enter_context(redirect_stdout(output))
        stack.enter_context(redirect_stderr(errors))
        if cwd is not None:
            stack.enter_context(chdir(cwd))
        with pytest.raises(SystemExit) as ended:
            main()
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), output.getvalue(), errors.getvalue())
