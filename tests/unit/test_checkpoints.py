"""Checkpoints: save and restore to the bit, refuse what is not ours."""

import re
from types import SimpleNamespace

import pytest
import torch
from problems import small_denoiser, small_recipe

from nonnormal.files import write_tensors
from nonnormal.training.checkpoints import (
    TrainingState,
    archive_checkpoint,
    build_denoiser,
    load_denoiser,
    save_weights,
)

THESE = {"run": "r", "training": {"iterations": 3, "betas": [0.9, 0.99]}}
OTHERS = {"run": "r", "training": {"iterations": 4, "betas": [0.9, 0.99]}, "seed": 1}


def advance(state, n):
    """n optimiser steps that use every part of the state."""
    for _ in range(n):
        x = torch.randn(2, 1, 8, 8, generator=state.generator)
        loss = state.network(x, torch.zeros(2)).square().mean()
        state.optimiser.zero_grad()
        loss.backward()
        state.optimiser.step()
        for value, parameter in zip(state.ema, state.network.parameters(), strict=True):
            value.lerp_(parameter.detach(), 0.3)
        state.step += 1
        state.window.append((loss.item(), 0.1 * state.step))
        if state.step % 2 == 0:
            state.log.append((state.step, loss.item(), 0.5, 1e-3))
            state.window.clear()


def fresh(seed=0):
    network = small_denoiser(seed, dropout=0.3).network
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    ema = [p.detach().clone() for p in network.parameters()]
    return TrainingState(network, ema, optimiser, torch.Generator().manual_seed(seed), 0, [], [])


def contents(state):
    """All of a state by name, as tensors."""
    found = {f"network.{name}": value for name, value in state.network.state_dict().items()}
    found |= {f"ema.{i}": value for i, value in enumerate(state.ema)}
    for i, moments in state.optimiser.state_dict()["state"].items():
        found |= {f"optimiser.{i}.{name}": value for name, value in moments.items()}
    found |= {name: torch.tensor(getattr(state, name), dtype=torch.float64) for name in ("step", "log", "window")}
    found |= {"generator": state.generator.get_state(), "torch": torch.get_rng_state()}
    return {name: value.clone() for name, value in found.items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    state = fresh()
    advance(state, 3)
    path = tmp_path / "checkpoint.safetensors"
    state.save(path, THESE)
    return state, path, contents(state)


def test_restore_takes_everything_over_to_the_bit(saved):
    _, path, before = saved
    other = fresh(seed=1)
    torch.manual_seed(99)
    assert other.restore(path, THESE)
    assert same(contents(other), before)


def test_a_restored_state_goes_on_in_the_same_bits(saved):
    state, path, _ = saved
    advance(state, 3)
    other = fresh(seed=1)
    assert other.restore(path, THESE)
    advance(other, 3)  # dropout draws from torch's own generator, which is restored too
    assert same(contents(other), contents(state))


def test_a_state_without_a_step_can_be_saved(tmp_path):
    state = fresh()
    state.save(tmp_path / "a", THESE)
    before, other = contents(state), fresh(seed=1)
    assert other.restore(tmp_path / "a", THESE)
    assert same(contents(other), before)


def test_other_settings_change_nothing(saved):
    _, path, _ = saved
    other = fresh(seed=1)
    advance(other, 1)
    before = contents(other)
    assert not other.restore(path, OTHERS)
    assert same(contents(other), before)


def test_a_checkpoint_set_aside_is_whole_and_says_what_it_has_otherwise(saved):
    _, path, before = saved
    kept, changes = archive_checkpoint(path, OTHERS)
    assert changes == ["training.iterations was 3, is 4", "seed was null, is 1"]
    assert not path.exists()
    assert re.fullmatch(r"checkpoint-3-[0-9a-f]{8}\.safetensors", kept.name)
    other = fresh(seed=1)
    assert other.restore(kept, THESE)
    assert same(contents(other), before)


def test_no_checkpoint_set_aside_takes_the_place_of_another(saved):
    state, path, _ = saved
    first, _ = archive_checkpoint(path, OTHERS)
    state.save(path, OTHERS)
    second, _ = archive_checkpoint(path, THESE)
    assert first.exists()
    assert second.exists()
    assert first != second


def test_a_damaged_checkpoint_is_refused_and_changes_nothing(saved):
    _, path, _ = saved
    path.write_bytes(path.read_bytes()[:-7])
    other = fresh(seed=1)
    before = contents(other)
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors"):
        other.restore(path, THESE)
    assert same(contents(other), before)


def test_random_numbers_of_another_kind_of_device_are_refused_and_change_nothing(saved):
    _, path, _ = saved
    other = fresh(seed=1)
    before = contents(other)
    other.generator = SimpleNamespace(device=torch.device("cuda"), get_state=other.generator.get_state)
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors: .* began on cpu and is to go on on cuda"):
        other.restore(path, THESE)
    assert same(contents(other), before)


def test_equal_states_are_equal_files(saved, tmp_path):
    _, path, _ = saved
    other = fresh(seed=1)
    other.restore(path, THESE)
    other.save(tmp_path / "again", THESE)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


# ---- finished weights ------------------------------------------------------------------------------------------------

SETTINGS = [
    dict(parametrisation="edm", sigma_data=0.4),
    dict(parametrisation="v", fourier=[2, 3], dropout=0.2),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_denoiser_is_loaded_as_it_was_saved(tmp_path, settings):
    recipe = small_recipe(**settings)
    denoiser = build_denoiser(recipe, seed=3).eval()
    save_weights(tmp_path / "w.safetensors", denoiser, recipe, study="a study")
    loaded = load_denoiser(tmp_path / "w.safetensors")
    x, sigma = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.01, 0.5, 20.0])
    assert torch.equal(loaded(x, sigma), denoiser(x, sigma))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_the_seed_decides_the_initial_weights():
    x = torch.ones(1, 1, 8, 8)
    first, again, other = (small_denoiser(seed).eval()(x, 0.5) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_file_without_a_recipe_is_refused(tmp_path):
    write_tensors(tmp_path / "data.safetensors", {"images": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"data\.safetensors holds no denoiser"):
        load_denoiser(tmp_path / "data.safetensors")


def test_a_pickled_network_is_refused(tmp_path):
    torch.save(small_denoiser().network.state_dict(), tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w\.pt"):
        load_denoiser(tmp_path / "w.pt")
