"""The command `nonnormal`: says in one line which packages it lacks, where the library is installed without them."""

from __future__ import annotations

import sys
from importlib.util import find_spec

PACKAGES = ("itables", "jinja2", "markupsafe", "matplotlib", "pandas", "seaborn", "tabulate", "threadpoolctl", "typer")


def main() -> None:
    """Runs the command line; without the packages of the extra `study`, one line and exit code 2."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        print(f"error: the command needs {', '.join(missing)}; pip install 'nonnormal[study]'", file=sys.stderr)
        sys.exit(2)
    from nonnormal.study.cli import main as run

    run()
