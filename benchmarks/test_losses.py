"""Losses: K of a tensor, forward and backward, against half the squared error."""

import pytest
import torch

from nonnormal.steps.divergence import shift_kl

PAIRS = [("laplace", "laplace"), ("uniform", "normal"), ("uniform", "laplace"), ("normal", "laplace")]
SHAPES = [(128, 3, 32, 32), (64, 1, 8, 8)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize(("q", "p"), PAIRS)
def test_loss(compare, q, p, shape):
    delta = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def both_ways(loss):
        def call():
            delta.grad = None
            loss(delta).sum().backward()

        return call

    compare(
        both_ways(lambda d: shift_kl(q, p, d)),
        both_ways(lambda d: 0.5 * d.square()),
        what=f"K of {q}/{p}, {'×'.join(map(str, shape))}, float32",
        to="½ d²",
        rounds=40,
        calls=20,
        wanted=1.5 if (q, p) == PAIRS[0] else None,
        streams=5,  # forward: read d, write K; sum: read K; backward: read d, write the gradient
        tensor=delta.detach(),
    )
