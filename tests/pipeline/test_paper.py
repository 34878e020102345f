"""The paper's prose follows from the study: typeset for studies that lack a section, a family, a pair.

The tiny study's files stay as they were made. Its settings and the rows of its summary change, tables are made of them
again, and the paper is typeset to a text.
"""

import copy
import html
import json
import math
import re
from difflib import SequenceMatcher
from pathlib import Path

import pytest
import tiny

from nonnormal.steps import get
from nonnormal.steps.divergence import constant
from nonnormal.study.config import validate
from nonnormal.study.registry import tables_of
from nonnormal.study.report.paper import inputs
from nonnormal.study.report.text import write_readable
from nonnormal.study.results.context import Context
from nonnormal.study.results.summary import read_rows, read_table, write_rows, write_table

typst = pytest.importorskip("typst")
TITLES = {
    "step_swap": "Another step for a trained network",
    "convergence": "Any step, in law, and where that ends",
    "geometry": "The geometry of sampling",
    "representations": "Representation and schedule",
    "phase_space": "Momentum needs no network of its own",
    "ablation": "One network, every axis",
    "few_steps": "Few network calls: which step?",
}
WORDS = {  # of other sections, where there is such a section
    "step_swap": "The Fréchet distance runs over steps and networks",
    "geometry": "the way that a sampler takes",
    "representations": "the order in which it is noised",
    "phase_space": "with a momentum or without",
}


@pytest.fixture
def paper(project, monkeypatch):
    """paper(change, rows): the text after a change of the tiny study and of the rows of its summary."""

    def typeset(change=lambda study: None, rows=lambda summary: summary, tables: bool = True) -> str:
        monkeypatch.chdir(project.folder)
        layout, raw = tiny.LAYOUT, copy.deepcopy(tiny.tiny())
        change(raw)
        study = validate(raw, tiny.FILE)
        layout.study.write_text(json.dumps(study.resolved))
        write_rows(layout.summary, rows(read_rows(layout.summary)))
        context = Context(study, layout)
        write_rows(layout.means, context.summary)
        for name, (experiment, table) in tables_of(study).items():
            numbers = experiment.numbers(table, context)
            write_table(layout.table(name, "csv"), numbers)
            readable = experiment.readable(table, numbers, context)
            write_readable(layout.table(name, "typ"), *readable, prose=table.prose)
        options = dict(root=".", sys_inputs=inputs(layout), ignore_system_fonts=True)
        assert typst.compile("paper/paper.typ", **options).startswith(b"%PDF")
        text = typst.compile("paper/paper.typ", format="html", **options).decode()
        text = text if tables else re.sub("<table>.*?</table>", "", text, flags=re.DOTALL)
        return " ".join(html.unescape(re.sub("<[^>]*>", "", text)).split())

    resolved = (project.folder / tiny.LAYOUT.study).read_bytes()
    yield typeset
    (project.folder / tiny.LAYOUT.study).write_bytes(resolved)  # no stage's output, so the project does not put it back


def test_a_study_of_all_sections_has_all_of_them(paper):
    text = paper()
    assert all(words in text for words in (*TITLES.values(), *WORDS.values()))


@pytest.mark.parametrize("section", TITLES)
def test_a_section_that_is_left_out_is_not_spoken_of(paper, section):
    text = paper(lambda study: study.pop(section))
    assert [other for other in TITLES if TITLES[other] not in text] == [section]
    assert [other for other in WORDS if WORDS[other] not in text] == [section] * (section in WORDS)


def test_a_study_of_pairs_alone_has_none_of_the_sections(paper):
    def pairs_alone(study):
        for section in TITLES:
            study.pop(section)

    text = paper(pairs_alone)
    assert not any(words in text for words in (*TITLES.values(), *WORDS.values()))
    assert "Rademacher" not in paper(pairs_alone, tables=False)  # the table of claims has a claim about it


def only_normal(study):
    study["runs"].pop("laplace-laplace")


def test_one_pair_is_compared_with_none(paper):
    text = paper(only_normal, lambda rows: rows[rows.run != "laplace-laplace"])
    for words in ("Style between networks", "By their own bounds", "conventions asks", "The Laplace pair pays"):
        assert words not in text
    assert "train 1 pair on" in text


def as_trained_again(study):
    study["runs"]["laplace-laplace"] |= {"q": "uniform", "p": "normal"}


def renamed(rows):
    ours = rows.run == "laplace-laplace"
    return rows.assign(q=rows.q.mask(ours, "uniform"), p=rows.p.mask(ours, "normal"))


def test_training_again_is_spoken_of_where_the_study_has_it(paper):
    words = "the effect of training again with another seed", "which is retraining alone", "uniform/normal coincides"
    assert not any(each in paper() for each in words)
    text = paper(as_trained_again, renamed)
    assert all(each in text for each in words)


# ---- families --------------------------------------------------------------------------------------------------------


def steps_in(study, section, *steps):
    study[section]["step_families"] = list(steps)


