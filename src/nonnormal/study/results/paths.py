"""Layout: where the files of a study lie, for the command line and the workflow alike.

Every path is relative to the folder of the project. Run names and numbers of steps may be wildcards ("{run}").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

GEOMETRY_FIGURES = ("ancestral", "denoising", "deviation", "linearity", "projection", "solvers")
DESIGN_FIGURES = ("corruption", "designs", "extension", "order")
PRETRAINED_FIGURES = ("pretrained", "pretrained_samples")
RECIPE_FIGURES = ("phase_space", "recipe", "recipe_law")
CROSSING_FIGURES = ("crossing", "crossing_samples")
RECIPE_TABLES = ("processes", "recipe", "recipe_bounds")
FIGURES = (
    "cost",
    "exchange",
    "invariance",
    "losses",
    "samples",
    "steps",
    "style",
    "training",
    *DESIGN_FIGURES,
    *GEOMETRY_FIGURES,
    *PRETRAINED_FIGURES,
    *RECIPE_FIGURES,
    *CROSSING_FIGURES,
)
TABLES = (
    "claims",
    "conventions",
    "cost",
    "crossing",
    "designs",
    "geometry",
    "pairs",
    "pretrained",
    "solvers",
    *RECIPE_TABLES,
)
INVARIANCE_PARTS = ("line", "plane")
PHOTOGRAPHS = Path("results/photos32-cpu")  # a finished study whose results are kept; the headline paper tells of it
OF_PHOTOGRAPHS = ("study.json", "provenance.json", "summary.csv", "paper/tables/pairs.csv", "paper/tables/pairs.typ")
OF_PHOTOGRAPHS += ("paper/figures/samples.png", "paper/figures/style.png")  # what the paper takes from there
NETWORK_FILES = [folder + name for folder in ("", "unet/", "scheduler/") for name in ("*.json", "*.safetensors")]
FIGURE_FORMATS = ("pdf", "png")
TABLE_FORMATS = ("csv", "md", "typ")


def figures_of(study) -> tuple[str, ...]:
    """Names of a study's figures: those of its runs and of the sections that it has."""
    has = {"exchange": study.exchange, "invariance": study.invariance}
    has |= dict.fromkeys(DESIGN_FIGURES, study.designs) | {"extension": study.designs and study.designs.extend}
    has |= dict.fromkeys(GEOMETRY_FIGURES, study.geometry) | dict.fromkeys(PRETRAINED_FIGURES, study.pretrained)
    has |= dict.fromkeys(RECIPE_FIGURES, study.recipe) | dict.fromkeys(CROSSING_FIGURES, study.crossing)
    return tuple(name for name in FIGURES if has.get(name, study.runs))


def tables_of(study) -> tuple[str, ...]:
    """Names of a study's tables: those of its runs and of the sections that it has."""
    has = {"geometry": study.geometry, "solvers": study.geometry, "designs": study.designs, "crossing": study.crossing}
    has |= {"pretrained": study.pretrained, **dict.fromkeys(RECIPE_TABLES, study.recipe)}
    return tuple(name for name in TABLES if has.get(name, study.runs))


