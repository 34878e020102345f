"""Tables: from rows of a study to what people read, each as numbers and as text."""

from nonnormal.study.experiments.ablation.tables import crossing, readable_crossing
from nonnormal.study.experiments.geometry.tables import geometry, readable_geometry, readable_solvers, solvers
from nonnormal.study.experiments.pairs.table_conventions import differences, readable_differences
from nonnormal.study.experiments.pairs.table_costs import costs, readable_costs
from nonnormal.study.experiments.pairs.tables import headline, pairs, readable_pairs
from nonnormal.study.experiments.phase_space.tables import bounds as recipe_bounds
from nonnormal.study.experiments.phase_space.tables import (
    processes,
    readable_bounds,
    readable_processes,
    readable_recipe,
    recipe,
)
from nonnormal.study.experiments.pretrained.tables import pretrained, pretrained_headline, readable_pretrained
from nonnormal.study.experiments.representations.tables import designs, readable_designs
from nonnormal.study.report.families import listed_steps, step_constants, step_families
from nonnormal.study.report.table_claims import claims, counted, readable_claims, readable_numbers
from nonnormal.study.report.text import markdown, write_readable

__all__ = [
    "claims",
    "costs",
    "counted",
    "crossing",
    "designs",
    "differences",
    "geometry",
    "headline",
    "listed_steps",
    "markdown",
    "pairs",
    "pretrained",
    "pretrained_headline",
    "processes",
    "readable_bounds",
    "readable_claims",
    "readable_costs",
    "readable_crossing",
    "readable_designs",
    "readable_differences",
    "readable_geometry",
    "readable_numbers",
    "readable_pairs",
    "readable_pretrained",
    "readable_processes",
    "readable_recipe",
    "readable_solvers",
    "recipe",
    "recipe_bounds",
    "solvers",
    "step_constants",
    "step_families",
    "write_readable",
]
