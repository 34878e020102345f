"""Formulas as MathML when the pages are built: browsers set it themselves, so no script and no font is fetched."""

import html
import re

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL)


def on_page_content(content, **_):
    """MkDocs' hook: each formula that arithmatex has marked, set."""
    return _FORMULA.sub(_set, content)


def _set(match):
    display = "block" if match["tag"] == "div" else "inline"
    return convert(html.unescape(match["latex"]).strip(), display=display)
