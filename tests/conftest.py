"""Shared by all tests: one thread per process, as the tests run side by side, and each step family in turn."""

import pytest
import torch
from problems import DENSE, STEPS

from nonnormal.steps import get

torch.set_num_threads(1)


@pytest.fixture(params=STEPS)
def step(request):
    return get(request.param)


@pytest.fixture(params=DENSE)
def dense(request):
    return get(request.param)
