"""Files: whole or not at all, equal bytes for equal content, nothing executed on reading."""

import errno
import json
import pickle
import random
import signal
import subprocess
import sys

import pytest
import torch
from disks import fill, make_read_only, small_disk
from safetensors.torch import save_file

from nonnormal.files import atomic, read_tensors, write_json, write_tensors, write_text

TENSORS = {
    "b": torch.arange(6, dtype=torch.int64).reshape(2, 3),
    "a": torch.tensor([0.1, -1.0], dtype=torch.float64),
    "c": torch.tensor([3, 255], dtype=torch.uint8),
    "empty": torch.zeros(0, 4),
}


class Interrupted(Exception):
    pass


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(Interrupted), atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise Interrupted
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_on_the_first_write_leaves_no_file(tmp_path):
    with pytest.raises(Interrupted), atomic(tmp_path / "file.txt"):
        raise Interrupted
    assert list(tmp_path.iterdir()) == []


def test_the_target_changes_only_at_the_end(tmp_path):
    path = tmp_path / "new" / "folder" / "file.tar"
    with atomic(path) as temporary:
        temporary.write_text("content")
        assert not path.exists()
        assert temporary.suffix == ".tar"  # writers choose formats by it
        assert temporary.parent.parent == path.parent  # a rename across file systems would not be atomic
    assert path.read_text() == "content"
    assert list(path.parent.iterdir()) == [path]


def test_who_reads_the_old_file_goes_on_reading_it(tmp_path):
    """The new bytes are renamed into place, never written over the old ones."""
    path = tmp_path / "file.txt"
    path.write_text("old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_files_have_the_permissions_of_any_other_file(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_text_and_json_round_trip(tmp_path):
    write_text(tmp_path / "a.txt", "σ² → ∞\n")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "σ² → ∞\n"
    write_json(tmp_path / "a.json", {"σ": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"σ": [1, 2.5, None]}


def test_tensors_round_trip_with_their_types_and_header(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {"step": 3, "recipe": {"widths": [8, 16]}, "é": None})
    tensors, header = read_tensors(path)
    assert header == {"step": 3, "recipe": {"widths": [8, 16]}, "é": None}
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_equal_content_gives_equal_bytes_in_any_order(tmp_path):
    write_tensors(tmp_path / "a", TENSORS, {"x": 1, "y": 2})
    write_tensors(tmp_path / "b", dict(reversed(TENSORS.items())), {"y": 2, "x": 1})
    write_tensors(tmp_path / "c", TENSORS, {"x": 1, "y": 3})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_views_and_parameters_are_stored_as_they_look(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    write_tensors(tmp_path / "a", {"turned": whole.T, "learnt": torch.nn.Parameter(torch.ones(2))})
    tensors, header = read_tensors(tmp_path / "a")
    assert torch.equal(tensors["turned"], whole.T)
    assert torch.equal(tensors["learnt"], torch.ones(2))
    assert header == {}


@pytest.mark.fault("a tensor file is cut off")
@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_a_truncated_file_is_refused_by_name(tmp_path, keep):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, TENSORS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"weights\.safetensors is not a complete safetensors file"):
        read_tensors(path)


@pytest.mark.fault("a pickle in place of a tensor file")
def test_a_pickle_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps({"weights": [1.0] * 100}))
    with pytest.raises(ValueError, match=r"weights\.pt is not a complete safetensors file"):
        read_tensors(path)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "none.safetensors")


# ---- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.fault("a bit of a tensor file flips")
def test_no_flipped_bit_is_overlooked(tmp_path, happened):
    """Every byte in turn, of header and content alike."""
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"a": torch.arange(16.0)}, {"step": 3})
    whole, draw = path.read_bytes(), random.Random(0)
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << draw.randrange(8)]) + whole[i + 1 :])
        with pytest.raises(ValueError, match=r"weights\.safetensors (is damaged|is not a complete|has no SHA-256)"):
            read_tensors(path)
    happened(f"each of {len(whole)} bytes of a file, one flipped bit at a time: refused, with the file's name")


def test_what_is_damaged_is_said_with_both_hashes_and_what_to_do(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS)
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(ValueError, match=r"damaged: expected SHA-256 [0-9a-f]{64} .*, found [0-9a-f]{64}.*; delete it"):
        read_tensors(path)


def test_a_file_without_a_seal_is_refused(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"a\.safetensors has no SHA-256 of itself"):
        read_tensors(tmp_path / "a.safetensors")


# ---- disks -----------------------------------------------------------------------------------------------------------


def big(path):
    write_tensors(path, {"a": torch.rand(200_000)})


def big_text(path):
    write_text(path, "0.1,0.2\n" * 100_000)


@pytest.mark.fault("the disk fills up while a tensor file, a table is written")
@pytest.mark.parametrize("write", [big, big_text])
def test_a_full_disk_leaves_the_old_file_and_says_which(write, tmp_path, happened):
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "file.bin"
        path.write_text("old")
        fill(disk, leave=100_000)
        with pytest.raises(OSError, match="No space left on device") as error:
            write(path)
        assert error.value.errno == errno.ENOSPC
        assert error.value.filename == str(path)
        assert path.read_text() == "old"
        assert sorted(file.name for file in disk.iterdir()) == ["file.bin", "filler"]
        (disk / "filler").unlink()
        write(path)
        assert path.stat().st_size > 100_000
    happened("the old file stays, nothing half-written is left, the error names the file; with room it is written")


@pytest.mark.fault("a folder that may not be written")
def test_a_read_only_folder_is_named(tmp_path, happened):
    with small_disk(tmp_path / "disk") as disk:
        (disk / "there").mkdir()
        make_read_only(disk)
        for path in (disk / "file.txt", disk / "there" / "file.txt", disk / "new" / "file.txt"):
            with pytest.raises(OSError, match="Read-only file system") as error:
                write_text(path, "x")
            assert error.value.filename == str(path)
    happened("refused, with the file's name")


# ---- writers that are killed -----------------------------------------------------------------------------------------

WRITER = """
import sys, time
from nonnormal.files import atomic
with atomic(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(flush=True)
    time.sleep(600)
"""


@pytest.mark.fault("SIGKILL within a write")
def test_what_a_killed_writer_leaves_behind_is_removed_by_the_next(tmp_path, happened):
    path = tmp_path / "file.txt"
    killed, alive = (
        subprocess.Popen((sys.executable, "-c", WRITER, str(path)), stdout=subprocess.PIPE) for _ in range(2)
    )
    try:
        for process in (killed, alive):
            process.stdout.readline()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        (tmp_path / ".file.txt.notours").mkdir()
        assert len(list(tmp_path.iterdir())) == 3
        write_text(path, "whole")
        assert path.read_text() == "whole"
        assert len(list(tmp_path.iterdir())) == 3, "the temporary file of the writer that lives, and what is not ours"
    finally:
        for process in (killed, alive):
            process.kill()
            process.wait()
            process.stdout.close()
    happened("the target is untouched; the next writer removes what was left, and nothing of a writer that lives")
