"""Context: a study with its results, as jobs, figures and tables use it; files are read on first use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nonnormal.study.results.paths import Layout

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from nonnormal.data import ImageData
    from nonnormal.denoisers import NetworkDenoiser
    from nonnormal.metrics.reference import Reference
    from nonnormal.study.config.study import Study

PUBLISHED = Path("paper/references/published.csv")


@dataclass
class Context:
    """Inputs of jobs, figures and tables.

    Attributes:
        study: the study.
        layout: paths of its files.
        run: the network that a job uses; None for a job without one.
        device: device of the networks.
    """

    study: Study
    layout: Layout
    run: str | None = None
    device: str = "cpu"

    @property
    def context(self) -> Context:
        """The context itself, for a figure or table that needs more than the attributes below."""
        return self

    @cached_property
    def rows(self) -> pd.DataFrame:
        """All rows of the study, of each training of a run."""
        from nonnormal.study.results.summary import read_rows

        return read_rows(self.layout.summary)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """All rows of the study, one for all trainings of a run."""
        from nonnormal.study.results.trainings import over_trainings

        return over_trainings(self.rows)

    @cached_property
    def trainings(self) -> pd.DataFrame:
        """Rows of each training of the runs that were trained several times."""
        return self.rows[self.rows.groupby("run").train_seed.transform("nunique") > 1]

    @cached_property
    def published(self) -> pd.DataFrame:
        """Figures that papers print."""
        import pandas as pd

        from nonnormal.files import track_input

        return pd.read_csv(track_input(PUBLISHED))

    @cached_property
    def data(self) -> ImageData:
        """The data set."""
        from nonnormal import data

        return data.read(self.layout.data)

    @cached_property
    def reference(self) -> Reference:
        """The training split in the features that distances are measured in."""
        from nonnormal.metrics.reference import read_reference

        return read_reference(self.layout.features, self.layout.data)

    def network(self, run: str | None = None) -> NetworkDenoiser:
        """The network of a run; of the job's own run if none is named."""
        from nonnormal.study.results.artifacts import network

        return network(self.study, self.layout, run or self.run, self.device)

    def samples(self, run: str, n_steps: int) -> Tensor:
        """Samples of a run, uint8 (N, C, H, W)."""
        from nonnormal.study.results.artifacts import samples

        return samples(self.study, self.layout, run, n_steps)

    def arrays(self, job: str, run: str | None = None) -> dict[str, Tensor]:
        """Arrays by name that a job of the study wrote; for one network, if it has a job for each."""
        from nonnormal.files import read_tensors

        return read_tensors(self.layout.arrays(job, run))[0]

    @property
    def fid(self) -> str:
        """Name of the study's Fréchet distance."""
        return self.study.metric("fid")

    @property
    def levels(self) -> int:
        """Grey levels of the images."""
        return self.study.dataset.levels

    @property
    def training_steps(self) -> dict[str, int]:
        """T that each run was trained with."""
        return {run: settings.training.timesteps for run, settings in self.study.runs.items()}
