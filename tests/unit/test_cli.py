"""The command line: threads, devices, the end."""

import errno
import importlib.metadata
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy  # whose linear algebra is one of the pools
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from typer.main import get_command

from nonnormal.study import cli
from nonnormal.study.cli.common import prepare_torch
from nonnormal.study.registry import all_experiments, command_for
from nonnormal.study.results.paths import Layout

ROOT = Path(__file__).parents[2]
app = cli.app  # which `ended` replaces


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
    ways = {
        "results/x/a/weights.safetensors": "nonnormal train STUDY --run a, or ",
        "data/digits.safetensors": "nonnormal data digits, or ",
        "data/folder-0123abcd.safetensors": "",  # made from a source that the study names
        "results/x/study.json": "",
    }
    for path, way in ways.items():
        made = f"make it first: {way}snakemake --cores all --configfile STUDY -- {path}"
        said = f"error: {path}: there is no such file; {made}\n"
        assert ended(monkeypatch, capsys, Path(path).open) == (2, said)
    assert ended(monkeypatch, capsys, Path("study.yaml").open) == (2, "error: study.yaml: there is no such file\n")


@pytest.mark.parametrize("headline", [False, True])
def test_every_result_has_the_command_that_makes_it(headline):
    at = Layout("x", "digits", headline)
    made = {
        "data digits": [at.data],
        "features STUDY": [at.features],
        "train STUDY --run a-1": [at.weights("a-1"), at.log("a-1")],
        "sample STUDY --run a-1 --nfe 10": [at.samples("a-1", 10)],
        "summary STUDY": [at.summary, at.provenance, at.metrics],
        "pretrained STUDY": [at.pretrained_network],
        "paper STUDY": [at.paper],
        "page STUDY": [at.page],
    }
    for experiment in all_experiments():
        for job in experiment.jobs:
            run = "a" if job.each else None
            made[f"evaluate {job.name} STUDY" + " --run a" * job.each] = job.outputs(at, run)
        shown = at.figures([figure.name for figure in experiment.figures])
        shown += at.tables([table.name for table in experiment.tables])
        made |= {f"show {experiment.name} STUDY": shown} if shown else {}
    for command, paths in made.items():
        assert {command_for(path) for path in paths} == {f"nonnormal {command}"}
        assert command.split()[0] in get_command(cli.app).commands
    assert command_for(at.study) is command_for("config/x.yaml") is command_for("paper/paper.typ") is None


def test_the_version_is_the_packages(capsys):
    cli.app(["--version"], standalone_mode=False)
    assert capsys.readouterr().out == f"{importlib.metadata.version('nonnormal')}\n"


def test_a_study_is_checked_and_told(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    cli.app(["check", "config/smoke.yaml"], standalone_mode=False)
    said = capsys.readouterr().out
    assert said.startswith("smoke: digits 1 × 8 × 8, results in results/smoke\n")
    assert "  normal-normal: normal/normal, pixel, vp, " in said


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{path: few, size: 8}", "source.path: .*few .*: found 1 training and 0 test images; needs at least 4 and 2"),
        ("{path: nowhere, size: 8}", "source.path: .*nowhere: cannot be read as a folder"),
        (
            "{path: ~nobody-here/x, size: 8}",
            'source.path: found "~nobody-here/x"; the home folder ~nobody-here is unknown',
        ),
    ],
)
def test_a_check_refuses_a_folder_without_the_images_that_a_study_needs(tmp_path, monkeypatch, capsys, source, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "1.png").touch()
    study = f"name: own\ndata: folder\nsource: {source}\nfeatures: {{kind: inception}}\nruns: {{normal: {{}}}}\n"
    (tmp_path / "study.yaml").write_text(study)
    code, said = ended(monkeypatch, capsys, lambda: app(["check", "study.yaml"], standalone_mode=False))
    assert code == 2
    assert re.match(f"error: study.yaml: {words}", said)
    assert said.count("\n") == 1


@pytest.mark.parametrize("key", ["source: {mirrors: [~nobody-here]}", "pretrained: {path: ~nobody-here/network}"])
def test_a_path_of_an_unknown_user_is_refused_with_its_key(tmp_path, monkeypatch, capsys, key):
    study = tmp_path / "study.yaml"
    study.write_text(f"name: own\ndata: cifar10\nfeatures: {{kind: inception}}\nruns: {{normal: {{}}}}\n{key}\n")
    told = ended(monkeypatch, capsys, lambda: app(["check", str(study)], standalone_mode=False))
    assert told[0] == 2
    assert f"{key.partition(':')[0]}.{key.partition('{')[2].partition(':')[0]}: found " in told[1]
    assert "the home folder ~nobody-here is unknown here; write the whole path" in told[1]


def test_check_refuses_a_pretrained_network_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text("name: own\ndata: digits\npretrained: {path: network}\n")
    code, said = ended(monkeypatch, capsys, lambda: app(["check", "s.yaml"], standalone_mode=False))
    assert (code, said) == (2, "error: s.yaml: pretrained.path: there is no folder network\n")
    Path("network").mkdir()
    app(["check", "s.yaml"], standalone_mode=False)


def test_data_names_the_keys_for_a_study_in_the_place_of_a_data_set(tmp_path, monkeypatch, capsys):
    code, said = ended(monkeypatch, capsys, lambda: app(["data", "s.yaml"], standalone_mode=False))
    assert code == 2
    assert "s.yaml: a study file, but this command takes the name of a data set and its --source" in said


def test_a_mistake_in_a_study_is_found_before_heavy_imports(tmp_path):
    """Each takes a third of a second or more, of the three in which `check` answers."""
    (tmp_path / "x.yaml").write_text("name: a\ndata: digits\nruns: {1: null}\n")
    code = "import sys\nfrom nonnormal.study import cli\ntry: cli.main()\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "check", tmp_path / "x.yaml"], capture_output=True, text=True)
    assert (done.returncode, "runs.1: found 1; a name begins with a letter" in done.stderr) == (2, True)
    heavy = {"diffusers", "matplotlib", "pandas", "scipy.interpolate", "scipy.stats", "sklearn", "typst"}
    assert not heavy & set(done.stdout.split())


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
