"""Tables: from rows of a study to what people read, each as numbers and as text."""

from nonnormal.tables.claims import claims, counted, readable_claims, readable_numbers
from nonnormal.tables.costs import costs, readable_costs
from nonnormal.tables.crossing import crossing, readable_crossing
from nonnormal.tables.designs import designs, readable_designs
from nonnormal.tables.differences import differences, readable_differences
from nonnormal.tables.families import listed_steps, step_constants, step_families
from nonnormal.tables.geometry import geometry, readable_geometry, readable_solvers, solvers
from nonnormal.tables.pairs import headline, pairs, readable_pairs
from nonnormal.tables.pretrained import pretrained, pretrained_headline, readable_pretrained
from nonnormal.tables.recipe import bounds as recipe_bounds
from nonnormal.tables.recipe import processes, readable_bounds, readable_processes, readable_recipe, recipe
from nonnormal.tables.text import markdown, read_numbers, write_readable

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
    "read_numbers",
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
