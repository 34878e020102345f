"""Figures: one room a figure, from result files to a matplotlib figure; `theme.save` writes it as PDF and PNG."""
