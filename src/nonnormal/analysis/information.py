"""Information of a state on each component, and the number of components that are generated at once.

Let a normal component have the variance Σ_i, let y_i = x_0i + σ_i eps be observed, and let the data resolve a deviation
ε_i. Its information is

    I_i(t) = ½ log(1 + Σ_i / (σ_i² + ε_i²)),    −dI_i/dt = ½ Σ_i / ((σ_i² + ε_i²)(σ_i² + ε_i² + Σ_i)) dσ_i²/dt,   nats.

Sampling runs t from 1 to 0 and gains information. With one schedule for all, many components gain at once; with a
harder order, fewer do. Knows processes, but nothing of networks.

Source: information of a normal channel (Shannon); as a measure of softness in GUD's sense (2410.02667) derived here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nonnormal.processes import LinearProcess


def information(
    process: LinearProcess, variance: Tensor, t: Tensor, floor: float | Tensor = 0.0
) -> tuple[Tensor, Tensor]:
    """(I_i, −dI_i/dt) at each time, nats, float64, two of shape t.shape + variance.shape.

    Args:
        process: any.
        variance: Σ_i, positive.
        t: times in [t_min, 1], (T,).
        floor: ε_i, a number or one for each; 0 counts digits that grey levels do not have.

    Raises:
        ValueError: a time is below t_min, where nothing is noisy.
    """
    if t.min() < process.t_min:
        raise ValueError(f"{type(process).__name__} has times from t_min = {process.t_min:g} to 1, found {t.min():.6g}")
    snr, fall = process.log_snr_rate(t)
    size = t.shape + (1,) * variance.dim()
    snr, fall = (value if value.dim() > t.dim() else value.reshape(size) for value in (snr, fall))
    noise = 1 / snr + torch.as_tensor(floor, dtype=torch.float64) ** 2
    return 0.5 * (variance / noise).log1p(), 0.5 * variance / (noise * (noise + variance)) * fall / snr


def effective_components(
    process: LinearProcess, variance: Tensor, floor: float | Tensor = 0.0, n_times: int = 512
) -> float:
    """Number of components that gain information at the same time, from 1 to their number.

    exp of the entropy of the shares of the components in the gain at time t, averaged over t by the gain there.
    """
    t = process.t_min + (1 - process.t_min) * (torch.arange(n_times, dtype=torch.float64) + 0.5) / n_times
    gain = information(process, variance.double(), t, floor)[1].flatten(1)
    share = gain / gain.sum(1, keepdim=True).clamp(min=torch.finfo(gain.dtype).tiny)  # there may be pauses
    entropy = -torch.special.xlogy(share, share).sum(1)
    return (entropy.exp() @ gain.sum(1) / gain.sum()).item()
