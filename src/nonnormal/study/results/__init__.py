"""Results: paths, rows, artifacts, records, provenance."""
