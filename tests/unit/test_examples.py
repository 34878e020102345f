"""The examples in the docstrings of the names that `import nonnormal` has: each has one, and prints what it says."""

import doctest

import pytest

import nonnormal
from nonnormal.steps import base


@pytest.mark.parametrize("name", [name for name in nonnormal.__all__ if name != "Denoiser"])  # the type of a function
def test_the_example_of_a_public_name_prints_what_it_says(name, monkeypatch):
    monkeypatch.setattr(base, "_FAMILIES", dict(base._FAMILIES))  # one of them registers a step
    [example] = doctest.DocTestFinder(recurse=False).find(getattr(nonnormal, name), name, globs={})
    assert example.examples
    printed: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=printed.append)
    assert not printed, "".join(printed)
