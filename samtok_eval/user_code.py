"""Python files that a user names on the command line, the only foreign code that is ever run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from samtok_eval.errors import UsageError


def executed(path: Path, name: str) -> ModuleType:
    """A file as a module, run anew; what it raises is not caught.

    Args:
        path: of the file.
        name: of the module, under which others find it, e.g. to unpickle what it defines.

    Raises:
        UsageError: it is no Python file by its name.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be read as Python; expected a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
