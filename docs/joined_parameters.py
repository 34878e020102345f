"""Docstrings that describe parameters together, `rtol, atol: of the solver`, as an entry for each.

griffe, which reads the docstrings, knows one name an entry and warns of all others.
"""

import re

import griffe

_JOINED = re.compile(
    r"^(?P<indent> +)(?P<names>\**\w+(?:, \**\w+)+): (?P<text>.*(?:\n(?P=indent) +\S.*)*)", re.MULTILINE
)


class JoinedParameters(griffe.Extension):
    """Rewrites the docstring of each object before it is parsed."""

    def on_object(self, *, obj, **_):
        """Griffe's event for every object that was loaded."""
        if obj.docstring is not None:
            obj.docstring.value = _JOINED.sub(_apart, obj.docstring.value)


def _apart(match):
    return "\n".join(f"{match['indent']}{name}: {match['text']}" for name in match["names"].split(", "))
