import pytest
import torch
from problems import few_digits, rough_reference

torch.set_num_threads(1)  # small tensors: more threads only cost time, and sums in one order are the same everywhere


@pytest.fixture(scope="session")
def digits():
    return few_digits()


@pytest.fixture(scope="session")
def reference(digits, tmp_path_factory):
    return rough_reference(digits, tmp_path_factory.mktemp("features"))
