"""Files for other people's machines: what they call exists, and what they promise is so."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
FILES = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("*") if path.is_file()]
FILES += [
    path.relative_to(ROOT).as_posix()
    for folder in ("src", "workflow", "tests", "config")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
]


def read(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


HOOKS = {hook["id"]: hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}


def called(commands):
    """(program, first argument) of each line of shell commands that begins one."""
    lines = [line.strip() for line in commands.splitlines()]
    return [[*line.split(), ""][:2] for line in lines if line and not line.startswith("#")]


def test_the_workflow_calls_what_there_is():
    workflow = read(".github/workflows/ci.yml")
    assert set(workflow[True]) == {"push", "pull_request", "workflow_dispatch"}  # YAML 1.1 reads `on` as true
    [job] = workflow["jobs"].values()
    commands = [call for step in job["steps"] for call in called(step.get("run", ""))]
    assert [".ci/run", ""] in commands
    for program, argument in commands:
        if program == "make":
            assert argument in TARGETS
        else:
            assert os.access(ROOT / program, os.X_OK), program
    version = next(step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", ""))
    oldest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
    assert tuple(map(int, version.split("."))) >= tuple(map(int, oldest.split(".")))


def test_what_a_change_must_pass_calls_targets_that_there_are_and_dry_runs_every_study():
    text = (ROOT / ".ci/run").read_text()
    called_targets = re.findall(r"\bmake (?:--no-print-directory )?([a-z-]+)", text)
    assert {"test", "lint", "dry-run", "reproduce"} <= set(called_targets) <= TARGETS
    assert re.search(r"for study in config/\*\.yaml; do\n  make --no-print-directory dry-run STUDY=\"\$study\"", text)
    subprocess.run(["bash", "-n", ROOT / ".ci/run"], check=True)


def test_hooks_are_tools_of_the_environment():
    assert {"ruff-format", "ruff-check", "snakefmt", "lint-imports", "schema"} == set(HOOKS)
    for hook in HOOKS.values():
        program, *arguments = hook["entry"].split()
        assert hook["language"] == "system"
        assert shutil.which(program, path=BIN), program
        if program == "nonnormal":
            done = subprocess.run([BIN / program, arguments[0], "--help"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("hook", "file"),
    [
        ("snakefmt", "Snakefile"),
        ("snakefmt", "workflow/rules/train.smk"),
        ("lint-imports", "src/nonnormal/steps/base.py"),
        ("lint-imports", "pyproject.toml"),
        ("schema", "src/nonnormal/study/config/settings.py"),
        ("schema", "config/README.md"),
    ],
)
def test_hooks_look_at_their_files(hook, file):
    pattern = re.compile(HOOKS[hook]["files"])
    assert file in FILES and pattern.search(file)
    assert not pattern.search("docs/index.md")


@pytest.mark.parametrize("hook", ["ruff-format", "ruff-check", "snakefmt"])
def test_a_hook_accepts_a_file_of_the_repository_and_refuses_another(hook, tmp_path):
    """Formatters mend the file, which pre-commit takes for a refusal; a check ends with an error."""
    good, bad = (
        ("Snakefile", "rule a:\n  output: 'b'\n")
        if hook == "snakefmt"
        else (
            "src/nonnormal/files/own.py",
            "import os\nx = {  'a':1 }\n",
        )
    )
    name = "Snakefile" if hook == "snakefmt" else "bad.py"
    for text, fine in (((ROOT / good).read_text(), True), (bad, False)):
        (tmp_path / name).write_text(text)
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        command = [*HOOKS[hook]["entry"].split(), name]
        command[0] = str(BIN / command[0])
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode == 0 and (tmp_path / name).read_text() == text) == fine, done.stderr


def test_the_catalogs_entry_is_so():
    usage = read(".snakemake-workflow-catalog.yml")["usage"]
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    assert usage["report"] == ("report(" in rules)
    assert usage["software-stack-deployment"]["conda"] == ("conda:" in rules)
    assert usage["software-stack-deployment"]["apptainer"] == ("container:" in rules)
    flag, profile = usage["mandatory-flags"]["flags"].split()
    assert flag == "--workflow-profile" and (ROOT / profile / "config.yaml").is_file()


def test_the_contributors_guide_names_them():
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    for name in (".ci/run", ".github/workflows/ci.yml", ".pre-commit-config.yaml", ".snakemake-workflow-catalog.yml"):
        assert f"`{name}`" in guide
