"""Archives: members come out as they went in, and what no honest archive has is refused by name."""

import contextlib
import gzip
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


@contextlib.contextmanager
def memory_below(limit):
    """The block allocates less than `limit` bytes at any time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
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
    with memory_below(500_000):  # tarfile's own list of them takes 2 MB
        assert count_tar_members(path, limit=0) == 3000


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


@pytest.mark.parametrize("name", ["a..b", "a../b..", "./a", "a/./b"])
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


def gzipped_zeros(path, head, n, tail=b""):
    """A gzip file of `head`, n zeros and `tail`, made without holding them."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(n >> 20):
            file.write(bytes(1 << 20))
        file.write(tail)
    return path


EXTENSIONS = [
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
]


@pytest.mark.fault(HOSTILE)
@pytest.mark.parametrize("kind", EXTENSIONS)
def test_a_tar_with_a_huge_header_is_refused_before_it_is_read(tmp_path, kind):
    size = 1 << 26
    path = gzipped_zeros(tmp_path / "archive", header("x", kind, size=size).tobuf(tarfile.GNU_FORMAT), size)
    for read in (lambda: list(tar_members(path, limit=10)), lambda: count_tar_members(path, limit=10)):
        with memory_below(2_000_000), pytest.raises(ValueError, match=r"archive: .* extension of 67,108,864 bytes"):
            read()


@pytest.mark.fault(HOSTILE)
def test_a_tar_with_a_header_of_negative_size_is_refused(tmp_path):
    first = header("x", tarfile.XHDTYPE, size=-512).tobuf(tarfile.GNU_FORMAT)
    path = gzipped_zeros(tmp_path / "archive", first, 1 << 26)  # a read of a negative size reads all of it
    with memory_below(2_000_000), pytest.raises(ValueError, match="extension of -512 bytes"):
        list(tar_members(path, limit=10))


@pytest.mark.fault(HOSTILE)
@pytest.mark.parametrize("made", ["header", "extension"])
def test_a_tar_whose_member_has_a_negative_size_is_refused_and_ends(tmp_path, made):
    size = {"header": -1024, "extension": 0}[made]
    member = header("x", size=size).tobuf(tarfile.GNU_FORMAT)
    if made == "extension":
        said = b"15 size=-00512\n"
        member = header("pax", tarfile.XHDTYPE, size=len(said)).tobuf() + said.ljust(512, b"\0") + member
    with pytest.raises(ValueError, match="member 'x' has a negative size; refused"):
        count_tar_members(written(tmp_path, member + bytes(1024)), limit=10)


@pytest.mark.fault(HOSTILE)
def test_a_tar_with_headers_upon_headers_is_refused(tmp_path):
    one = header("pax", tarfile.XHDTYPE, size=0).tobuf()
    with pytest.raises(ValueError, match="is not an archive of this kind, or is damaged"):
        list(tar_members(written(tmp_path, one * 5000), limit=10))


@pytest.mark.fault(HOSTILE)
def test_sparse_members_of_a_tar_are_refused_before_their_maps_are_read(tmp_path):
    old = header("x", tarfile.GNUTYPE_SPARSE).tobuf()
    said = "".join(f"{len(line) + 4} {line}\n" for line in ("GNU.sparse.major=1", "GNU.sparse.minor=0")).encode()
    new = header("pax", tarfile.XHDTYPE, size=len(said)).tobuf() + said.ljust(512, b"\0")
    new += header("x", size=1 << 26).tobuf() + b"9999999999\n"
    for first in (old, new):
        path = gzipped_zeros(tmp_path / "archive", first, 1 << 26)
        with memory_below(2_000_000), pytest.raises(ValueError, match="member 'x' is a sparse file; refused"):
            count_tar_members(path, limit=1 << 30)


@pytest.mark.fault(HOSTILE)
def test_what_a_tar_says_of_all_members_is_not_gathered(tmp_path):
    content = b""
    for i in range(200):
        said = f"{40_000} x{i:03}=".encode().ljust(39_999, b"y") + b"\n"
        content += header("pax", tarfile.XGLTYPE, size=len(said)).tobuf() + said + bytes(-len(said) % 512)
        content += header("a").tobuf()
    path = written(tmp_path, gzip.compress(content, 1))
    with memory_below(2_000_000):
        assert count_tar_members(path, limit=0) == 200


