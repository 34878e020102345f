"""Experiments: one folder each."""
