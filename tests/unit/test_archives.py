"""Archives: members come out as they went in, and what no honest archive has is refused by name."""

import io
import stat
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from mirrors import npz, tar, zipped

from nonnormal.data.archives import count_tar_members, npz_array, tar_members, zip_members

HOSTILE = "a hostile archive: paths that lead outside, links, devices, bombs"
MEMBERS = {"folder/a.bin": b"first", "folder/b.bin": bytes(5000), "c": b""}


def written(tmp_path, content):
    path = tmp_path / "archive"
    path.write_bytes(content)
    return path


def header(name, kind=tarfile.REGTYPE, **changes):
    made = tarfile.TarInfo(name)
    made.type = kind
    for key, value in changes.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_tar_members_come_in_order_without_folders(tmp_path, mode):
    path = written(tmp_path, tar(MEMBERS, mode, extra=(header("empty folder", tarfile.DIRTYPE),)))
    assert list(tar_members(path, limit=5000)) == list(MEMBERS.items())
    assert count_tar_members(path, limit=5000) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["archive"]


def test_zip_members_come_in_order_without_folders(tmp_path):
    path = written(tmp_path, zipped({"folder/": b""} | MEMBERS))
    assert list(zip_members(path, limit=5000)) == list(MEMBERS.items())
    assert list(zip_members(io.BytesIO(path.read_bytes()), limit=5000, wanted="c")) == [("c", b"")]


def test_a_tar_of_many_members_is_counted_in_little_memory(tmp_path):
    path = written(tmp_path, tar({f"{i:06}.png": b"" for i in range(3000)}))
    tracemalloc.start()
    try:
        assert count_tar_members(path, limit=0) == 3000
        assert tracemalloc.get_traced_memory()[1] < 500_000  # tarfile's own list of them takes 2 MB
    finally:
        tracemalloc.stop()


OUTSIDE = ["../up", "a/../../up", "/etc/passwd", "\\windows", "a\\..\\b", "C:\\windows", "c:up", ".."]


@pytest.mark.fault(HOSTILE)
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_member_that_leads_outside_is_refused(tmp_path, name):
    for content, members in ((tar({"a": b"", name: b""}), tar_members), (zipped({"a": b"", name: b""}), zip_members)):
        path = written(tmp_path, content)
        with pytest.raises(ValueError, match="leads outside of the archive; refused") as error:
            list(members(path, limit=10))
        assert repr(name) in str(error.value)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["a..b", "..a/b..", "./a", "a/./b"])
def test_dots_that_lead_nowhere_are_allowed(tmp_path, name):
    assert list(tar_members(written(tmp_path, tar({name: b"x"})), limit=1)) == [(name, b"x")]


@pytest.mark.fault(HOSTILE)
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.CHRTYPE, "is neither file nor folder"),
        (tarfile.BLKTYPE, "is neither file nor folder"),
        (tarfile.FIFOTYPE, "is neither file nor folder"),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind, words):
    path = written(tmp_path, tar(MEMBERS, extra=(header("odd", kind, linkname="/etc/passwd"),)))
    for read in (lambda: list(tar_members(path, limit=5000)), lambda: count_tar_members(path, limit=5000)):
        with pytest.raises(ValueError, match=f"member 'odd' {words}; refused"):
            read()


@pytest.mark.fault(HOSTILE)
@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        member = zipfile.ZipInfo("odd")
        member.external_attr = (kind | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(ValueError, match="member 'odd' is a link or a device; refused"):
        list(zip_members(tmp_path / "archive", limit=5000))


@pytest.mark.fault(HOSTILE)
def test_a_member_over_the_limit_is_refused_before_it_is_read(tmp_path):
    for content, members in ((tar(MEMBERS, "w:gz"), tar_members), (zipped(MEMBERS), zip_members)):
        found = members(written(tmp_path, content), limit=4999)
        assert next(found) == ("folder/a.bin", b"first")
        with pytest.raises(ValueError, match=r"member 'folder/b.bin' has 5,000 bytes, more than the 4,999 allowed"):
            next(found)
    # A size that is only declared: there are no such bytes.
    path = written(tmp_path, header("huge", size=1 << 40).tobuf())
    with pytest.raises(ValueError, match="member 'huge' has 1,099,511,627,776 bytes"):
        list(tar_members(path, limit=1 << 30))


@pytest.mark.fault(HOSTILE)
def test_a_zip_that_unpacks_to_more_than_it_declares_is_refused(tmp_path):
    content = bytearray(zipped({"bomb": bytes(100_000)}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):  # uncompressed size in either header
        place = content.index(signature) + offset
        content[place : place + 4] = (10).to_bytes(4, "little")
    with pytest.raises(ValueError, match="is damaged"):
        list(zip_members(written(tmp_path, bytes(content)), limit=1000))


@pytest.mark.fault("a damaged archive")
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 3], lambda _: b"no archive at all" * 99])
def test_a_damaged_tar_is_refused(tmp_path, mode, damage):
    noise = np.random.default_rng(0).bytes(9000)
    path = written(tmp_path, damage(tar({"a": noise, "b": noise}, mode)))
    with pytest.raises(ValueError, match="is no such archive, or is damaged"):
        list(tar_members(path, limit=9000))


@pytest.mark.fault("a damaged archive")
@pytest.mark.parametrize("damage", ["cut", "flipped", "none"])
def test_a_damaged_zip_is_refused(tmp_path, damage):
    content = bytearray(zipped({"a": np.random.default_rng(0).bytes(9000)}))
    content[4000] ^= 1
    path = written(tmp_path, {"cut": bytes(content[:5000]), "flipped": bytes(content), "none": b""}[damage])
    with pytest.raises(ValueError, match="is no such archive, or is damaged"):
        list(zip_members(path, limit=9000))


def test_a_missing_archive_is_called_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(tar_members(tmp_path / "nowhere", limit=1))


# ---- npz -------------------------------------------------------------------------------------------------------------


def test_npz_arrays_come_as_they_went_in():
    data, labels = np.arange(12, dtype=np.uint8).reshape(3, 4), np.array([3, 1, 2])
    content = npz(data=data, labels=labels, mean=np.zeros(4))
    for name, array in (("data", data), ("labels", labels)):
        found = npz_array(content, name, limit=1000, label="x.npz")
        assert (found.dtype, found.tolist()) == (array.dtype, array.tolist())


class Trap:
    """Pickled, it writes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.fault("an archive with a pickle inside")
def test_a_pickle_in_an_npz_is_refused_and_not_run(tmp_path):
    content = npz(data=np.array([Trap(tmp_path / "sprung")], dtype=object))
    with pytest.raises(ValueError, match=r"x\.npz: array 'data': Object arrays cannot be loaded"):
        npz_array(content, "data", limit=1000, label="x.npz")
    assert not (tmp_path / "sprung").exists()
    np.load(io.BytesIO(content), allow_pickle=True)["data"][0].close()
    assert (tmp_path / "sprung").exists(), "the trap works"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npz(other=np.zeros(3)), "has no array 'data'"),
        (npz(data=np.zeros(1000)), "member 'data.npy' has .* bytes, more than the 1,000 allowed"),
        (zipped({"data.npy": b"nothing"}), "array 'data': "),
        (zipped({"data.npy": npz(a=np.zeros(2))[:40]}), "array 'data': "),
        (b"nothing", "is no such archive"),
    ],
    ids=["missing", "large", "no array", "damaged", "no zip"],
)
def test_an_npz_without_the_array_is_refused(content, words):
    with pytest.raises(ValueError, match=rf"x\.npz: .*{words}"):
        npz_array(content, "data", limit=1000, label="x.npz")
