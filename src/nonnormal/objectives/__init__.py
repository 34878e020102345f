"""Objectives: losses, bounds, likelihoods."""
