"""Provenance: the files that a module is made of, and that imports point downwards only."""

import functools
import os
import re
import subprocess
from pathlib import Path

import pytest

from nonnormal.study.results import provenance
from nonnormal.study.results.provenance import body, hardware, sources

# Lowest first; modules in one row may not import each other upwards or sideways, except within a package.
LAYERS = [
    ("steps",),
    ("divergence",),
    ("conventions",),
    ("bases",),
    ("schedules",),
    ("processes",),
    ("denoisers",),
    ("networks",),
    ("objective",),
    ("likelihood",),
    ("probability_flow",),
    ("samplers",),
    ("geometry",),
    ("grid_search", "information"),
    ("trajectories",),
    ("checkpoints",),
    ("distributed", "throughput"),
    ("training",),
    ("data",),
    ("metrics",),
    ("sections",),
    ("study",),
    ("recipes",),
    ("evaluation",),
    ("cli",),
]
RANKS = {name: rank for rank, row in enumerate(LAYERS) for name in row}
PACKAGE = Path(provenance.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)


@functools.cache
def rooms(module):
    """Files that a module is made of, relative to the package, e.g. "bases.py" or "data/images.py"."""
    return {Path(path).resolve().relative_to(PACKAGE).as_posix() for path in sources(f"nonnormal.{module}")}


# The package itself, which Python runs before any of its modules, and the packages below the objective.
ROOT = {"__init__.py"}
STEPS = ROOT | {
    f"steps/{name}.py" for name in ("__init__", "base", "catalogue", "checks", "normal_map", "quadrature", "transform")
}
BASES = {
    f"bases/{name}.py" for name in ("__init__", "base", "components", "fitted", "leading", "moments", "transforms")
}
PROCESSES = {f"processes/{name}.py" for name in ("__init__", "base", "one_variable", "phase_space", "recipe")}
DENOISERS = {f"denoisers/{name}.py" for name in ("__init__", "base", "exact", "networks")}


def test_divergence_is_made_of_steps_and_itself():
    assert rooms("divergence") == STEPS | {"divergence.py"}


def test_steps_are_made_of_nothing_else():
    assert rooms("steps") == STEPS


@pytest.mark.parametrize("part", ["base", "catalogue", "quadrature"])
def test_a_part_of_a_package_brings_the_package(part):
    """`import nonnormal.steps.base` runs `nonnormal/steps/__init__.py`, and so all that it imports."""
    assert rooms(f"steps.{part}") == STEPS


def test_a_module_without_imports_of_its_own_is_itself_and_the_package():
    assert rooms("schedules") == ROOT | {"schedules.py"}


def test_objective_is_made_of_everything_below_it():
    expected = {"conventions", "divergence", "objective", "schedules", "state_networks"}
    assert rooms("objective") == STEPS | BASES | PROCESSES | DENOISERS | {f"{name}.py" for name in expected}


def test_imports_inside_functions_count():
    assert {"training.py", "figures/steps.py", "metrics/fidelity.py"} <= rooms("cli")


def test_a_package_is_its_init_and_what_that_imports():
    assert {"data/__init__.py", "data/digits.py", "data/images.py", "files.py"} <= rooms("data")


def test_sources_exist_and_are_sorted():
    found = sources("nonnormal.study.cli")
    assert list(found) == sorted(found)
    assert all(Path(path).is_file() for path in found)


@pytest.mark.parametrize("module", ["torch.nn", "torch", "nonnormally", "nonnormally.steps", "nonnormal.none"])
def test_a_module_that_is_not_of_the_package_is_refused(module):
    with pytest.raises(ValueError, match=module):
        sources(module)


COMMANDS = """
def evaluate():
    \"\"\"Evaluates.\"\"\"
    from nonnormal.steps import get
    from nonnormal.study.cli.other import more

    return _helper(get("normal"))

def _helper(step):
    import nonnormal.seeds
    return step

@app.command()
def other(option="a"):
    import nonnormal.training.loop
"""


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """A module of the package with commands; writes what is given in its place."""
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "nonnormal")
    for name in ("__init__", "seeds", "training", "steps/__init__", "cli/__init__", "cli/other"):
        path = tmp_path / f"nonnormal/{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")

    def write(text):
        (tmp_path / "nonnormal/study/cli/commands.py").write_text(text)
        sources.cache_clear()
        body.cache_clear()

    write(COMMANDS)
    yield write
    write("")


