"""Training with a Laplace loss on 8×8 digits in a loop of one's own, the bound and samples: the library alone."""

import torch
from torch import nn

from nonnormal import ELBO, VP, Design, LinearLogSNR, Loss, NetworkDenoiser, bound, sample_ancestral
from nonnormal.data import load, scale


class Network(nn.Module):
    def __init__(self, width=128):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(65, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 64)
        )

    def forward(self, z, log_snr):
        return self.layers(torch.cat([z.flatten(1), log_snr[:, None] / 4], dim=1)).reshape(z.shape)


torch.manual_seed(0)
generator = torch.Generator().manual_seed(0)
digits = load("digits")
images, held_out = (scale(split.images, digits.levels) for split in (digits.train, digits.test))
design = Design(VP(LinearLogSNR(log_snr_max=9, log_snr_min=-7)), Loss("laplace", "laplace"))
denoiser = NetworkDenoiser(Network(), parametrisation="edm", sigma_data=0.75)
objective = ELBO(design, n_steps=20)


def bits_per_dim():
    [found] = bound(denoiser, design, held_out[:64], levels=digits.levels, n_steps=20, seeds=range(64))
    return found.total.mean().item() / 64 / torch.tensor(2.0).log().item()


with torch.no_grad():
    untrained = bits_per_dim()
optimizer = torch.optim.Adam(denoiser.parameters(), lr=3e-3)
for _ in range(200):
    batch = images[torch.randint(len(images), (64,), generator=generator)]
    loss = objective(denoiser, batch, generator).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    trained = bits_per_dim()
    times = torch.linspace(0, 1, 21)
    samples = sample_ancestral(denoiser, design.process, "laplace", (16, 1, 8, 8), times=times, seeds=range(16))
assert trained < 0.9 * untrained, (trained, untrained)
assert samples.isfinite().all()
assert abs(samples.mean() - images.mean()) < 0.3
print(f"{untrained:.2f} bits/dim before training, {trained:.2f} after; samples {tuple(samples.shape)}")
