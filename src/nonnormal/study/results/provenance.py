"""Provenance: code, packages and machine behind a result; and the source files that a module depends on."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nonnormal.study.experiment import Experiment

PACKAGE = Path(__file__).parents[2]
_PACKAGES = ("torch", "diffusers", "torch-fidelity", "numpy", "scipy", "scikit-learn", "pandas", "safetensors")


def describe() -> dict[str, Any]:
    """Revision, packages and hardware, as JSON values. Results that Git keeps are no changes of the code."""
    tracked = ("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results")
    return {
        "revision": _git("rev-parse", "HEAD"),
        "uncommitted_changes": _git(*tracked) not in ("", None),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "hardware": hardware(),
    }


def revision_of(made: Mapping[str, Any]) -> str:
    """The code revision in the result of `describe`, in words."""
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
    """Source files of `modules` and of all modules of the same package that they import, directly or indirectly.

    Args:
        modules: dotted names inside this package, e.g. "nonnormal.training.loop", or inside that of an experiment from
            elsewhere; of "nonnormal.study.cli.make:train" it is the modules that this function imports, without the
            file that it stands in, for which there is `body`.

    Returns:
        Paths relative to the working folder, sorted.

    Raises:
        ValueError: there is no such module, or it has no such function.
    """
    queue = [module for module in modules if ":" not in module]
    packages = frozenset(module.partition(".")[0] for module in modules)
    if missing := [module for module in queue if _module_file(module, packages) is None]:
        raise ValueError(f"there is no module {', '.join(missing)}, which this command or its experiment needs")
    for function in set(modules).difference(queue):
        imported = _imported(*_functions(function)[1])
        queue += [name for name in imported if not name.startswith("nonnormal.study.cli")]  # which are named themselves
    found: set[Path] = set()
    while queue:
        name = queue.pop()
        queue += [name.rpartition(".")[0]] if "." in name else []  # its package is imported first
        path = _module_file(name, packages)
        if path is None or path in found:
            continue
        found.add(path)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        queue += _imported_by(path.read_text(encoding="utf-8"), package)
    return tuple(sorted(os.path.relpath(path) for path in found))


@cache  # most files are below most modules, and reading them takes seconds
def _imported_by(text: str, package: str) -> list[str]:
    return _imported(ast.parse(text), package=package)


@cache
def digest(*modules: str) -> str:
    """Digest of the `sources` of modules: their paths and contents.

    Rules of the workflow declare it as a parameter, so that a change of code runs only the jobs again that depend on
    it. As inputs, the files, nearly a hundred, would be checked for each job of the rule.
    """
    found = hashlib.sha256()
    for path in sources(*modules):
        found.update(f"{Path(path).name}\n".encode() + Path(path).read_bytes())
    return found.hexdigest()[:16]


def own_files(experiment: Experiment, *functions: str) -> tuple[str, ...]:
    """Source files of functions of the user's own experiment (all if none is named), without those of this package."""
    if experiment.is_packaged:
        return ()
    tables = [name for table in experiment.tables for name in (table.numbers, table.readable)]
    whole = [*(each.function for each in (*experiment.jobs, *experiment.figures)), *tables]
    found = sources(*experiment.modules(*(functions or whole)))
    return tuple(path for path in found if not Path(path).resolve().is_relative_to(PACKAGE))


@cache
def body(*functions: str) -> str:
    """Digest of the code of functions, e.g. "nonnormal.study.cli.make:train", and of those of their module they call.

    Rules of the workflow declare it as a parameter, so that a change of their command runs them again, but a change of
    another command or of a docstring does not.
    """
    digest = hashlib.sha256()
    for function in functions:
        text, nodes = _functions(function)
        for node in nodes:
            told = node.body[ast.get_docstring(node) is not None :]
            digest.update("\n".join(ast.get_source_segment(text, part) for part in told).encode())
    return digest.hexdigest()[:16]


def _functions(name: str) -> tuple[str, list[ast.FunctionDef]]:
    """(text of the module, the function and those of its module that it calls, in their order)."""
    module, _, function = name.partition(":")
    path = _module_file(module)
    text = path.read_text(encoding="utf-8") if path else ""
    known = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    if function not in known:
        raise ValueError(f"no function of this package: {name}")
    found, queue = set(), [function]
    while queue:
        found.add(one := queue.pop())
        named = {node.id for part in known[one].body for node in ast.walk(part) if isinstance(node, ast.Name)}
        queue += (named & known.keys()) - found
    return text, [node for one, node in known.items() if one in found]


def _imported(*nodes: ast.AST, package: str = "") -> list[str]:
    """Names of imported modules and of objects imported from them, without imports for type checkers only.

    Args:
        package: base of relative imports.
    """
    names: list[str] = []
    queue = [*nodes]
    while queue:
        node = queue.pop()
        typed = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        queue += node.orelse if typed else ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            names += [module, *(f"{module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def _module_file(module: str, packages: frozenset[str] = frozenset()) -> Path | None:
    """Source file of a module of this package, or of others that have been imported."""
    top, *rest = module.split(".")
    if top != PACKAGE.name and top not in packages:
        return None
    if top != PACKAGE.name and importlib.util.find_spec(top) is None:
        return None
    folder = PACKAGE if top == PACKAGE.name else Path(next(iter(importlib.import_module(top).__path__)))
    base = folder.joinpath(*rest)
    candidates = (base / "__init__.py", base.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)


def _git(*arguments: str) -> str | None:
    """Output of a git command; None if git or a repository is missing."""
    try:
        # Without a lock: a command killed here would leave it behind.
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
