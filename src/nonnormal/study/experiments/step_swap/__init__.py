"""Step swap."""