def network_files(folder: Path | str) -> list[Path]:
    """The files that a network which existed already is taken over from, in the folder that holds it."""
    return sorted(path for pattern in NETWORK_FILES for path in Path(folder).expanduser().glob(pattern))


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

    def checkpoint(self, run: str) -> Path:
        """What an unfinished training of a run goes on from."""
        return self.run(run) / "checkpoint.safetensors"

    def samples(self, run: str, n_steps: int | str) -> Path:
        """Samples of a run drawn in n_steps steps."""
        return self.run(run) / "samples" / f"{n_steps}.safetensors"

    def bounds(self, run: str) -> Path:
        """Rows of the summary: bounds of a run."""
        return self.run(run) / "bounds.csv"

    def fidelity(self, run: str) -> Path:
        """Rows of the summary: FID and its relatives of a run."""
        return self.run(run) / "fidelity.csv"

    def exchange(self, run: str) -> Path:
        """Rows of the summary: a run's network sampled with other steps."""
        return self.run(run) / "exchange.csv"

    @property
    def style(self) -> Path:
        """Rows of the summary: style of all samples."""
        return self.root / "style.csv"

    def invariance(self, part: str) -> Path:
        """Rows of the summary: convergence in law with any step, on the line or in the plane."""
        return self.root / f"invariance-{part}.csv"

    @property
    def geometry(self) -> Path:
        """Rows of the summary: geometry of sampling with one network."""
        return self.root / "geometry.csv"

    @property
    def trajectories(self) -> Path:
        """The trajectories that the geometry was read from."""
        return self.root / "trajectories.safetensors"

    def design(self, run: str) -> Path:
        """Rows of the summary: a network of another representation or schedule."""
        return self.run(run) / "design.csv"

    @property
    def extension(self) -> Path:
        """Images that a network was asked to complete and to continue."""
        return self.root / "extension.safetensors"

    @property
    def pretrained_network(self) -> Path:
        """The network that existed already, as it was taken over."""
        return self.root / "pretrained" / "network.safetensors"

    @property
    def pretrained_samples(self) -> Path:
        """The first of its samples, by step and number of steps."""
        return self.root / "pretrained" / "samples.safetensors"

    @property
    def pretrained(self) -> Path:
        """Rows of the summary: that network sampled with several steps."""
        return self.root / "pretrained.csv"

    def recipe(self, run: str) -> Path:
        """Rows of the summary: processes of the complete recipe, sampled and bounded with a run's network."""
        return self.run(run) / "recipe.csv"

    @property
    def recipe_law(self) -> Path:
        """Rows of the summary: convergence in law of those processes on a mixture with its exact score."""
        return self.root / "recipe-law.csv"

    @property
    def crossing(self) -> Path:
        """Rows of the summary: one network with each step in other bases, processes and grids of times."""
        return self.root / "crossing.csv"

    @property
    def crossing_samples(self) -> Path:
        """The first images of each step in each basis, and their states on the way."""
        return self.root / "crossing.safetensors"

    def parts(
        self,
        runs: Iterable[str],
        designs: Iterable[str] = (),
        *,
        invariance: bool,
        exchange: bool,
        geometry: bool,
        pretrained: bool,
        recipe: bool = False,
        recipe_runs: Iterable[str] = (),
        crossing: bool = False,
    ) -> list[Path]:
        """All files of rows that the summary gathers, for the networks and the sections that a study has."""
        by_run = [self.bounds, self.fidelity, *([self.exchange] if exchange else [])]
        found = [path(run) for run in runs for path in by_run]
        lone = [self.style] if found else []
        found += map(self.design, designs)
        found += lone
        found += [self.invariance(part) for part in INVARIANCE_PARTS if invariance]
        found += [self.geometry] if geometry else []
        found += [self.recipe_law, *map(self.recipe, recipe_runs)] if recipe else []
        found += [self.crossing] if crossing else []
        return found + ([self.pretrained] if pretrained else [])

    @property
    def paper_folder(self) -> Path:
        """Folder of figures, tables and the typeset paper."""
        return Path("paper") if self.headline else self.root / "paper"

    @property
    def paper(self) -> Path:
        """The typeset paper."""
        return self.paper_folder / "paper.pdf"

    @property
    def photographs(self) -> list[Path]:
        """What the paper takes from the photographs' study; nothing where it is no headline's, or has no such study."""
        found = [PHOTOGRAPHS / name for name in OF_PHOTOGRAPHS]
        return found if self.headline and (PHOTOGRAPHS / "summary.csv").is_file() else []

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

    def figures(self, names: Iterable[str], extensions: Iterable[str] = FIGURE_FORMATS) -> list[Path]:
        """Figures in all formats."""
        return [self.figure(name, extension) for name in names for extension in extensions]

    def tables(self, names: Iterable[str], extensions: Iterable[str] = TABLE_FORMATS) -> list[Path]:
        """Tables in all formats."""
        return [self.table(name, extension) for name in names for extension in extensions]
