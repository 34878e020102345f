"""Training: the same bits every time, also after an interruption; EMA and learning rate by hand; ways to run it."""

import logging
import math

import pytest
import torch
from problems import VPS, small_denoiser

from nonnormal.data import quantise, scale
from nonnormal.objectives.losses import ELBO, Design, EDMLoss, Loss
from nonnormal.training import loop as training
from nonnormal.training.loop import LOG_COLUMNS, TrainingDiverged, TrainingStopped, train

OBJECTIVE = ELBO(Design(VPS["vp-digits"], Loss("laplace", "laplace")), 10)
IMAGES = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Interrupted(Exception):
    pass


class Spy:
    """An objective that keeps the weights it is called with, and fails at a call of choice."""

    def __init__(self, fail_at=None, value=None):
        self.fail_at, self.value, self.weights = fail_at, value, []

    draw = staticmethod(OBJECTIVE.draw)

    def loss(self, denoiser, x0, *draws):
        self.weights.append([p.detach().clone() for p in denoiser.network.parameters()])
        if len(self.weights) == self.fail_at:
            if self.value is None:
                raise Interrupted
            return OBJECTIVE.loss(denoiser, x0, *draws) * self.value
        return OBJECTIVE.loss(denoiser, x0, *draws)


def run(folder, objective=OBJECTIVE, init=0, images=IMAGES, dropout=0.2, **other):
    options = dict(
        **dict(steps=7, batch_size=4, learning_rate=3e-3, warmup=3, decay="cosine", betas=(0.9, 0.99)),
        **dict(weight_decay=0.01, clip_norm=1.0, ema_decay=0.995, seed=5, checkpoint=folder / "c.safetensors"),
        **dict(checkpoint_every=2, log_every=3, fingerprint={"of": "f"}),
    )
    return train(small_denoiser(init, dropout=dropout), objective, images, **options | other)


def weights(denoiser):
    return [p.detach().clone() for p in denoiser.network.parameters()]


def assert_same(first, second):
    """Averaged weights and logs, to the bit."""
    assert all(torch.equal(a, b) for a, b in zip(weights(first[0]), weights(second[0]), strict=True))
    assert same_log(first[1], second[1])


def same_log(first, second):
    return all(first[column].tolist() == second[column].tolist() for column in LOG_COLUMNS)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run(tmp_path_factory.mktemp("uninterrupted"))


def test_the_same_training_ends_in_the_same_bits(uninterrupted, tmp_path):
    torch.manual_seed(123)  # the state before must not matter
    assert_same(run(tmp_path), uninterrupted)


def test_another_seed_is_another_training(uninterrupted, tmp_path):
    assert not same_log(run(tmp_path, seed=6)[1], uninterrupted[1])


