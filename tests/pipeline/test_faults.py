"""Faults that are really tried on each stage of a tiny study.

Whatever happens, the results are the same in the end, or a command refuses and says which file to delete.
"""

import pickle
import random
import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from disks import fill, make_read_only, small_disk
from PIL import Image
from tiny import DESIGN, LAYOUT, RUNS, STAGES, STATES, Project, new_project

from nonnormal.study.registry import command_for
from nonnormal.study.results.paths import records_folder

pytestmark = pytest.mark.slow

# ---- full and read-only disks ----------------------------------------------------------------------------------------


def interrupted(project: Project, run: str) -> Path:
    """The checkpoint of a training that was told to stop."""
    checkpoint = project.folder / LAYOUT.checkpoint(run)
    for _ in range(20):
        project.remove(f"train {run}")
        process = project.start(STAGES[f"train {run}"][0])
        while process.is_alive() and not checkpoint.exists():
            time.sleep(0.0005)
        process.terminate()
        process.join(600)
        if process.exitcode == 75:
            return checkpoint
    raise AssertionError("the training could not be interrupted")


FILLED = [f"train {RUNS[0]}", f"sample {RUNS[0]}", f"bounds {RUNS[0]}", f"representations {DESIGN}", "outpainting"]
FILLED += [f"phase_space {STATES}", "show pairs", "paper"]


@pytest.mark.fault("the disk fills up while a checkpoint, a sample file, a table, a figure, the paper is written")
@pytest.mark.parametrize("stage", FILLED)
def test_a_full_disk_ends_in_one_line_and_with_room_in_the_same_bits(stage, made, tmp_path, happened):
    project = Project(tmp_path / "project", made.context)
    shutil.copytree(made.folder, project.folder, ignore=shutil.ignore_patterns("results"))
    with small_disk(project.folder / "results", "64M") as disk:
        shutil.copytree(made.folder / "results", disk, dirs_exist_ok=True)
        checkpoint = interrupted(project, RUNS[0]) if stage.startswith("train") else None
        before = checkpoint and checkpoint.read_bytes()
        project.remove(stage)
        shutil.rmtree(disk / "tiny/records")
        filler = fill(disk)
        said = project.run(stage, code=74)
        [line] = [line for line in said.splitlines() if line.startswith("error: ")]
        assert "No space left on device; make room and run the same command again" in line
        assert "results/tiny" in line
        assert project.contents(STAGES[stage][1]) == {}
        assert checkpoint is None or checkpoint.read_bytes() == before
        assert project.temporary_files() == []
        filler.unlink()
        project.run(stage)
        assert project.contents() == made.reference
    happened(f"{stage.split()[0]}: code 74, “{line}”, what was there before is whole; with room identical results")


@pytest.mark.fault("a results folder that may not be written")
def test_a_read_only_results_folder_is_refused(made, tmp_path, happened):
    project = Project(tmp_path / "project", made.context)
    shutil.copytree(made.folder, project.folder, ignore=shutil.ignore_patterns("results"))
    with small_disk(project.folder / "results", "64M") as disk:
        shutil.copytree(made.folder / "results", disk, dirs_exist_ok=True)
        make_read_only(disk)
        for stage in (f"train {RUNS[0]}", f"sample {RUNS[0]}", f"bounds {RUNS[0]}", "summary", "show pairs"):
            said = project.run(stage, code=74)
            [line] = [line for line in said.splitlines() if line.startswith("error: ")]
            assert "Read-only file system" in line
        assert project.contents() == made.reference
    happened(f"five stages: code 74, “{line}”")


# ---- damage ----------------------------------------------------------------------------------------------------------

RUN = RUNS[0]
READERS = {  # file: (stage that makes it, stage that reads it)
    LAYOUT.data: ("data", "features"),
    LAYOUT.features: ("features", "fidelity"),
    LAYOUT.weights(RUN): (f"train {RUN}", f"sample {RUN}"),
    LAYOUT.log(RUN): (f"train {RUN}", "show pairs"),
    LAYOUT.samples(RUN, 2): (f"sample {RUN}", "fidelity"),
    LAYOUT.rows("bounds", RUN): (f"bounds {RUN}", "summary"),
    LAYOUT.arrays("geometry"): ("geometry", "show geometry"),
    LAYOUT.weights(STATES): (f"train {STATES}", f"phase_space {STATES}"),
    LAYOUT.rows("representations", DESIGN): (f"representations {DESIGN}", "summary"),
    LAYOUT.rows("phase_space-law"): ("phase_space-law", "summary"),
    LAYOUT.arrays("outpainting"): ("outpainting", "show representations"),
    LAYOUT.summary: ("summary", "show pairs"),
    LAYOUT.table("pairs", "typ"): ("show pairs", "paper"),
    LAYOUT.figure("losses", "png"): ("show pairs", "paper"),
    LAYOUT.provenance: ("summary", "paper"),
}


