"""The tutorials: their files and Python blocks, run in order as they stand; their asserts check what they state."""

import re
import sys
from pathlib import Path

import pytest
import torch

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
BLOCK = re.compile(r'^```(python|yaml)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working folder whose modules can be imported; afterwards all is as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with torch.random.fork_rng():
        yield tmp_path
    for name in [path.stem for path in tmp_path.glob("*.py")]:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "name", ["one-dimension", "your-own-step", "your-own-data", "change-the-step", "own-loop", "fewer-calls"]
)
def test_a_tutorial_runs_as_it_stands(name, elsewhere):
    page = TUTORIALS / f"{name}.md"
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    scope = {"__name__": name}
    for i, (language, file, code) in enumerate(blocks):
        if file:
            (elsewhere / file).parent.mkdir(exist_ok=True)
            (elsewhere / file).write_text(code, encoding="utf-8")
        elif language == "python":
            exec(compile(code, f"{page}, block {i}", "exec"), scope)
    [last] = [code for language, file, code in blocks if language == "python" and not file][-1:]
    assert "assert " in last


def test_every_tutorial_is_run():
    assert {path.stem for path in TUTORIALS.glob("*.md")} == {
        "one-dimension",
        "your-own-step",
        "change-the-step",
        "own-loop",
        "your-own-experiment",
        "your-own-data",
        "fewer-calls",
    }
