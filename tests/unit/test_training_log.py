"""The log of a training while it runs: a file that grows, also over an interruption, and TensorBoard's event files."""

import importlib.util
import sys
import types

import pandas as pd
import pytest
import yaml
from disks import fill, small_disk
from test_study import BASE, changed, mistake
from test_training import Interrupted, Spy, run, same_log

from nonnormal.study.config import validate
from nonnormal.study.results.paths import Layout
from nonnormal.training.log import EventFiles, GrowingCSV, watchers


def rows_of(path):
    _, *lines = path.read_text().splitlines()
    return [tuple(map(float, line.split(","))) for line in lines]


def steps_of(path):
    return [row[0] for row in rows_of(path)]


class Peeking(GrowingCSV):
    """The file with what stood in it after each call."""

    def __init__(self, path):
        super().__init__(path)
        self.seen = []

    def __call__(self, rows, images_per_s):
        super().__call__(rows, images_per_s)
        self.seen.append(steps_of(self.path))


def test_a_row_is_there_as_soon_as_it_is_measured(tmp_path):
    peeking = Peeking(tmp_path / "training.csv")
    _, log = run(tmp_path, watch=peeking)
    assert peeking.seen == [[], [3], [3, 6], [3, 6, 7]]
    assert (tmp_path / "training.csv").read_text() == pd.DataFrame(log).to_csv(index=False)


@pytest.mark.parametrize("fail_at", [1, 4, 6, 7])
def test_an_interrupted_training_leaves_no_row_twice(tmp_path, fail_at):
    """Rows after the last checkpoint, at step 2, 4 or 6, are measured again."""
    path = tmp_path / "training.csv"
    whole = run(tmp_path / "whole", watch=GrowingCSV(tmp_path / "whole.csv"))[1]
    with pytest.raises(Interrupted):
        run(tmp_path, Spy(fail_at), watch=GrowingCSV(path))
    assert steps_of(path) == [step for step in (3, 6) if step < fail_at]
    with path.open("a") as file:
        file.write("7,0.12")  # as a kill or a full disk cuts off a line
    again = Peeking(path)
    log = run(tmp_path, init=int(fail_at > 2), watch=again)[1]
    assert again.seen[0] == [step for step in (3, 6) if step <= 2 * ((fail_at - 1) // 2)]
    assert same_log(log, whole)
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_file_that_a_link_shares_is_replaced_and_not_appended_to(tmp_path):
    (tmp_path / "cache").write_text("kept")
    (tmp_path / "training.csv").hardlink_to(tmp_path / "cache")
    GrowingCSV(tmp_path / "training.csv")([(1, 0.5, 1.0, 1e-3)], 0.0)
    assert (tmp_path / "cache").read_text() == "kept"
    assert rows_of(tmp_path / "training.csv") == [(1, 0.5, 1.0, 1e-3)]


def test_a_full_disk_is_named_and_with_room_the_file_is_whole(tmp_path):
    rows = [(step, 0.1 * step, 1.0, 1e-3) for step in range(1, 400)]
    with small_disk(tmp_path / "disk", "256K") as disk:
        path = disk / "training.csv"
        growing = GrowingCSV(path)
        growing(rows[:1], 0.0)
        filler = fill(disk)
        with pytest.raises(OSError, match="No space left") as error:
            growing(rows, 0.0)
        assert error.value.filename == str(path)
        with pytest.raises(OSError, match="No space left") as error:
            GrowingCSV(disk / "other.csv")(rows, 0.0)
        assert error.value.filename == str(disk / "other.csv") and not (disk / "other.csv").exists()
        filler.unlink()
        GrowingCSV(path)(rows, 0.0)
        assert rows_of(path) == rows


# ---- TensorBoard -----------------------------------------------------------------------------------------------------


class Writer:
    """Stands in for torch's SummaryWriter, which needs the package tensorboard."""

    made = []

    def __init__(self, folder, purge_step=None):
        self.folder, self.purge_step, self.scalars = folder, purge_step, []
        self.made.append(self)

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def flush(self):
        pass


@pytest.fixture
def writers(monkeypatch):
    """Writers that were made, where the package tensorboard is there."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found("json" if name == "tensorboard" else name))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    monkeypatch.setattr(Writer, "made", [])
    return Writer.made


def test_event_files_have_each_row_once_and_hide_what_is_done_again(tmp_path, writers):
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "events.out.tfevents.1").touch()  # of another training
    (tmp_path / "events" / "mine.txt").touch()
    with pytest.raises(Interrupted):
        run(tmp_path, Spy(6), watch=watchers(tmp_path / "a.csv", tmp_path / "events"))
    assert [path.name for path in (tmp_path / "events").iterdir()] == ["mine.txt"]
    run(tmp_path, init=1, watch=watchers(tmp_path / "a.csv", tmp_path / "events"))
    first, second = writers
    names = ["loss_nats_per_dim", "gradient_norm", "learning_rate", "images_per_s"]
    assert [(name, step) for name, _, step in first.scalars] == [(name, 3) for name in names]
    assert [(name, step) for name, _, step in second.scalars] == [(name, step) for step in (6, 7) for name in names]
    assert (first.purge_step, second.purge_step) == (None, 4)
    losses = [value for writer in writers for name, value, _ in writer.scalars if name == names[0]]
    assert losses == [row[1] for row in rows_of(tmp_path / "a.csv")]


def test_tensorboards_own_reader_finds_the_rows(tmp_path):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(tmp_path, watch=watchers(tmp_path / "a.csv", tmp_path / "events"))
    found = reading.EventAccumulator(str(tmp_path / "events")).Reload()
    losses = [(event.step, pytest.approx(event.value, rel=1e-6)) for event in found.Scalars("loss_nats_per_dim")]
    assert losses == [row[:2] for row in rows_of(tmp_path / "a.csv")]


def test_a_study_is_told_what_to_install(monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else found(name))
    words = "resources.tensorboard: found true; needs the package tensorboard, which is not installed: pip install"
    assert words in mistake(changed("resources.tensorboard", True))
    with pytest.raises(ValueError, match="pip install tensorboard"):
        EventFiles(tmp_path)
    assert "tensorboard: true" not in yaml.safe_dump(validate(BASE, "x").resolved)


def test_weights_do_not_depend_on_event_files(writers):
    with_files, without = (validate(changed("resources.tensorboard", wanted), "x") for wanted in (True, False))
    assert [with_files.training_facts(run) == without.training_facts(run) for run in with_files.runs] == [True, True]
    assert Layout("a-study", "digits").events("plain").as_posix() == "results/a-study/plain/tensorboard"
