"""Analysis: convergence in law, geometry of sampling, information, cumulants; and a recorder of trajectories."""

from nonnormal.analysis.recorder import Recorder, Trajectories

__all__ = ["Recorder", "Trajectories"]
