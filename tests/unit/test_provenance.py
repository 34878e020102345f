"""Provenance: the files that a module is made of, and the rules that name them."""

import functools
import os
import re
import subprocess
from pathlib import Path

import pytest

from nonnormal.study.cli import evaluate, make, show
from nonnormal.study.results import provenance
from nonnormal.study.results.provenance import body, hardware, sources

PACKAGE = provenance.PACKAGE
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.parent != PACKAGE or path.stem != "__init__"
)


@functools.cache
def rooms(module):
    """Files that a module is made of, relative to the package, e.g. "bases/pca.py" or "data/images.py"."""
    return {Path(path).resolve().relative_to(PACKAGE).as_posix() for path in sources(f"nonnormal.{module}")}


def room(name):
    """All files of a package."""
    return {path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / name).glob("*.py")}


# The package itself, which Python runs before any of its modules.
ROOT = {"__init__.py"}
UNET = {"unet.py", "_diffusers.py", "_torchvision.py"}  # of denoisers, imported where one is built
STEPS = ROOT | room("files") | room("steps") - {"steps/conventions.py", "steps/scaled_divergence.py"}


def test_steps_are_made_of_nothing_else():
    assert rooms("steps") == STEPS


@pytest.mark.parametrize("part", ["base", "distributions", "divergence", "quadrature"])
def test_a_part_of_a_package_brings_the_package(part):
    """`import nonnormal.steps.base` runs `nonnormal/steps/__init__.py`, and so all that it imports."""
    assert rooms(f"steps.{part}") == STEPS


def test_a_module_without_imports_of_its_own_is_itself_and_the_package():
    assert rooms("files") == ROOT | {"files/__init__.py"}


def test_objectives_are_made_of_everything_below_them():
    below = room("bases") | room("processes") | {path for path in room("denoisers") if not UNET & {Path(path).name}}
    rooms_below = room("steps") | below | room("objectives") | room("files") | {"seeds.py"}
    assert rooms("objectives.losses") == ROOT | rooms_below


def test_imports_for_type_checkers_do_not_count():
    assert "if TYPE_CHECKING:\n    from nonnormal.bases" in (PACKAGE / "__init__.py").read_text()
    assert not rooms("steps") & room("bases")


def test_imports_inside_functions_count():
    assert {"training/loop.py", "study/report/text.py", "metrics/fidelity.py"} <= rooms("study.cli")


def test_a_package_is_its_init_and_what_that_imports():
    assert {"data/__init__.py", "data/digits.py", "data/images.py", "files/__init__.py"} <= rooms("data")


def test_sources_exist_and_are_sorted():
    found = sources("nonnormal.study.cli")
    assert list(found) == sorted(found)
    assert all(Path(path).is_file() for path in found)


@pytest.mark.parametrize("module", ["nonnormally", "nonnormally.steps", "nonnormal.none"])
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
    for name in (
        "__init__",
        "seeds",
        "training/__init__",
        "training/loop",
        "steps/__init__",
        "study/__init__",
        "study/cli/__init__",
        "study/cli/other",
    ):
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
        with pytest.raises(ValueError, match=r"no function of this package: nonnormal\.study\.cli\.make:nothing"):
            named("nonnormal.study.cli.make:nothing")


RULES = {
    name: text
    for file in (PACKAGE.parents[1] / "workflow/rules").glob("*.smk")
    for name, text in re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", file.read_text(), re.MULTILINE | re.DOTALL)
}
LOOPS = [
    text
    for file in (PACKAGE.parents[1] / "workflow/rules").glob("*.smk")
    for text in re.findall(r"^for EXPERIMENT.*?(?=^\S|\Z)", file.read_text(), re.MULTILINE | re.DOTALL)
]
MODULE_OF = {
    command.callback.__name__: module for module in (make, evaluate, show) for command in module.app.registered_commands
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_made_again_where_its_command_changed(rule):
    """The command that its shell calls: the digests of what that imports and of what it says are parameters."""
    called = re.search(r'(?:nonnormal|TRAIN \+ ") ([\w-]+) \{', RULES[rule])[1].replace("-", "_")
    command = f"{MODULE_OF[called].__name__}:{called}"
    assert f'command=body("{command}"' in RULES[rule]
    assert f'digest("{command}"' in RULES[rule] or called == "paper", "it has no code but Typst's"


@pytest.mark.parametrize(
    ("command", "code"),
    [("evaluate", "*EXPERIMENT.modules(JOB.function)"), ("show", "*EXPERIMENT.modules(*EXPERIMENT.functions(STUDY))")],
)
def test_rules_of_experiments_are_made_again_where_their_functions_changed(command, code):
    """They are made in a loop over the registry."""
    [text] = [text for text in LOOPS if f'"nonnormal {command} ' in text]
    assert re.search(rf'code=digest\((".*", )?{re.escape(code)}\)', text)
    assert f'command=body("{MODULE_OF[command].__name__}:{command}")' in text


@pytest.mark.parametrize("module", MODULES)
def test_every_module_contains_itself(module):
    path = module.replace(".", "/")
    assert rooms(module) & {f"{path}.py", f"{path}/__init__.py"}


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


def test_results_that_git_keeps_are_no_changes_of_the_code(tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "src")
    code, kept = tmp_path / "Snakefile", tmp_path / "results/summary.csv"
    kept.parent.mkdir()
    for path in (code, kept):
        path.write_text("1")
    for command in ("init -q", "add .", "-c user.name=n -c user.email=e commit -qm c"):
        subprocess.run(["git", "-C", tmp_path, *command.split()], check=True)
    kept.write_text("2")  # made again
    assert not provenance.describe()["uncommitted_changes"]
    code.write_text("2")
    assert provenance.describe()["uncommitted_changes"]
