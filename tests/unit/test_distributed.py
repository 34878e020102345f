"""Several processes: parts of a batch, and two real processes under torchrun that end in the weights of one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import VPS, small_denoiser

from nonnormal.files import read_tensors, write_tensors
from nonnormal.objectives.losses import ELBO, Design, Loss
from nonnormal.training.distributed import ALONE, Group, joined
from nonnormal.training.loop import TrainingStopped, train

SOURCE = Path(__file__).parents[2] / "src"
STEPS = 6


def trained(folder, dropout=0.0, **other):
    """A training whose batch of 5 images has no equal halves."""
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    options = dict(steps=STEPS, batch_size=5, learning_rate=3e-3, warmup=3, decay="cosine", betas=(0.9, 0.99))
    options |= dict(weight_decay=0.01, clip_norm=1.0, ema_decay=0.9, seed=5, checkpoint=folder / "checkpoint")
    options |= dict(checkpoint_every=100, log_every=2, fingerprint={"of": "f"})
    objective = ELBO(Design(VPS["vp-digits"], Loss("laplace", "laplace")), 10)
    denoiser, log = train(small_denoiser(dropout=dropout), objective, images, **options | other)
    return denoiser.network.state_dict() | {"log": torch.tensor(np.stack(list(log.values()), axis=1))}


def trained_together(folder):
    """What each of several processes does."""
    torch.set_num_threads(1)
    with joined("cpu") as (group, device):
        assert device == "cpu"
        mine = folder / str(group.rank)
        write_tensors(mine / "plain", trained(folder, group=group))
        write_tensors(mine / "pieces", trained(folder, group=group, accumulate=2))
        whole = trained(folder, dropout=0.2, group=group)
        write_tensors(mine / "whole", whole)
        asked = iter(range(STEPS))
        with pytest.raises(TrainingStopped, match="stopped at step 3"):  # only the second process is asked
            trained(folder, dropout=0.2, group=group, stop=lambda: next(asked) == 2 and group.rank == 1)
        write_tensors(mine / "resumed", trained(folder, dropout=0.2, group=group))
        group.wait()  # until both have read what is set aside next
        write_tensors(mine / "anew", trained(folder, fingerprint={"of": "other"}, group=group))


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The files of two processes."""
    folder = tmp_path_factory.mktemp("together")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__, folder]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{SOURCE}{os.pathsep}{Path(__file__).parents[1]}",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return lambda name: [read_tensors(folder / rank / name)[0] for rank in "01"]


def distance(found, expected):
    """Distance of all weights, relative to their size."""
    names = expected.keys() - {"log"}
    first, second = (torch.cat([state[name].flatten() for name in names]) for state in (found, expected))
    return ((first - second).norm() / second.norm()).item()


def test_a_checkpoint_of_other_settings_is_set_aside_once_for_both(together):
    for found, expected in zip(together("anew"), together("plain"), strict=True):
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["plain", "pieces"])
def test_two_processes_end_in_the_weights_of_one(together, tmp_path, name):
    alone = trained(tmp_path)
    for found in together(name):
        assert distance(found, alone) < 1e-6
        torch.testing.assert_close(found["log"], alone["log"], rtol=1e-5, atol=0)
    assert distance(trained(tmp_path, seed=6), alone) > 1e-3  # what another draw would make of them


@pytest.mark.parametrize("name", ["plain", "whole"])
def test_processes_agree_to_the_bit(together, name):
    first, second = together(name)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_process_has_dropout_masks_of_its_own(together, tmp_path):
    # Of equal masks for both halves, or none, the weights would be others.
    assert distance(together("whole")[0], together("plain")[0]) > 1e-3


def test_processes_stop_together_and_go_on_to_the_same_bits(together):
    for resumed, whole in zip(together("resumed"), together("whole"), strict=True):
        assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.mark.parametrize(("n", "size", "pieces"), [(1, 1, 1), (5, 2, 1), (64, 3, 4), (12, 3, 4), (7, 1, 7)])
def test_shares_are_a_partition_into_nearly_equal_parts(n, size, pieces):
    shares = [Group(rank, size).share(n, pieces) for rank in range(size)]
    assert all(len(share) == pieces for share in shares)
    parts = [list(range(n))[part] for share in shares for part in share]
    assert [i for part in parts for i in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_batch_with_fewer_images_than_pieces_is_refused():
    with pytest.raises(ValueError, match="batch_size: found 5; 2 processes times accumulate = 3 need 6"):
        Group(0, 2).share(5, 3)


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as (group, device):
        assert (group, device) == (ALONE, "cpu")
    values = [torch.tensor([1.0, 2.0])]
    group.sum_(values)
    assert values[0].tolist() == [1.0, 2.0]


if __name__ == "__main__":
    trained_together(Path(sys.argv[1]))
