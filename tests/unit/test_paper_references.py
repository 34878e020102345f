"""The paper's source: it refers to nothing that a study may leave out."""

import re
from pathlib import Path

PAPER = Path(__file__).parents[2] / "paper/paper.typ"
SECTION = r'if (?:has\("|study\.(?:at\(")?)(\w+)(?:"\)|(?:", default: none\))? != none) \['
TOKEN = re.compile(SECTION + r"|\\.|//[^\n]*|\[|\]|<[a-z-]+>|@[a-z-]+")


def text(path: Path) -> str:
    """The source with each file that it includes in the place of the include."""
    source = path.read_text(encoding="utf-8")
    return re.sub(r'#include "([^"]+)"', lambda found: text(path.parent / found[1]), source)


def test_a_reference_to_a_section_stands_where_the_study_has_the_section():
    labels, references, opened = {}, [], []
    for match in TOKEN.finditer(text(PAPER)):
        token = match[0]
        if match[1] or token == "[":
            opened.append(match[1])
        elif token == "]":
            opened.pop()
        elif token[0] == "<":
            labels[token[1:-1]] = {name for name in opened if name}
        elif token[0] == "@":
            references.append((token[1:], {name for name in opened if name}))
    assert labels["solvers-table"] == {"geometry"}
    assert labels["ablation-table"] == {"ablation"}
    assert [name for name, there in references if labels.get(name, set()) - there] == []
