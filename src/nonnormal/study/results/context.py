"""Context: a study with its results, from which jobs measure and figures and tables are made; read when asked for."""

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
    """What a job, a figure or a table may ask for.

    Attributes:
        study: the study.
        layout: where its files are.
        run: the network that a job looks at; None where it looks at none.
        device: of networks.
    """

    study: Study
    layout: Layout
    run: str | None = None
    device: str = "cpu"

    @property
    def context(self) -> Context:
        """All of it, for a figure or table that takes more than the attributes below."""
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
        """The network of a run, of the job's own where none is named."""
        from nonnormal.study.results.artifacts import network

        return network(self.study, self.layout, run or self.run, self.device)

    def samples(self, run: str, n_steps: int) -> Tensor:
        """Samples of a run, uint8 (N, C, H, W)."""
        from nonnormal.study.results.artifacts import samples

        return samples(self.study, self.layout, run, n_steps)

    def arrays(self, job: str, run: str | None = None) -> dict[str, Tensor]:
        """Arrays by name that a job of the study wrote, for one network where it has a job for each."""
        from nonnormal.files import read_tensors

        return read_tensors(self.layout.arrays(job, run))[0]

    @property
    def fid(self) -> str:
        """What the study calls its Fréchet distance."""
        return self.study.metric("fid")

    @property
    def metric(self):
        """What the study calls a distance, `Study.metric`."""
        return self.study.metric

    @property
    def labels(self) -> dict[str, str]:
        """What figures and tables call each run."""
        return self.study.labels

    @property
    def levels(self) -> int:
        """Grey levels of the images."""
        return self.study.dataset.levels

    @property
    def training_steps(self) -> dict[str, int]:
        """T that each run was trained with."""
        return {run: settings.training.timesteps for run, settings in self.study.runs.items()}

    @property
    def headline_steps(self) -> int:
        """Number of sampling steps of the headline numbers."""
        return self.study.headline_steps
