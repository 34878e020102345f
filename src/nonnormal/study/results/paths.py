"""Layout: paths of a study's files, for the command line and the workflow.

Every path is relative to the folder of the project. Run names and numbers of steps may be wildcards ("{run}").
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# What the headline paper takes from kept studies: their folder, and the files in it, by the name that the paper uses.
BORROWED = {
    "photographs": (
        Path("results/photos16"),
        (
            "study.json",
            "provenance.json",
            "summary.csv",
            "paper/tables/pairs.csv",
            "paper/tables/pairs.typ",
            "paper/figures/samples.png",
            "paper/figures/style.png",
        ),
    ),
    "networks": (Path("results/few-steps"), ("study.json", "paper/tables/few_steps.csv")),  # the rule for samples
}
LEDGER = Path("results/claims.csv")  # verdicts over all kept studies; the headline paper shows those that are better
FIGURE_FORMATS = ("pdf", "png")
TABLE_FORMATS = ("csv", "md", "typ")


def data_path(name: str) -> Path:
    """File of a data set, shared by all studies on it; the name comes from `data.file_name`."""
    return Path("data") / f"{name}.safetensors"


def records_folder(path: Path | str) -> Path | None:
    """Folder of a file's records: in records/ of its study, of data/ or of paper/; None for files elsewhere."""
    parts = Path(path).parts
    depth = {"results": 2, "data": 1, "paper": 1}.get(parts[0] if parts else "", 0)
    if not 0 < depth < len(parts) or ".." in parts or parts[depth] == "records":
        return None
    return Path(*parts[:depth], "records", *parts[depth:])


@dataclass(frozen=True)
class Layout:
    """Paths of the study `name` on the data set `data`; a headline study's paper lies in paper/."""

    name: str
    data_name: str
    headline: bool = False

    @property
    def root(self) -> Path:
        """Folder of the study."""
        return Path("results") / self.name

    @property
    def study(self) -> Path:
        """The study with all defaults filled in."""
        return self.root / "study.json"

    @property
    def data(self) -> Path:
        """The study's data set."""
        return data_path(self.data_name)

    @property
    def features(self) -> Path:
        """Feature network of the Fréchet distance."""
        return self.root / "features.safetensors"

    @property
    def summary(self) -> Path:
        """All numbers of the study, one row each."""
        return self.root / "summary.csv"

    @property
    def means(self) -> Path:
        """The numbers of the summary, one row for all trainings of a run."""
        return self.root / "means.csv"

    @property
    def metrics(self) -> Path:
        """The headline numbers by run, for DVC."""
        return self.root / "metrics.json"

    @property
    def provenance(self) -> Path:
        """Code revision, packages and hardware behind the summary."""
        return self.root / "provenance.json"

    def run(self, run: str) -> Path:
        """Folder of a run."""
        return self.root / run

    def weights(self, run: str) -> Path:
        """Averaged weights of a run."""
        return self.run(run) / "weights.safetensors"

    def log(self, run: str) -> Path:
        """Training log of a run."""
        return self.run(run) / "training.csv"

    def events(self, run: str) -> Path:
        """Folder of TensorBoard's event files of a run, if the study turns them on."""
        return self.run(run) / "tensorboard"

    def checkpoint(self, run: str) -> Path:
        """Checkpoint from which an unfinished training of a run resumes."""
        return self.run(run) / "checkpoint.safetensors"

    def samples(self, run: str, n_steps: int | str) -> Path:
        """Samples of a run drawn in n_steps steps."""
        return self.run(run) / "samples" / f"{n_steps}.safetensors"

    def rows(self, job: str, run: str | None = None) -> Path:
        """Rows of the summary that a job wrote; for one network, if it has a job for each."""
        return (self.run(run) if run else self.root) / f"{job}.csv"

    def arrays(self, job: str, run: str | None = None) -> Path:
        """Arrays that a job wrote, by name."""
        return (self.run(run) if run else self.root) / f"{job}.safetensors"

    @property
    def pretrained_network(self) -> Path:
        """The pretrained network, as it was loaded."""
        return self.root / "pretrained" / "network.safetensors"

    @property
    def paper_folder(self) -> Path:
        """Folder of figures, tables and the typeset paper."""
        return Path("paper") if self.headline else self.root / "paper"

    @property
    def paper(self) -> Path:
        """The typeset paper."""
        return self.paper_folder / "paper.pdf"

    @property
    def kept(self) -> dict[str, Path]:
        """Folders of kept studies that a headline study's paper takes files from, by name, if these are all there."""
        folders = {
            name: folder for name, (folder, files) in BORROWED.items() if all((folder / f).is_file() for f in files)
        }
        return folders if self.headline else {}

    @property
    def borrowed(self) -> list[Path]:
        """Files of kept studies that a headline study's paper takes."""
        return [folder / file for name, folder in self.kept.items() for file in BORROWED[name][1]]

    @property
    def ledger(self) -> list[Path]:
        """The ledger of claims, for a headline study, if there is one."""
        return [LEDGER] if self.headline and LEDGER.is_file() else []

    @property
    def page(self) -> Path:
        """The results page, one HTML file."""
        return (self.paper_folder if self.headline else self.root) / "results.html"

    def figure(self, name: str, extension: str) -> Path:
        """A figure in one format."""
        return self.paper_folder / "figures" / f"{name}.{extension}"

    def table(self, name: str, extension: str) -> Path:
        """A table in one format."""
        return self.paper_folder / "tables" / f"{name}.{extension}"

    def caption(self, kind: str, name: str) -> Path:
        """Caption of a "figure" or "table", for Snakemake's report."""
        return self.root / "captions" / f"{kind}-{name}.rst"

    def figures(self, names: Iterable[str], extensions: Iterable[str] = FIGURE_FORMATS) -> list[Path]:
        """Figures in all formats."""
        return [self.figure(name, extension) for name in names for extension in extensions]

    def tables(self, names: Iterable[str], extensions: Iterable[str] = TABLE_FORMATS) -> list[Path]:
        """Tables in all formats."""
        return [self.table(name, extension) for name in names for extension in extensions]


def making(path: Path | str) -> str:
    """The command that makes a result."""
    return f"snakemake --cores all --configfile STUDY -- {shlex.quote(str(path))}"


def remade(path: Path | str) -> str:
    """Advice on a damaged result, for messages."""
    return f"delete it and make it again: {making(path)}"
