"""Analysis: convergence in law, geometry of sampling, information, cumulants."""
