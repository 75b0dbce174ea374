"""`--offline`: nothing leaves this machine, whatever a library would like to fetch.

In: the wish, before anything connects. Out: a process in which Python opens no connection but to this machine, and in
which the libraries of the Hub look into their caches alone. It holds until the process ends. What does not go through
Python's sockets is not seen: the libraries with which GPUs of several machines speak, and programs that are started.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any

from samtok_eval.errors import UsageError

VARIABLES = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
"""That Hub libraries read, also those of child processes."""
LOCAL_NAMES = ("", "localhost", "localhost.localdomain", "ip6-localhost")
NAMED = ("socket.getaddrinfo", "socket.gethostbyname")
ADDRESSED = ("socket.connect", "socket.sendto", "socket.sendmsg")
"""What Python announces before a socket speaks to somebody; listening is not watched."""


class OfflineError(UsageError):
    """Something wanted to reach another machine."""


def go_offline() -> None:
    """Refuse every connection to another machine from now on."""
    os.environ.update(VARIABLES)
    hub = sys.modules.get("huggingface_hub.constants")
    if hub is not None:
        vars(hub)["HF_HUB_OFFLINE"] = True
    # Unlike a replaced function, a hook is asked whoever opens the socket, and cannot be taken away.
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Hook of the interpreter, called for everything that it announces.

    Raises:
        OfflineError: the event is a connection to another machine.
    """
    if not event.startswith("socket."):
        return
    if event in NAMED:
        host = arguments[0]
    elif event in ADDRESSED:
        # A path stands for a socket of this machine, None for one that is connected already.
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) and address else None
    else:
        return
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host is not None and not _is_here(str(host)):
        raise OfflineError(
            f"--offline: {host} is not this machine and is not asked; leave --offline out, or name a copy"
        )


def _is_here(host: str) -> bool:
    if host.lower() in LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def raise_refusal(error: BaseException) -> None:
    """Say what a library wrapped in an error of its own.

    Raises:
        OfflineError: it is why the error came about.
    """
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, OfflineError):
            raise OfflineError(str(cause)) from error
        if id(cause) not in seen:
            seen.add(id(cause))
            inner = cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()
            waiting += [each for each in (cause.__cause__, cause.__context__, *inner) if each is not None]
