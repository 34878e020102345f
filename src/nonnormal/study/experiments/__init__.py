"""Experiments, one folder each: settings, measurement, tables, figures, and the `EXPERIMENT` that names them."""
