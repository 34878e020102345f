import torch


def thrown(settings, source):
    return torch.randint(1, settings.sides + 1, (settings.throws,), generator=source)
