"""The command line: threads, devices, the end."""

import errno
import importlib.metadata
import signal
from pathlib import Path

import numpy  # whose linear algebra is one of the pools
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from nonnormal.study import cli
from nonnormal.study.cli.common import prepare_torch

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("threads", [1, 2])
def test_all_pools_have_as_many_threads_as_are_asked_for(threads):
    """Sums of another number of threads differ in the last digits, and with them a distance."""
    before = torch.get_num_threads()
    with threadpool_limits(None):
        try:
            assert prepare_torch("cpu", threads) == "cpu"
            assert torch.get_num_threads() == threads
            assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {threads}
        finally:
            torch.set_num_threads(before)


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="--device: found 'tpu'; allowed: cpu, cuda, auto"):
        prepare_torch("tpu", 0)


def test_an_exit_that_a_library_makes_an_error_of_is_no_mistake_of_the_user(monkeypatch, capsys):
    handlers = {}

    def interrupted():
        try:
            handlers[signal.SIGTERM](signal.SIGTERM, None)
        except SystemExit:
            raise ValueError("could not determine the shape of object type") from None

    monkeypatch.setattr("signal.signal", handlers.__setitem__)
    monkeypatch.setattr(cli, "app", interrupted)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err == ""


def ended(monkeypatch, capsys, app):
    """(exit code, what was said) of a command line that is `app`."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code, capsys.readouterr().err


def test_a_file_that_is_not_there_is_named_with_what_makes_it(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, said = ended(monkeypatch, capsys, Path("results/x/weights.safetensors").open)
    made = "make it first: snakemake --cores all --configfile STUDY -- results/x/weights.safetensors"
    assert (code, said) == (2, f"error: results/x/weights.safetensors: there is no such file; {made}\n")
    assert ended(monkeypatch, capsys, Path("study.yaml").open) == (2, "error: study.yaml: there is no such file\n")


def test_the_version_is_the_packages(capsys):
    cli.app(["--version"], standalone_mode=False)
    assert capsys.readouterr().out == f"{importlib.metadata.version('nonnormal')}\n"


def test_a_study_is_checked_and_told(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    cli.app(["check", "config/smoke.yaml"], standalone_mode=False)
    said = capsys.readouterr().out
    assert said.startswith("smoke: digits 1 × 8 × 8, results in results/smoke\n")
    assert "  normal-normal: normal/normal, pixel, vp, " in said


def test_a_mistake_of_the_user_ends_in_one_line(monkeypatch, capsys):
    told = ended(monkeypatch, capsys, lambda: prepare_torch("tpu", 0))
    assert told == (2, "error: --device: found 'tpu'; allowed: cpu, cuda, auto\n")


def test_an_error_of_a_library_keeps_its_traceback(monkeypatch):
    """Nobody could find it else: it is a defect, and no mistake of the user."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(cli, "app", lambda: numpy.zeros(3).reshape(2))
    with pytest.raises(ValueError, match="cannot reshape"):
        cli.main()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("image file is truncated"), "image file is truncated"),
        (OSError(errno.EACCES, "Permission denied", "data/x"), "data/x: Permission denied"),
        (OSError(errno.EACCES, "Permission denied"), "[Errno 13] Permission denied"),
        (OSError(errno.ENOSPC, "No space left", "x"), "x: No space left; make room and run the same command again"),
    ],
)
def test_an_error_of_a_file_says_what_is_known(error, said, monkeypatch, capsys):
    def failing():
        raise error

    assert ended(monkeypatch, capsys, failing) == (74, f"error: {said}\n")
