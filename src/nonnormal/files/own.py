"""Objects of the user's own, "module:NAME": imported from the working folder or the Python path.

To import a module runs its code. Names therefore come from what a user wrote, a study or an argument, and never from a
file that was made or fetched. Knows nothing of what the objects are.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
_OURS = f"{__name__.partition('.')[0]}."


def imported(path: str) -> Any:
    """What "module:NAME" names, looked for in the working folder and on the Python path.

    Raises:
        ImportError: whatever the module does when it is run.
    """
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:
        # The module itself is missing, and not one that it imports.
        missing = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        where = f" in the working folder {here} or on the Python path" if missing else ""
        raise ImportError(f"{str(error) or type(error).__name__}{where}") from None
    finally:
        sys.path.remove(here)


def loaded(path: str, base: type, label: str) -> Any:
    """An object of `base` that "module:NAME" names: the object itself, or what its class makes without arguments.

    Raises:
        ValueError: it cannot be imported or made, or is something else; the message begins with `label`.
    """
    try:
        found = imported(path)
    except ImportError as error:
        raise ValueError(f"{label} {path!r} cannot be loaded: {error}") from None
    if isinstance(found, type) and issubclass(found, base):
        try:
            found = found()
        except (Exception, SystemExit) as error:  # whatever the user's code does
            raise ValueError(f"{label} {path!r} cannot be made without arguments: {error}") from None
    if not isinstance(found, base):
        raise ValueError(f"{path!r} is no {base.__module__.rpartition('.')[0]}.{base.__name__}, but {found!r:.80}")
    return found


def files_of(modules: Iterable[str]) -> tuple[Path, ...]:
    """Files of imported modules, sorted; none of this package."""
    found = (getattr(sys.modules[name], "__file__", None) for name in set(modules) if not name.startswith(_OURS))
    return tuple(sorted(Path(path) for path in found if path))


def modules_of(cls: type, base: type) -> set[str]:
    """Modules that a class and its bases below `base` are written in."""
    return {each.__module__ for each in cls.__mro__ if issubclass(each, base)}


def code_of(files: Iterable[Path]) -> str:
    """SHA-256 of the files' contents in their order, in hex: what a result depends on beside a name."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
