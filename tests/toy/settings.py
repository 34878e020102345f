from typing import ClassVar

from pydantic import Field

from nonnormal.study.config.sections import Section


class Toy(Section):
    """A die thrown several times."""

    needs_runs: ClassVar[bool] = False
    brings_network: ClassVar[bool] = True  # so that a study of it needs no runs

    throws: int = Field(100, strict=True, ge=2)
    """How often it is thrown."""
    sides: int = Field(6, strict=True, ge=1)
    """Sides of the die."""

    def check(self, study):
        if self.sides > self.throws:
            raise ValueError(f"toy.sides: found {self.sides}; must be at most throws, which are {self.throws}")
