"""The command `nonnormal`; if the library is installed alone, one line names the packages that are missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

PACKAGES = ("itables", "jinja2", "markupsafe", "matplotlib", "pandas", "seaborn", "tabulate", "threadpoolctl", "typer")


def main() -> None:
    """Run the command line; without the packages of the extra `study`, print one line and exit with code 2."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        print(f"error: the command needs {', '.join(missing)}; in a clone: pip install '.[study]'", file=sys.stderr)
        sys.exit(2)
    from nonnormal.study.cli import main as run

    run()
