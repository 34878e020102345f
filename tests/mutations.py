"""Study files with mistakes: seeded mutations of their content, and of their text as YAML."""

import copy
import random
from pathlib import Path
from typing import Any

import yaml

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7, 10**9, 10**400, -(10**30), 0.5, -0.0, 1e308, float("inf"), float("nan")),
    *("", " ", "0", "1e3", "null", "../../etc", "/etc/passwd", "~", "a" * 5000, "ß", "\u0000", "\x1b[31m", "{}", "%s"),
    *("laplace", "student_t(df=4)", "student_t(df=1e999)", "student_t(df=nan)", "student_t(df=)", "laplace(", "q q"),
    *(
        "os:system",
        "nowhere:Step",
        "nonnormal.steps:Step",
        "nonnormal.study.cli.__main__:x",
        "builtins:int",
        ":",
        "a:b:c",
    ),
    *([], {}, [[]], [None], [0], [10**400], {"": None}, {"kind": "?"}, {"kind": []}, {1: 2}, [{}] * 3, ["a"] * 500),
)
KEYS = ("", " ", "a.b", "name", "kind", "runs", "../up", "\n", "\x1b[31m", "é", "x" * 3000, 1, None, True, 2.5, "[key]")
TEXTS = (
    *(
        ": ",
        "\n",
        "\t",
        "- ",
        "&a ",
        "*a ",
        "!!python/object/apply:os.system ['true']",
        "!!binary x",
        "{",
        "}",
        "[",
        "]",
    ),
    *(
        "'",
        '"',
        "|",
        ">",
        "%",
        "@",
        "`",
        "#",
        "---\n",
        "...\n",
        "<<: ",
        "? ",
        "\u0000",
        "\ud7ff",
        "\ufeff",
        "2026-99-99",
    ),
    *(
        "1" * 6000,
        "0o9",
        "0x",
        "1_000",
        "1:60:61",
        ".inf",
        ".nan",
        "~",
        "[" * 400,
        "&a [*a]",
        "{a: &b {c: *b}}",
        "\x85",
    ),
)


def content(study: Any, random: random.Random) -> Any:
    """The study with one to four of its values or keys changed, removed, moved or doubled."""
    study = copy.deepcopy(study)
    for _ in range(random.randint(1, 4)):
        places = list(_places(study))
        if not places:
            break
        place, key = random.choice(places)
        kind = random.randrange(6)
        if kind == 0:
            del place[key]
        elif kind == 1 and isinstance(place, dict):
            place[random.choice(KEYS)] = place.pop(key)
        elif kind == 2 and isinstance(place, dict):
            place[random.choice(KEYS)] = copy.deepcopy(random.choice(VALUES))
        elif kind == 3:
            other, theirs = random.choice(places)
            place[key] = copy.deepcopy(other[theirs])
        elif kind == 4 and isinstance(place[key], int | float):
            place[key] = random.choice(
                (-place[key], place[key] * 10**6, str(place[key]), [place[key]], place[key] + 0.5)
            )
        else:
            place[key] = copy.deepcopy(random.choice(VALUES))
    return study


def text(study: Any, random: random.Random) -> bytes:
    """The study as YAML, with one to four pieces of its text removed, doubled, or replaced by what YAML finds hard."""
    text = written(study).decode()
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(text) + 1)
        stop = min(len(text), start + random.choice((0, 1, 1, 5, 40)))
        text = text[:start] + random.choice((*TEXTS, "", text[start:stop] * 2)) + text[stop:]
    encoded = bytearray(text.encode("utf-8", "surrogatepass"))
    if encoded and random.randrange(4) == 0:
        encoded[random.randrange(len(encoded))] = random.randrange(256)
    return bytes(encoded)


def written(study: Any) -> bytes:
    """The study as YAML."""
    return yaml.safe_dump(study, sort_keys=False, allow_unicode=True).encode()


def _places(node: Any):
    """(container, key) of each value below the node."""
    items = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    for key, value in items:
        yield node, key
        yield from _places(value)


def bomb(depth: int = 40) -> str:
    """A study of a few lines that unfolds to 2 to the power of depth values."""
    lines = ["name: bomb", "data: digits", "runs: {r: null}", "defaults:", "  a0: &a0 [x, x]"]
    lines += [f"  a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, depth)]
    return "\n".join([*lines, ""])


def configured(name: str, n_runs: int) -> dict:
    """A study of the repository with its first runs."""
    study = yaml.safe_load((Path(__file__).parents[1] / "config" / f"{name}.yaml").read_text(encoding="utf-8"))
    return {**study, "runs": dict(list(study["runs"].items())[:n_runs])}
