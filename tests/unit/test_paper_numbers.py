"""Numbers in the paper's sentences: none is typed that a row could give.

The text of each source is what Typst sets as it stands: markup, and the contents [...] within code, without formulas,
code, raw text, references and comments. A number there is a name, a convention or a citation, and stands in `TYPED`.
"""

import re
from pathlib import Path

import pytest

PAPER = Path(__file__).parents[2] / "paper"
SOURCES = sorted([PAPER / "paper.typ", *(PAPER / "sections").glob("*.typ")])
TYPED = {  # number, with the word before or after it
    "8×8 images",  # the format of the data sets
    "digits , 8×8",
    "1797 real",
    "17 grey",
    "32×32 crops",
    "32×32 images",
    "at 32×32",
    "CIFAR-10",
    "ImageNet-32",
    "DPM-2",
    "DPM++(2M)",
    "95 %",  # the level of all intervals
    "Table 1",  # of the source, not of this paper
    "Eq. 26",
    "0.34",  # which the source prints
    "20 pages",
    "September 2023",
    "30-digit quadrature",
    "order 1",
    "Figure 1",
    "SHA-256",
    "Wasserstein-1",
    "1 family",
    "· 10",  # a power of it
    "mean 0",  # of a step, by definition
    "variance 1",
    "16 directions",
    "contain 0",  # an interval, against which differences are read
    "0 | Laplace",  # K(0) of a pair of equal steps
    "0 | uniform",
    "information, 2",
    "1 for the normal",  # Fisher informations, by definition
    "2 for the Laplace",
    "½ and 1",
    "(1, 1, 2;",  # orders of solvers, in a test of the suite
    "step to 0",
}
SKIPPED = re.compile(r"//[^\n]*|/\*.*?\*/|\\.|\$(?:\\.|[^$])*\$|`[^`]*`|<[a-zA-Z][\w-]*>|@[a-zA-Z][\w-]*", re.DOTALL)
STATEMENT = re.compile(r"#(?:let|set|show|import|include)\b")
BRANCH = re.compile(r"#(?:if|for|while)\b")
CHAIN = re.compile(r"#[\w-]+(?:\.[\w-]+)*|#(?=[({])")
CLOSED = {"[": "]", "(": ")", "{": "}"}


def markup(source: str, at: int, found: list[str]) -> int:
    """Reads markup up to its closing bracket or the end; adds its text to `found`."""
    text = []
    while at < len(source) and source[at] != "]":
        if match := SKIPPED.match(source, at):
            at = match.end()
            text.append(" ")
        elif match := STATEMENT.match(source, at):
            at = code(source, match.end(), found, "\n;")
        elif match := BRANCH.match(source, at):
            at = branch(source, match.end(), found)
        elif match := CHAIN.match(source, at):
            text.append("#")
            at = chain(source, match.end(), found)
        elif source[at] == "[":
            at = markup(source, at + 1, found) + 1
        else:
            text.append(source[at])
            at += 1
    found.append("".join(text))
    return at


def chain(source: str, at: int, found: list[str]) -> int:
    """Reads the arguments, contents and fields that follow an expression at once."""
    while at < len(source):
        if source[at] in "([{":
            at = bracket(source, at, found)
        elif match := re.compile(r"\.[\w-]+").match(source, at):
            at = match.end()
        else:
            return at + (source[at] == ";")
    return at


def branch(source: str, at: int, found: list[str]) -> int:
    """Reads an if, with its else, or a loop: condition and body."""
    while True:
        while source[at] not in "[{":
            at = bracket(source, at, found) if source[at] in '("' else at + 1
        at = bracket(source, at, found)
        again = re.compile(r"\s*else\b").match(source, at)
        if not again:
            return at
        at = again.end()


def bracket(source: str, at: int, found: list[str]) -> int:
    """Reads a bracket or a string from its first character to after its last."""
    if source[at] == '"':
        return re.compile(r'"(?:\\.|[^"\\])*"').match(source, at).end()
    if source[at] == "[":
        return markup(source, at + 1, found) + 1
    return code(source, at + 1, found, CLOSED[source[at]]) + 1


def code(source: str, at: int, found: list[str], ends: str) -> int:
    """Reads code up to one of these characters, and the contents within."""
    while at < len(source) and source[at] not in ends:
        if source[at] in '([{"':
            at = bracket(source, at, found)
        elif source[at] == "]":
            return at
        elif match := SKIPPED.match(source, at):
            at = match.end()
        else:
            at += 1
    return at


def typed(source: str) -> list[str]:
    """Numbers of the text, each with what stands around it, but for those of `TYPED`."""
    found: list[str] = []
    assert markup(source, 0, found) == len(source), "a bracket is not closed"
    text = re.sub(r"\s+", " ", " | ".join(found))
    for known in TYPED:
        text = re.sub(rf"(?<!\d){re.escape(known)}(?!\d)", "…", text)
    return [text[max(0, its.start() - 30) : its.end() + 20] for its in re.finditer(r"\d+(?:\.\d+)?", text)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_number_of_a_sentence_is_typed(path):
    assert typed(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "numbers"),
    [
        ("They reach 1.97 bits/dim.", 1),
        ("They reach #fixed(value, 2) bits/dim.", 0),
        ("#if few [At 4 calls] else [at #calls.first() calls]", 1),
        ("#let a(x) = [At 4 calls#x]\n#figure(image(path, width: 92%), caption: [Of 3 runs.]) <a2>", 2),
        (
            'With $T = 100$, `4` // 5\n@table2 has 95 % intervals\\; #rows.map(r => [#a(r, digits: 1) in 7]).join("8")',
            1,
        ),
    ],
)
def test_typed_numbers_are_found_where_they_are(source, numbers):
    assert len(typed(source)) == numbers


def test_what_may_be_typed_is_typed():
    found: list[str] = []
    for path in SOURCES:
        markup(path.read_text(encoding="utf-8"), 0, found)
    text = re.sub(r"\s+", " ", " | ".join(found))
    assert [known for known in TYPED if known not in text] == []