def test_a_function_is_made_of_what_it_and_those_it_calls_import(commands):
    found = {
        Path(path).resolve().relative_to(provenance.PACKAGE)
        for path in sources("nonnormal.study.cli.commands:evaluate")
    }
    assert {path.as_posix() for path in found} == {"__init__.py", "steps/__init__.py", "seeds.py"}


@pytest.mark.parametrize(
    ("was", "is_", "same"),
    [
        ("Evaluates.", "Measures.", True),
        ('option="a"', 'option="b"', True),
        ("import nonnormal.training.loop", "return 3", True),
        ('get("normal")', 'get("laplace")', False),
        ("    return step", "    return step.name", False),
    ],
)
def test_the_body_of_a_command_is_what_it_and_those_it_calls_do(commands, was, is_, same):
    before = body("nonnormal.study.cli.commands:evaluate")
    assert was in COMMANDS
    commands(COMMANDS.replace(was, is_))
    assert (body("nonnormal.study.cli.commands:evaluate") == before) == same


def test_a_function_that_there_is_not_is_refused():
    for named in (body, sources):
        with pytest.raises(ValueError, match=r"no function of this package: nonnormal\.cli\.make:nothing"):
            named("nonnormal.study.cli.make:nothing")


RULES = {
    name: text
    for file in (PACKAGE.parents[1] / "workflow/rules").glob("*.smk")
    for name, text in re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", file.read_text(), re.MULTILINE | re.DOTALL)
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_made_again_where_its_command_changed(rule):
    """The command that its shell calls: the digests of what that imports and of what it says are parameters."""
    called = re.search(r'(?:nonnormal|TRAIN \+ ") ((?:evaluate )?[\w-]+) \{', RULES[rule])[1]
    module = "evaluate" if called.startswith("evaluate") else "show" if called in SHOWN else "make"
    command = f"nonnormal.study.cli.{module}:{called.split()[-1].replace('-', '_')}"
    assert f'command=body("{command}"' in RULES[rule]
    assert f'digest("{command}"' in RULES[rule] or called in ("figure", "paper"), "those name their own"


SHOWN = ("figure", "table", "paper", "page")


@pytest.mark.parametrize("module", MODULES)
def test_every_module_contains_itself(module):
    path = module.replace(".", "/")
    assert rooms(module) & {f"{path}.py", f"{path}/__init__.py"}


@pytest.mark.parametrize("module", [module for module in MODULES if module.split(".")[0] in RANKS])
def test_imports_point_downwards(module):
    top = module.split(".")[0]
    reached = {path.removesuffix(".py").split("/")[0] for path in rooms(module)} - {top}
    assert [name for name in reached if RANKS.get(name, -1) >= RANKS[top]] == []


@pytest.mark.parametrize("module", MODULES)
def test_only_the_top_knows_the_study_and_the_command_line(module):
    above = {"study": {"study", "recipes", "evaluation", "page", "readme", "cli"}, "cli": {"cli"}}
    for name, allowed in above.items():
        assert f"{name}.py" not in rooms(module) or module.split(".")[0] in allowed


def test_hardware_is_one_line():
    assert "cores" in hardware()
    assert "\n" not in hardware()


def test_asking_for_the_revision_writes_nothing_into_the_repository(tmp_path, monkeypatch):
    """A command that is killed while git holds a lock would leave it to the user."""
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    code, index = tmp_path / "code.py", tmp_path / ".git/index"
    code.write_text("1")
    for command in ("init -q", "add code.py", "-c user.name=n -c user.email=e commit -qm c"):
        subprocess.run(["git", "-C", tmp_path, *command.split()], check=True)
    os.utime(code, (0, 0))  # unchanged, but git has to look, and would note that it did
    before = index.read_bytes()
    made = provenance.describe()
    assert index.read_bytes() == before
    assert (len(made["revision"]), made["uncommitted_changes"]) == (40, False)
    code.write_text("2")
    assert provenance.describe()["uncommitted_changes"]