@pytest.mark.fault(HOSTILE)
@pytest.mark.parametrize("mode", ["w:xz", "w:bz2"])
def test_a_tar_by_a_compression_without_a_bound_of_memory_is_refused(tmp_path, mode):
    with pytest.raises(ValueError, match="is not an archive of this kind"):
        list(tar_members(written(tmp_path, tar(MEMBERS, mode)), limit=5000))


def test_long_names_and_headers_of_usual_size_are_read(tmp_path):
    name = "long/" * 50 + "a"
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        content = header("x", size=0)
        content.name, content.pax_headers = name, {"comment": "c" * 2000}
        path = written(tmp_path, content.tobuf(kind) + bytes(1024))
        assert list(tar_members(path, limit=0)) == [(name, b"")]


LEFT_BEHIND = (".DS_Store", "x/._a.png", "__MACOSX/x/a.png", ".hidden/a", "@eaDir/a", "Thumbs.db", "lost+found/a")


def test_hidden_members_and_those_of_operating_systems_are_left_out(tmp_path):
    members = {"x/a": b"first"} | dict.fromkeys(LEFT_BEHIND, bytes(100))
    tarred, packed = tmp_path / "tar", tmp_path / "zip"
    tarred.write_bytes(tar(members))
    packed.write_bytes(zipped(members))
    assert list(tar_members(tarred, limit=10)) == list(zip_members(packed, limit=10)) == [("x/a", b"first")]
    assert count_tar_members(tarred, limit=10) == 1


@pytest.mark.fault(HOSTILE)
def test_a_zip_bomb_is_not_unpacked_beyond_the_size_that_it_declares(tmp_path):
    size = 1 << 26
    content = bytearray(zipped({"bomb": bytes(size)}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = content.index(signature) + offset
        content[place : place + 4] = (10).to_bytes(4, "little")
    path = written(tmp_path, bytes(content))
    with memory_below(2_000_000), pytest.raises(ValueError, match="is damaged"):
        list(zip_members(path, limit=1000))


@pytest.mark.fault(HOSTILE)
@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_by_a_compression_without_a_bound_of_memory_is_refused(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "archive", "w", kind) as archive:
        archive.writestr("a", b"x")
    with pytest.raises(ValueError, match="member 'a' is neither stored nor deflated; refused"):
        list(zip_members(tmp_path / "archive", limit=5000))


@pytest.mark.fault(HOSTILE)
def test_a_zip_with_a_huge_directory_is_refused_before_it_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        for i in range(15_000):
            archive.writestr(f"{i:040}", b"")
    with memory_below(2_000_000), pytest.raises(ValueError, match="has a directory of 1,290,000 bytes, more than"):
        list(zip_members(tmp_path / "archive", limit=5000))


@pytest.mark.fault("a damaged archive")
@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 3], lambda _: b"no archive at all" * 99])
def test_a_damaged_tar_is_refused(tmp_path, mode, damage):
    noise = np.random.default_rng(0).bytes(9000)
    path = written(tmp_path, damage(tar({"a": noise, "b": noise}, mode)))
    with pytest.raises(ValueError, match="is not an archive of this kind, or is damaged"):
        list(tar_members(path, limit=9000))


@pytest.mark.fault("a damaged archive")
@pytest.mark.parametrize("damage", ["cut", "flipped", "none"])
def test_a_damaged_zip_is_refused(tmp_path, damage):
    content = bytearray(zipped({"a": np.random.default_rng(0).bytes(9000)}))
    content[4000] ^= 1
    path = written(tmp_path, {"cut": bytes(content[:5000]), "flipped": bytes(content), "none": b""}[damage])
    with pytest.raises(ValueError, match="is not an archive of this kind, or is damaged"):
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


def claimed(shape):
    """An npy file that claims an array of that shape and has none."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npz(other=np.zeros(3)), "has no array 'data'"),
        (npz(data=np.zeros(1000)), "member 'data.npy' has .* bytes, more than the 1,000 allowed"),
        (zipped({"data.npy": b"nothing"}), "array 'data': "),
        (zipped({"data.npy": claimed((1 << 50,))}), "array 'data': "),
        (zipped({"data.npy": npz(a=np.zeros(2))[:40]}), "array 'data': "),
        (b"nothing", "is not an archive of this kind"),
    ],
    ids=["missing", "large", "no array", "huge claim", "damaged", "no zip"],
)
def test_an_npz_without_the_array_is_refused(content, words):
    with pytest.raises(ValueError, match=rf"x\.npz: .*{words}"):
        npz_array(content, "data", limit=1000, label="x.npz")