@pytest.mark.parametrize("fail_at", [1, 2, 3, 6, 7])
def test_an_interrupted_training_ends_in_the_same_bits(uninterrupted, tmp_path, fail_at):
    with pytest.raises(Interrupted):
        run(tmp_path, Spy(fail_at))
    assert (tmp_path / "c.safetensors").exists() == (fail_at > 2)
    spy = Spy()
    # From other initial weights, where there is a checkpoint: everything must come from the file.
    assert_same(run(tmp_path, spy, init=1 if fail_at > 2 else 0), uninterrupted)
    assert len(spy.weights) == 7 - 2 * ((fail_at - 1) // 2)  # only what was not saved is done again


def test_a_checkpoint_of_other_settings_is_kept_under_another_name(uninterrupted, tmp_path, caplog):
    options = dict(fingerprint={"of": "other"}, learning_rate=1e-2)
    other = run(tmp_path / "left alone", **options)
    with pytest.raises(Interrupted):
        run(tmp_path, Spy(6), **options)
    with caplog.at_level(logging.INFO):
        assert_same(run(tmp_path), uninterrupted)
    [kept] = tmp_path.glob("c-4-*.safetensors")
    assert f'starting anew, and keeping it as {kept}; of was "other", is "f"' in caplog.text
    kept.replace(tmp_path / "c.safetensors")
    assert_same(run(tmp_path, init=1, **options), other)


def test_how_often_a_training_is_saved_and_logged_does_not_change_its_weights(uninterrupted, tmp_path):
    """Also where that was changed on the way."""
    with pytest.raises(Interrupted):
        run(tmp_path, Spy(6))
    averaged, log = run(tmp_path, init=1, checkpoint_every=3, log_every=2)
    assert log["step"].tolist() == [3, 6, 7]
    assert all(torch.equal(a, b) for a, b in zip(weights(averaged), weights(uninterrupted[0]), strict=True))


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path):
    (tmp_path / "c.safetensors").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"c\.safetensors is not a complete"):
        run(tmp_path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_training_at_its_step(tmp_path, value):
    with pytest.raises(TrainingDiverged, match="diverged at step 3"):
        run(tmp_path, Spy(3, value))


def test_divergence_leaves_the_last_good_checkpoint(uninterrupted, tmp_path):
    with pytest.raises(TrainingDiverged):
        run(tmp_path, Spy(6, math.nan))
    assert_same(run(tmp_path, init=1), uninterrupted)


@pytest.mark.parametrize("ema_decay", [0.0, 0.15, 0.995])
def test_averaged_weights_by_hand(tmp_path, ema_decay):
    spy = Spy()
    denoiser = small_denoiser()
    options = dict(steps=3, batch_size=4, learning_rate=1e-2, warmup=0, decay="constant", betas=(0.9, 0.99))
    options |= dict(weight_decay=0.0, clip_norm=1.0, seed=0, checkpoint=tmp_path / "c", checkpoint_every=100)
    averaged, _ = train(denoiser, spy, IMAGES, ema_decay=ema_decay, log_every=1, fingerprint={"of": "f"}, **options)
    path = [*spy.weights, weights(denoiser)]  # before steps 0, 1, 2 and after the last
    expected = path[0]
    for k in range(3):
        d = min(ema_decay, (1 + k) / (10 + k))
        expected = [d * e + (1 - d) * w for e, w in zip(expected, path[k + 1], strict=True)]
    for found, value in zip(weights(averaged), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-7)
    assert not averaged.training
    assert not any(p.requires_grad for p in averaged.parameters())


def rates(folder, **other):
    return run(folder, steps=12, log_every=1, **other)[1]["learning_rate"].tolist()


def test_cosine_learning_rate_rises_then_falls_to_nearly_nothing(tmp_path):
    found = rates(tmp_path, warmup=4)
    expected = [3e-3 * min(1, (k + 1) / 4) * (1 + math.cos(math.pi * k / 12)) / 2 for k in range(12)]
    assert found == pytest.approx(expected, rel=1e-12)
    top = found.index(max(found))
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert found[-1] < 0.02 * 3e-3


def test_constant_learning_rate_stays_after_its_warm_up(tmp_path):
    assert rates(tmp_path, decay="constant", warmup=3) == pytest.approx([1e-3, 2e-3] + [3e-3] * 10)


def test_learning_rate_without_warm_up_starts_at_its_maximum(tmp_path):
    assert rates(tmp_path, warmup=0)[0] == pytest.approx(3e-3)


def test_log_rows_are_means_over_their_interval(tmp_path):
    fine, coarse = (run(tmp_path / str(n), log_every=n)[1] for n in (1, 3))
    assert tuple(coarse) == LOG_COLUMNS
    assert coarse["step"].tolist() == [3, 6, 7]  # the last row closes what is left
    assert fine["step"].tolist() == list(range(1, 8))
    for column in ("loss_nats_per_dim", "gradient_norm"):
        means = [fine[column][0:3].mean(), fine[column][3:6].mean(), fine[column][6]]
        assert coarse[column].tolist() == pytest.approx(means, rel=1e-12)


# ---- ways to run it --------------------------------------------------------------------------------------------------


def distance(first, second):
    """Distance of averaged weights, relative to their size."""
    first, second = (torch.cat([w.flatten() for w in weights(each[0])]) for each in (first, second))
    return ((first - second).norm() / second.norm()).item()


def test_grey_levels_scaled_by_the_batch_end_in_the_bits_of_scaled_images(tmp_path):
    levels = quantise(IMAGES, 17)
    at_once = run(tmp_path / "at once", images=scale(levels, 17))
    assert_same(run(tmp_path / "by the batch", images=levels, scale=lambda v: scale(v, 17)), at_once)


@pytest.mark.parametrize("objective", [OBJECTIVE, EDMLoss(OBJECTIVE.design, 0.5)], ids=["elbo", "perceptual"])
@pytest.mark.parametrize("accumulate", [3, 4])
def test_passes_over_parts_of_a_batch_are_the_same_training(tmp_path, objective, accumulate):
    whole = run(tmp_path / "whole", objective, dropout=0.0)
    assert 0 < distance(run(tmp_path / "parts", objective, dropout=0.0, accumulate=accumulate), whole) < 1e-5


def test_more_passes_than_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"found 4; .* accumulate = 5 need 5"):
        run(tmp_path, accumulate=5)


