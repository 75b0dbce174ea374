"""The two Java programs behind caption scores: METEOR, which stays and is asked pair by pair, and the tokenizer.

In: texts. Out: what the programs answer, or one clear error. A program that stops, talks nonsense or stands still never
holds up a run: every wait has an end, after which the program is killed with whatever it has started.
"""

from __future__ import annotations

import importlib.util
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from samtok_eval.errors import SamtokError

PATIENCE = 300.0
"""Seconds for one answer. METEOR takes about ten to start on an idle core, and milliseconds for a pair."""
TEXTS_PER_SECOND = 1000
"""The tokenizer is given a second more for as many texts; it does several times as many."""
MEMORY = "check that Java has 2 GB of memory"
_GUARD = "endofcaption"
"""One more word per text, so that no line is empty and a shift of lines is seen."""
_TOLD = 300
"""Characters of what a program wrote to its error stream that a message holds."""


class CaptionToolsError(SamtokError):
    """Java or `pycocoevalcap` is missing or does not work."""


def probe() -> None:
    """Look for what METEOR and CIDEr need.

    Raises:
        CaptionToolsError: something is missing; the message says what to install.
    """
    if importlib.util.find_spec("pycocoevalcap") is None:
        raise CaptionToolsError("METEOR and CIDEr need pycocoevalcap; install samtok-eval[caption]")
    if shutil.which("java") is None:
        raise CaptionToolsError(
            "METEOR and CIDEr need Java, and there is no `java` on the path; install a Java runtime "
            "(Debian: apt install default-jre-headless)"
        )


class Meteor:
    """METEOR 1.5 for English, one process."""

    def __init__(self, patience: float) -> None:
        """Start it; it is ready with its first answer.

        Args:
            patience: seconds for one answer.

        Raises:
            CaptionToolsError: the system refuses.
        """
        from pycocoevalcap.meteor import meteor

        self._patience = patience
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        command = ["java", "-jar", "-Xmx2G", meteor.METEOR_JAR, "-", "-", "-stdio", "-l", "en", "-norm"]
        self._process = _started(
            command, Path(meteor.__file__).parent, subprocess.PIPE, subprocess.PIPE, self._errors, "METEOR"
        )
        self._in, self._out = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        # A program that stands still reads nothing either.
        os.set_blocking(self._in.fileno(), False)

    def ask(self, caption: str, references: Sequence[str]) -> str:
        """The line that METEOR answers for a caption and its references.

        Raises:
            CaptionToolsError: it stopped, or did not answer in time.
        """
        if self._in.closed:
            raise CaptionToolsError("METEOR was ended; score again")
        to, out = self._in.fileno(), self._out.fileno()
        left = (" ||| ".join(("SCORE", *references, caption.replace("|||", "").replace("  ", " "))) + "\n").encode()
        answer, until = b"", time.monotonic() + self._patience
        while not answer.endswith(b"\n"):
            waiting = select.poll()
            waiting.register(out, select.POLLIN)
            if left:
                waiting.register(to, select.POLLOUT)
            ready = dict(waiting.poll(max(until - time.monotonic(), 0) * 1000))
            if not ready:
                self.close()
                raise CaptionToolsError(
                    f"METEOR did not answer within {self._patience:g} seconds; see whether this machine is short of "
                    "memory or processors, and score again"
                )
            try:
                if to in ready:
                    left = left[os.write(to, left) :]
                chunk = os.read(out, 2**16) if out in ready else None
            except OSError as error:
                raise CaptionToolsError(f"METEOR stopped: {error}{_told(self._errors)}; {MEMORY}") from error
            if chunk == b"":
                raise CaptionToolsError(f"METEOR stopped without an answer{_told(self._errors)}; {MEMORY}")
            answer += chunk or b""
        return answer.decode(errors="replace").strip()

    def close(self) -> None:
        """End the process; it is asked no more."""
        _end(self._process)
        for stream in (self._in, self._out, self._errors):
            # What is still to be written goes nowhere.
            with suppress(OSError):
                stream.close()


def tokenized(texts: Sequence[str], patience: float) -> list[str]:
    """Words of each text by the Penn Treebank tokenizer of Stanford CoreNLP, without punctuation, separated by blanks.

    Args:
        texts: without line breaks.
        patience: seconds for all of them, and some more for many.

    Raises:
        CaptionToolsError: the tokenizer stopped, did not end in time, or returned something else than a line per text.
    """
    from pycocoevalcap.tokenizer import ptbtokenizer

    patience += len(texts) / TEXTS_PER_SECOND
    with tempfile.TemporaryDirectory(prefix="samtok-eval-") as folder, tempfile.TemporaryFile() as errors:
        given, found = Path(folder, "given"), Path(folder, "found")
        given.write_bytes("\n".join(f"{text} {_GUARD}" for text in texts).encode())
        command = ["java", "-cp", ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR, "edu.stanford.nlp.process.PTBTokenizer"]
        with found.open("wb") as out:
            process = _started(
                [*command, "-preserveLines", "-lowerCase", str(given)],
                Path(ptbtokenizer.__file__).parent,
                subprocess.DEVNULL,
                out,
                errors,
                "the Penn Treebank tokenizer",
            )
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired as error:
                raise CaptionToolsError(
                    f"the Penn Treebank tokenizer did not end within {patience:g} seconds; see whether this machine is "
                    "short of memory or processors, and score again"
                ) from error
            finally:
                _end(process)
        lines = found.read_bytes().decode(errors="replace").split("\n")[: len(texts)]
        words = [[word for word in line.rstrip().split(" ") if word not in ptbtokenizer.PUNCTUATIONS] for line in lines]
        if len(words) < len(texts) or not all(line and line[-1] == _GUARD for line in words):
            raise CaptionToolsError(
                f"the Penn Treebank tokenizer returned other lines than it got{_told(errors)}; {MEMORY}"
            )
    return [" ".join(line[:-1]).rstrip() for line in words]


def _started(
    command: list[str], folder: Path, given: int, out: int | IO[bytes], errors: IO[bytes], name: str
) -> subprocess.Popen[bytes]:
    """A program in a session of its own, so that it can be ended with whatever it has started."""
    try:
        return subprocess.Popen(
            command, cwd=folder, stdin=given, stdout=out, stderr=errors, bufsize=0, start_new_session=True
        )
    except OSError as error:
        raise CaptionToolsError(f"{name} cannot be started ({error.strerror}); check that `java` works") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and what it started; nothing where it has ended."""
    # The number of a process that was waited for may be another's by now.
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _told(errors: IO[bytes]) -> str:
    """The end of what a program wrote to its error stream, as part of a message."""
    errors.seek(0)
    words = " ".join(errors.read().decode(errors="replace").split())[-_TOLD:]
    return f" ({words})" if words else ""
