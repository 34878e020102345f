"""Glossary: the terms of the page, which it explains once, and where a term first stands in a text."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

TERMS = {
    "K(d)": "what a pair pays, in nats, for missing the mean of a step by d standard deviations. K(0) is its constant.",
    "q/p": "a pair of steps: q of the true process, p of the model.",
    "normal-limit bound": "bits/dim of the network as a normal diffusion model: one measure for all pairs.",
    "native bound": "bits/dim by the pair's own K, its constant included, on states of the limit marginals or of the "
    "bridge walk.",
    "bridge walk": "states whose steps are drawn from q, from the prior to the data: exact for every q.",
    "T → ∞": "the normal bound as an integral over time, for infinitely many steps.",
    "flow": "the likelihood by the probability-flow equation, the same measure for all pairs.",
    "bits/dim": "negative log-likelihood of held-out images, or a bound on it, in bits per pixel and channel.",
    "NFE": "network calls for one sample.",
    "FID": "Fréchet distance of samples to the training images in a network's features: 0 for equal moments. "
    "fid_digits is one in the features of the study's own classifier and no FID of Inception.",
    "at once": "how many components of an image are generated together, by the entropy of their shares in the gain.",
    "excess kurtosis": "fourth moment of a step less that of the normal one, 3.",
    "kurtosis left": "share of a step's excess kurtosis that the noise in a pixel keeps.",
    "total variation": "mean distance of neighbouring pixels: less for smoother images.",
    "loss": "native: the pair's K; limit: the normal one. elbo: weighted as the bound; perceptual: as EDM does; hsm, "
    "dsm: noise of position and momentum, the momentum integrated out or drawn.",
    "EMA": "weights averaged over the training, which are those that are measured.",
    "undecided": "the 95 % interval is on both sides of the threshold, or is one over images where trainings count.",
    "training": "one network, trained from a seed of its own. A difference between two networks counts against the "
    "scatter of trainings.",
}
_SAID = {
    "fid_digits": "FID",
    "Fréchet distance": "FID",
    "network calls": "NFE",
    "K(0)": "K(d)",
    "probability flow": "flow",
}
_NOT_MARKED = {"loss", "training", "q/p", "flow", "bits/dim"}  # words of every second sentence
_FORMS = {**{term: term for term in TERMS if term not in _NOT_MARKED}, **_SAID}
_FORM = re.compile(
    rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(_FORMS, key=len, reverse=True)))})(?!\w)", re.IGNORECASE
)
_TERM = {form.lower(): term for form, term in _FORMS.items()}


def identifier(term: str) -> str:
    """Id of the term on the page."""
    return f"term-{[*TERMS].index(term)}"


def marked(text: str) -> Markup:
    """The text, escaped, in which the first of each term is a link to the glossary with the term's meaning."""
    seen: set[str] = set()

    def link(found: re.Match[str]) -> str:
        term = _TERM[found[0].lower()]
        if term in seen:
            return found[0]
        seen.add(term)
        return f'<a class="term" href="#{identifier(term)}" title="{escape(TERMS[term])}">{found[0]}</a>'

    return Markup(_FORM.sub(link, str(escape(text))))


def meaning(text: str) -> str:
    """What the terms in a short text mean, for the head of a column; empty without a term."""
    words = dict.fromkeys(
        term for form, term in (_FORMS | {"bits/dim": "bits/dim"}).items() if form.lower() in text.lower()
    )
    return " ".join(f"{term}: {TERMS[term]}" for term in words)
