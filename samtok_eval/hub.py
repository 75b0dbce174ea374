"""The one place that fetches checkpoints from the hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

from samtok_eval.errors import CheckpointError


def local_folder(path_or_hub_id: str | Path, patterns: list[str] | None = None) -> Path:
    """A checkpoint folder on this machine, downloaded if it is a hub id.

    Args:
        path_or_hub_id: folder or hub repository.
        patterns: only these files.

    Raises:
        CheckpointError: neither a folder nor reachable.
    """
    path = Path(path_or_hub_id)
    if path.is_dir():
        return path
    try:
        return Path(snapshot_download(str(path_or_hub_id), allow_patterns=patterns))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise CheckpointError(
            f"{str(path_or_hub_id)!r} is neither a local folder nor a hub repository that can be reached "
            f"({type(error).__name__}); check the path, or download it first"
        ) from error
