"""Metrics: how far generated images are from real ones, with intervals.

FID, KID, precision and recall have torch-fidelity's values and our intervals; the feature network is the pipeline's own
where Inception's weights cannot be had, and every number is then called by its feature's name (`fid_digits`).
"""

DISTANCES = ("fid", "kid", "precision", "recall")