def damaged(content: bytes, kind: str, seed: int) -> bytes:
    """The content cut off, or with one bit flipped, at a random place."""
    place = random.Random(seed).randrange(len(content))
    flipped = content[:place] + bytes([content[place] ^ 1 << seed % 8]) + content[place + 1 :]
    return content[:place] if kind == "cut off" else flipped


@pytest.mark.fault("a data set, weights, sample file, table, figure that was cut off, or has one bit flipped")
@pytest.mark.parametrize("kind", ["cut off", "bit flipped"])
@pytest.mark.parametrize("path", READERS, ids=str)
def test_a_damaged_file_is_refused_by_name_and_made_again(path, kind, project, happened):
    maker, reader = READERS[path]
    file = project.folder / path
    seed = len(str(path))
    file.write_bytes(damaged(file.read_bytes(), kind, seed))
    said = project.run(reader, code=2)
    assert f"error: {path} is damaged" in said
    assert "delete it to have it made again" in said
    tensors, text = path.suffix == ".safetensors", path.suffix in (".csv", ".json")
    if tensors or (text and kind == "cut off"):  # without its records, too
        shutil.rmtree(project.folder / records_folder(path))
        assert f"error: {path} is " in project.run(reader, code=2)
    assert project.contents(STAGES[reader][1]).items() <= project.reference.items()
    file.unlink()
    project.run(maker)
    project.run(reader)
    assert project.contents() == project.reference
    happened(f"{path.name}, {kind}: refused by “{reader}”, which names it; deleted and made again: identical")


class Payload:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.fault("a training checkpoint that was cut off, has one bit flipped, or is a pickle")
@pytest.mark.parametrize("kind", ["cut off", "bit flipped", "pickle", "pickle of torch.save"])
def test_a_damaged_checkpoint_is_refused(kind, project, tmp_path, happened):
    checkpoint, marker = interrupted(project, RUN), tmp_path / "executed"
    if kind == "pickle":
        checkpoint.write_bytes(pickle.dumps({"network": Payload(marker)}))
    elif kind == "pickle of torch.save":
        torch.save({"network": Payload(marker)}, checkpoint)
    else:
        checkpoint.write_bytes(damaged(checkpoint.read_bytes(), kind, 5))
    said = project.run(f"train {RUN}", code=2)
    assert f"error: {LAYOUT.checkpoint(RUN)} is " in said
    assert "delete it" in said
    assert not marker.exists()
    assert not (project.folder / LAYOUT.weights(RUN)).exists()
    checkpoint.unlink()
    project.run(f"train {RUN}")
    assert project.contents() == project.reference
    happened(f"{kind}: refused with its name, nothing in it run; deleted and trained again: identical")


@pytest.mark.fault("a command by hand before those that make its inputs")
def test_every_command_names_the_file_that_it_lacks_and_what_makes_it(made, tmp_path, happened):
    project, tried = Project(new_project(tmp_path), made.context), 0
    for stage in STAGES:
        if stage in ("data", "convergence", "phase_space-law"):
            continue  # they need nothing
        said = project.run(stage, code=2)
        if stage == "page":
            assert "error: results page: results/tiny/summary.csv and" in said
        else:
            [path] = re.findall(r"^error: (\S+): there is no such file", said, re.MULTILINE)
            ways = f"{command_for(path)}, or snakemake --cores all --configfile STUDY -- {path}"
            assert f"make it first: {ways}\n" in said
        tried += 1
    happened(f"{tried} commands: each names the file and the command that makes it")


@pytest.mark.fault("a study that takes images from outside of the project")
def test_what_lies_outside_is_read_and_never_written(made, tmp_path, happened):
    outside = tmp_path / "outside"
    outside.mkdir()
    for i in range(60):
        Image.new("RGB", (8, 8), (4 * i, i, 0)).save(outside / f"{i}.png")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in outside.iterdir()}
    project = Project(tmp_path / "project", made.context)
    project.folder.mkdir()
    project.run(["data", "folder", "--source", f"{{path: {outside}, size: 8}}"])
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in outside.iterdir()} == before
    assert sorted(path.name for path in project.folder.iterdir()) == ["command.log", "data"]
    happened("read where it lies; nothing written but below data/")


# ---- two at once -----------------------------------------------------------------------------------------------------


@pytest.mark.fault("the same training started twice at once")
def test_two_trainings_of_one_run_end_in_the_same_bits(project, happened):
    project.remove(f"train {RUN}")
    both = [project.start(STAGES[f"train {RUN}"][0]) for _ in range(2)]
    for process in both:
        process.join(600)
    assert [process.exitcode for process in both] == [0, 0]
    assert project.contents() == project.reference
    assert project.temporary_files() == []
    happened("both end well, with identical results")