def laws(rows, **names):
    """Rows of the invariance with other names of the steps; those without a name are left out."""
    law = rows.run.isna() & rows.metric.str.contains("walk|sampler|path_maximum") & rows.q.notna()
    rows = rows.assign(q=rows.q.mask(law, rows.q.map(names)), p=rows.p.mask(law, rows.q.map(names)))
    return rows[~law | rows.q.notna()]


@pytest.mark.parametrize("other", ["rademacher", "gumbel", "student_t(df=5)", None])
def test_families_that_are_named_are_the_studys(paper, other):
    steps = ["normal", *([other] if other else [])]
    names = {"normal": "normal"} | ({"gumbel": other} if other else {})
    text = paper(lambda study: steps_in(study, "convergence", *steps), lambda rows: laws(rows, **names))
    section = text.split(TITLES["convergence"])[1].split(TITLES["ablation"])[0]
    assert ("Rademacher" in section) == (other == "rademacher")
    assert f"of {len(steps)} famil" in section
    assert "not fitted" not in section  # two numbers of steps are too few for an order


def test_a_family_whose_distance_grows_is_not_said_to_converge(paper):
    def grown(rows):
        most = (rows.metric == "w1_sampler") & (rows.q == "gumbel") & (rows.nfe == 4)
        return rows.assign(value=rows.value.mask(most, 9.0))

    assert "distance falls for 2 of 2 families" in paper()
    assert "distance falls for 1 of 2 families" in paper(rows=grown)


@pytest.mark.parametrize(("other", "named"), [("rademacher", True), ("laplace", False)])
def test_the_rademacher_step_is_among_those_of_the_exchange_where_it_is(paper, other, named):
    def rows(summary):
        swapped = summary.metric.str.startswith("step_swap_") & (summary.step == "rademacher")
        return summary.assign(step=summary.step.mask(swapped, other))

    text = paper(lambda study: steps_in(study, "step_swap", "normal", other), rows)
    assert ("The Rademacher step is among them" in text) == named
    assert ("the Laplace step changes total variation" in text) != named


# ---- numbers ---------------------------------------------------------------------------------------------------------

# Constants K(0), by their formulas or as the source prints them; the level of an interval.
DERIVED = {"0.1765", "0.3289", "0.3382", "0.34", "0.05"}
DECIMAL = re.compile(r"(?<![\d.:/])\d+\.\d+(?![\d.]*\d{4})")
REFERENCES = re.compile(r"(?:arXiv|doi) [\w./]+")


def unchanged(before: str, after: str) -> list[str]:
    """Decimals of the first text that the second has in the same place, but for zeros and references."""
    one, other = (REFERENCES.sub("", text).split() for text in (before, after))
    blocks = SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    words = " ".join(word for block in blocks for word in one[block.a : block.a + block.size])
    return [number for number in DECIMAL.findall(words) if float(number)]


def other_results(rows):
    """All measured values are about three times as large, rows next to each other by different factors."""
    factors = 3 + rows.reset_index().index % 5 / 10
    return rows.assign(**{name: factors * rows[name] for name in ("value", "low", "high")})


def settings_and_theory() -> set[str]:
    """Decimals that a sentence may have without a measurement: of settings, of conditions, and of what theory says."""
    printed = [line for line in Path("paper/references/published.csv").read_text().splitlines() if "gerdes2024" in line]
    texts = [tiny.LAYOUT.study.read_text(), *printed]  # the only printed figures in a sentence
    rows, run = read_rows(tiny.LAYOUT.means), tiny.STUDY.run("normal-normal")
    paid = run.training.timesteps * constant(get("uniform"), get("normal")) / math.log(2)
    levels = read_table(tiny.LAYOUT.table("processes", "csv"))["first"]
    numbers = [*rows.sigma.dropna(), *rows.limit.dropna(), *levels, paid]
    numbers.append(math.exp(-run.process.schedule.log_snr_max / 2))
    return {f"{x:.{n}f}" for x in numbers for n in (1, 2, 4)} | {
        each for text in texts for each in DECIMAL.findall(text)
    }


def test_every_decimal_of_a_sentence_follows_from_a_row_or_a_setting(paper):
    before = paper(tables=False)
    known = DERIVED | settings_and_theory()
    after = paper(rows=other_results, tables=False)
    assert len(DECIMAL.findall(before)) > 50  # so that there is something to trace
    assert [number for number in unchanged(before, after) if number not in known] == []


def test_a_number_that_is_typed_is_found():
    before, after = "They have 1.97 ± 0.03 bits/dim at 0.5.", "They have 1.97 ± 0.09 bits/dim at 1.5."
    assert unchanged(before, after) == ["1.97"]


def test_images_are_counted_where_they_were_measured(paper):
    def more(study):
        for section in ("phase_space", "ablation"):
            study[section]["n_bounds"] = 100_000

    text = paper(more)
    assert "100000" not in text
    assert text.count("Bits/dim of 2 held-out images") + text.count("bits/dim of 2 held-out images") == 2
    assert "likelihood on 2 held-out images" in text
