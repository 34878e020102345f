"""Files: whole or not at all, equal bytes for equal content, nothing executed on reading."""

import json
import pickle

import pytest
import torch

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
        assert temporary.parent == path.parent  # a rename across file systems would not be atomic
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


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_a_truncated_file_is_refused_by_name(tmp_path, keep):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, TENSORS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"weights\.safetensors is not a complete safetensors file"):
        read_tensors(path)


def test_a_pickle_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps({"weights": [1.0] * 100}))
    with pytest.raises(ValueError, match=r"weights\.pt is not a complete safetensors file"):
        read_tensors(path)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "none.safetensors")
