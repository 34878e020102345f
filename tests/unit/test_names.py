"""The names of `import nonnormal`: all load, type checkers see the same, and none needs what a study needs."""

import ast
import subprocess
import sys
from pathlib import Path

import nonnormal

SOURCE = Path(nonnormal.__file__)
PAGE = Path(__file__).parents[2] / "docs/api/nonnormal.md"
OF_STUDIES = ("pandas", "snakemake", "pydantic", "typer", "seaborn", "matplotlib", "yaml")
BLOCKED = """
import sys
for name in {blocked}:
    sys.modules[name] = None  # an import of it is an error
import nonnormal
for name in {names}:
    getattr(nonnormal, name)
assert not [name for name in sys.modules if name.startswith("nonnormal.study")]
"""


def test_all_names_load_and_are_those_of_their_packages():
    assert len(nonnormal.__all__) > 30
    for name in nonnormal.__all__:
        found = getattr(nonnormal, name)
        assert found is getattr(sys.modules[f"nonnormal.{nonnormal._HOME[name]}"], name)
    assert set(nonnormal.__all__) <= set(dir(nonnormal))


def test_a_name_that_there_is_not_is_an_attribute_error():
    assert not hasattr(nonnormal, "no_such_name")


def test_type_checkers_see_the_same_names_in_the_same_packages():
    [block] = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {name: f"nonnormal.{home}" for name, home in nonnormal._HOME.items()}


def test_no_name_needs_what_a_study_needs():
    """But for the scheduler, as diffusers needs some of it."""
    names = [name for name in nonnormal.__all__ if name != "NonNormalScheduler"]
    code = BLOCKED.format(blocked=OF_STUDIES, names=names)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


def test_importing_the_package_imports_nothing_else():
    code = "import sys, nonnormal; print('torch' in sys.modules, 'numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


def test_the_reference_has_all_names():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in nonnormal.__all__ if f"`{name}`" not in text] == []
