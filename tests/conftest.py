"""Shared by all tests: one thread per process, as the tests run side by side."""

import torch

torch.set_num_threads(1)
