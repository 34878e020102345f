"""The docs: they build without a warning and fetch nothing, and what they name exists."""

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nonnormal.steps import get
from nonnormal.study.config import validate
from nonnormal.study.registry import all_experiments

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WRITTEN = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
BUILDER = ("mkdocs", "material", "mkdocstrings_handlers", "latex2mathml")
MATHEMATICS = sorted((DOCS / "mathematics").glob("*.md"))
FETCHED = re.compile(
    r'<(?:script|img|iframe|source)\b[^>]*\bsrc="(?:https?:)?//[^"]*"|<link\b[^>]*\bhref="(?:https?:)?//[^"]*"'
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages as `make docs` builds them."""
    if missing := [name for name in BUILDER if importlib.util.find_spec(name) is None]:
        pytest.skip(f"no docs without {', '.join(missing)}: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert (run.returncode, run.stdout + run.stderr) == (0, "")
    return folder


def test_every_page_is_built_with_its_formulas_set(site):
    for page in DOCS.rglob("*.md"):
        html = (site / page.relative_to(DOCS)).with_suffix(".html").read_text(encoding="utf-8")
        assert 'class="arithmatex"' not in html
        assert html.count('display="block"') == page.read_text(encoding="utf-8").count("$$") // 2


def test_pages_fetch_nothing(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    assert not [(page.name, found) for page in pages for found in FETCHED.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_within_the_project_lead_somewhere(page):
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert not [link for link in links if link and not (page.parent / link).exists()]


def test_studies_that_the_docs_show_are_valid():
    text = (DOCS / "studies.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml[^\n]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    for block in blocks:
        assert validate({"name": "a", "data": "digits", **yaml.safe_load(block)}, "")


def test_every_public_name_of_the_steps_is_in_the_reference(site):
    html = (site / "api" / "steps.html").read_text(encoding="utf-8")
    missing = [
        name
        for name in importlib.import_module("nonnormal.steps").__all__
        if f'id="nonnormal.steps.{name}"' not in html
    ]
    assert not missing


def test_parameters_that_are_described_together_are_listed_each(site):
    html = (site / "api" / "conventions.html").read_text(encoding="utf-8")
    for name in ("q", "p", "delta", "convention"):
        assert html.count(f"<b><code>{name}</code></b>") == 1


@pytest.mark.parametrize("page", MATHEMATICS, ids=lambda page: page.stem)
def test_tests_and_code_that_a_page_names_exist(page):
    text = page.read_text(encoding="utf-8")
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", text)
    assert named
    assert not [name for name in named if f"def {name}(" not in tests]
    for name in re.findall(r"`(nonnormal\.[\w.]+)`", text):
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), name


def test_moments_of_the_families_are_those_of_the_code():
    rows = re.findall(
        r"^\| `(.+?)` \| (\S+) \| (\S+) \| (\S+) \|$", (DOCS / "mathematics" / "steps.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 12
    for name, *printed in rows:
        step = get(name)
        moments = step.skewness, step.excess_kurtosis, step.fisher_information
        assert [float(value) for value in printed] == pytest.approx(moments, abs=5e-5)


def test_the_rules_that_ask_for_a_gpu_are_named_for_clusters():
    [named] = re.findall(r"one line for each of (.+)$", (DOCS / "clusters.md").read_text(), re.MULTILINE)
    rules = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    found = re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", rules, re.MULTILINE | re.DOTALL)
    asking = {name for name, text in found if re.search(r"^\s+gpu=GPU", text, re.MULTILINE)}
    jobs = {job.name for experiment in all_experiments() for job in experiment.jobs if job.gpu}
    assert set(named.split(", ")) == asking | {name.replace("-", "_") for name in jobs}
