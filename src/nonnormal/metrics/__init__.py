"""Metrics: distances of generated images to real ones, with intervals.

FID, KID, precision and recall have torch-fidelity's values and our intervals. Without Inception's weights the features
are those of a classifier trained here, and the metric's name says so (`fid_digits`).
"""

DISTANCES = ("fid", "kid", "precision", "recall")
