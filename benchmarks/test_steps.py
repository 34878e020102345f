"""Sampling: 10⁷ steps of a family against as many normal numbers."""

import pytest
import torch

from nonnormal.study.experiments.all_tables import listed_steps

N = 10**7


@pytest.mark.parametrize("step", listed_steps(), ids=str)
def test_sampling(compare, step):
    draws = torch.Generator().manual_seed(0)
    compare(
        lambda: step.sample((N,), generator=draws),
        lambda: torch.randn(N, generator=draws),
        what=f"{step}, 10⁷ steps, float32",
        to="torch.randn",
        rounds=5,
        streams=1,
        tensor=torch.zeros(N),
    )
