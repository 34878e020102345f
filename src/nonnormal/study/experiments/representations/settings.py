"""Settings of the representations and schedules."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from nonnormal.study.config.sections import NetworkName, Section
from nonnormal.study.config.settings import Run
from nonnormal.study.config.values import MOST, MOST_STEPS, Flag

if TYPE_CHECKING:
    from nonnormal.study.config.study import Study


class Representations(Section):
    """Networks of other representations and schedules, compared with one another rather than with the pairs."""

    networks: dict[NetworkName, Run] = Field(min_length=1)
    """The networks by name; the keys of each replace the study's defaults."""
    replicates: int = Field(1, strict=True, ge=1, le=1000)
    """How often each of them is trained and measured; see the study's key replicates."""
    n_images: int = Field(500, strict=True, ge=8, le=MOST)
    """Samples of each network."""
    nfe: tuple[Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)], ...] = Field((50,), min_length=1)
    """Network calls per image, equal to sampling steps."""
    flow: Flag = False
    """Whether the probability-flow likelihood is measured, too."""
    outpaint: str | None = None
    """Network in the pixel basis that inpaints the right half of images and outpaints beyond it; none if null."""

    def check(self, study: Study) -> None:
        """Refuse an outpainting network that does not exist, or whose components are not pixels."""
        if self.outpaint not in (None, *self.networks):
            raise ValueError(
                f'representations.outpaint: found "{self.outpaint}"; the networks are ' + ", ".join(self.networks)
            )
        if self.outpaint and (kind := self.networks[self.outpaint].basis.kind) != "pixel":
            raise ValueError(
                f"representations.networks.{self.outpaint}.basis.kind: found {kind}; representations.outpaint keeps "
                "columns of pixels, which are not components of this basis; use pixel"
            )

    @property
    def shown(self) -> tuple[str, ...]:
        """Networks whose order of components is drawn: the first of each schedule, at most four."""
        first = {}
        for name, run in self.networks.items():
            kind = run.basis.kind if run.process.schedule.by_component else None
            first.setdefault((kind, run.process.schedule.model_dump_json()), name)
        return tuple(first.values())[:4]

    @property
    def labels(self) -> dict[str, str]:
        """Label of each network in figures and tables: its basis, its order, and its pair if needed."""
        labels = {name: f"{run.basis}, {run.process.schedule}" for name, run in self.networks.items()}
        counts = Counter(labels.values())
        pairs = {name: f"{run.q}/{run.p}" for name, run in self.networks.items()}
        return {name: f"{label}, {pairs[name]}" if counts[label] > 1 else label for name, label in labels.items()}
