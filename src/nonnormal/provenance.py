"""Provenance: which code, which packages, which machine made a result; and which source files a module is made of."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
_PACKAGES = ("torch", "diffusers", "torch-fidelity", "numpy", "scipy", "scikit-learn", "pandas", "safetensors")


def describe() -> dict[str, Any]:
    """Revision, packages and hardware, as JSON values."""
    return {
        "revision": _git("rev-parse", "HEAD"),
        "uncommitted_changes": _git("status", "--porcelain", "--untracked-files=no") not in ("", None),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "hardware": hardware(),
    }


def revision_of(made: Mapping[str, Any]) -> str:
    """The code of what `describe` said, in words."""
    return (made["revision"] or "unknown")[:10] + " with uncommitted changes" * made["uncommitted_changes"]


def hardware() -> str:
    """Processor, cores and GPU in one line."""
    parts = [f"{_processor()}, {os.cpu_count()} cores"]
    import torch

    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return "; ".join(parts)


@cache
def sources(*modules: str) -> tuple[str, ...]:
    """Files of this package that `modules` are made of: their own and, by their imports, those of all below them.

    What a workflow's rule declares as input, so that a change of code re-runs what the code made and nothing else.

    Args:
        modules: dotted names inside the package, e.g. "nonnormal.training".

    Returns:
        Paths relative to the working folder, sorted.

    Raises:
        ValueError: a module is not of this package.
    """
    if missing := [module for module in modules if _module_file(module) is None]:
        raise ValueError(f"no module of this package: {', '.join(missing)}")
    found: set[Path] = set()
    queue = list(modules)
    while queue:
        name = queue.pop()
        queue += [name.rpartition(".")[0]] if "." in name else []  # its package is imported first
        path = _module_file(name)
        if path is None or path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                queue += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                queue += [alias.name for alias in node.names]
    return tuple(sorted(os.path.relpath(path) for path in found))


def _module_file(module: str) -> Path | None:
    """Source file of a module of this package."""
    top, *rest = module.split(".")
    if top != PACKAGE.name:
        return None
    base = PACKAGE.joinpath(*rest)
    candidates = (base / "__init__.py", base.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)


def _git(*arguments: str) -> str | None:
    """Output of a git command, None where git or a repository is missing."""
    try:
        # Without a lock, which a command that is killed here would leave behind.
        command = ("git", "--no-optional-locks", "-C", str(PACKAGE), *arguments)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    """Model name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
