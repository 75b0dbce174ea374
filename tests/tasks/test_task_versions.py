"""A task's input never changes without a new version number."""

from __future__ import annotations

import json
from pathlib import Path

from samtok_eval.registry import load_tasks
from samtok_eval.run.fingerprints import samples_sha256

GOLDEN = Path(__file__).parents[1] / "golden" / "task_inputs.json"


def test_samples_and_prompts_change_only_with_the_version(demo_root):
    """After a wanted change raise the task's version (or the demo benchmark's) and write the printed value down."""
    found = {}
    for name, task in load_tasks().items():
        for split in task.metadata.splits:
            if (name, split) == ("reconstruction", "folder"):
                continue
            key = f"{name}:{split}:v{task.metadata.version}"
            found[key] = samples_sha256(task.read(demo_root, split))[:16]
    assert found == json.loads(GOLDEN.read_text()), json.dumps(found, indent=2)
