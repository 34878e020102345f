"""Evaluation: from weights and samples to rows of the summary, one number a row, with interval and conditions."""