class Dtypes:
    """An objective that keeps the types that it meets."""

    draw = staticmethod(OBJECTIVE.draw)

    def __init__(self):
        self.products, self.outside = set(), set()

    def loss(self, denoiser, x0, *draws):
        def note(module, inputs, output):
            self.products.add(output.dtype)

        found = OBJECTIVE.loss(denoiser, x0, *draws)
        [convolution] = [m for name, m in denoiser.network.named_modules() if name.endswith("conv_in")]
        with convolution.register_forward_hook(note):
            denoiser(x0, 0.5)
        self.outside |= {found.dtype, (x0 @ x0).dtype}
        return found


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_is_of_the_networks_products_alone(tmp_path, precision):
    objective = Dtypes()
    averaged, _ = run(tmp_path, objective, precision=precision, steps=1)
    assert objective.products == {getattr(torch, precision)}
    assert objective.outside == {torch.float32}
    assert {p.dtype for p in averaged.parameters()} == {torch.float32}


def test_bfloat16_is_nearly_the_same_training(tmp_path):
    whole = run(tmp_path / "whole", dropout=0.0)
    assert 1e-5 < distance(run(tmp_path / "half", dropout=0.0, precision="bfloat16"), whole) < 0.05


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(ValueError, match="precision: found 'float16'; allowed: float32, bfloat16"):
        run(tmp_path, precision="float16")


def test_the_memory_format_changes_the_order_of_sums_alone_and_resumes_to_the_bit(tmp_path):
    options = dict(channels_last=True, dropout=0.0)
    whole = run(tmp_path / "whole", **options)
    assert 0 < distance(whole, run(tmp_path / "other", dropout=0.0)) < 1e-5
    with pytest.raises(Interrupted):
        run(tmp_path, Spy(6), **options)
    assert_same(run(tmp_path, init=1, **options), whole)


def test_compilation_is_left_off_on_a_cpu_and_the_log_says_so(uninterrupted, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert_same(run(tmp_path, compile=True), uninterrupted)
    assert "compile is left off: the device is cpu" in caplog.text


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (None, None),
        ("triton", "triton is not installed"),
        ("gcc", "no C compiler was found"),
        ("CC", "no C compiler was found"),
        ("Python.h", r"Python's headers (Python.h) are not installed"),
    ],
)
def test_what_compilation_needs_on_a_gpu(missing, reason, tmp_path, monkeypatch):
    compilers = {"gcc": "/usr/bin/gcc"} if missing != "gcc" else {}
    monkeypatch.setattr(training.shutil, "which", compilers.get)
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: missing != "triton" or None)
    monkeypatch.setattr(training.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.delenv("CC", raising=False)
    if missing == "CC":  # triton takes what is named there, and nothing else
        monkeypatch.setenv("CC", "none-of-these")
    if missing != "Python.h":
        (tmp_path / "Python.h").touch()
    assert training._no_compiler(torch.device("cuda")) == reason


@pytest.mark.parametrize("step", [1, 3, 6])
def test_a_training_asked_to_stop_saves_at_that_step_and_goes_on_to_the_same_bits(uninterrupted, tmp_path, step):
    spy, rest = Spy(), Spy()
    with pytest.raises(TrainingStopped, match=f"stopped at step {step} of 7"):
        run(tmp_path, spy, stop=lambda: len(spy.weights) == step)
    assert_same(run(tmp_path, rest, init=1), uninterrupted)
    assert len(spy.weights) + len(rest.weights) == 7


def test_a_training_asked_to_stop_in_its_last_step_has_ended(uninterrupted, tmp_path):
    spy = Spy()
    assert_same(run(tmp_path, spy, stop=lambda: len(spy.weights) == 7), uninterrupted)


def test_the_log_tells_the_speed(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        run(tmp_path, flops=1e6)
    assert "FLOP/s" in caplog.text.splitlines()[-1]


@pytest.mark.parametrize(("steps", "speed"), [(5, 2), (7, 4)], ids=["short", "long"])
def test_the_speed_leaves_out_the_first_steps_where_there_are_others(tmp_path, caplog, monkeypatch, steps, speed):
    """Two seconds a step at first, one later, batches of four images."""
    done = []

    def stop():
        done.append(None)
        return False

    monkeypatch.setattr(training, "_FIRST", 5)
    monkeypatch.setattr(training.time, "perf_counter", lambda: len(done) + min(len(done), 5))
    with caplog.at_level(logging.INFO):
        run(tmp_path, steps=steps, stop=stop)
    assert f"{steps} steps, {speed} images/s" in caplog.text
