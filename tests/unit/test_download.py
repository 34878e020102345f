"""Downloads: whatever the server or the disk does, a file is there whole and right, or not there with a reason."""

import errno
import http.server
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mirrors import serve, sha256

from nonnormal.data import download
from nonnormal.data.download import DownloadError, File, fetch, obtain

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several chunks
NAME = "archive.bin"
KNOWN = File(NAME, len(CONTENT), sha256(CONTENT))


@pytest.fixture
def mirror():
    with serve() as running:
        running.files[NAME] = CONTENT
        yield running


def at(*urls, **changes):
    """The known file at these addresses."""
    return File(**{**vars(KNOWN), "urls": tuple(f"{url}/{NAME}" for url in urls), **changes})


def get(file, folder, **options):
    return fetch(file, folder, **{"attempts": 3, "pause": 0.0, "timeout": 5.0, **options})


def refusal(file, folder, **options):
    with pytest.raises(DownloadError) as error:
        get(file, folder, **options)
    return str(error.value)


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_download_has_the_bytes_and_leaves_nothing_else(mirror, tmp_path):
    assert get(at(mirror.url), tmp_path / "new" / "folder") == KNOWN.sha256
    assert (tmp_path / "new" / "folder" / NAME).read_bytes() == CONTENT
    assert listing(tmp_path / "new" / "folder") == [NAME]


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("etag", ['"one"', None])
def test_a_transfer_broken_half_way_is_gone_on_from(mirror, tmp_path, etag, lengths):
    mirror.breaks, mirror.etag, mirror.lengths = [1_000_000, 500_000], etag, lengths
    get(at(mirror.url), tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert [wanted for _, wanted in mirror.asked] == [None, "bytes=1000000-", "bytes=1500000-"]


def test_another_process_goes_on_where_the_first_gave_up(mirror, tmp_path):
    mirror.breaks = [1_000_000]
    message = refusal(at(mirror.url), tmp_path, attempts=1)
    assert "broke off after 1,000,000 of 3,072,000 bytes (given up after 1 attempts)" in message
    assert listing(tmp_path) == [f"{NAME}.part", f"{NAME}.part.json"]
    get(at(mirror.url), tmp_path)
    assert mirror.asked[-1] == (f"/{NAME}", "bytes=1000000-")
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert listing(tmp_path) == [NAME]


def test_attempts_that_bring_bytes_do_not_count(mirror, tmp_path):
    mirror.breaks = [100_000] * 20
    get(at(mirror.url), tmp_path, attempts=2)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_server_that_always_breaks_is_given_up(mirror, tmp_path):
    mirror.breaks, mirror.ranges = [1_000_000] * 100, False
    assert "given up after 3 attempts" in refusal(at(mirror.url), tmp_path)
    assert len(mirror.asked) == 3


def test_without_ranges_a_transfer_starts_again(mirror, tmp_path):
    mirror.breaks, mirror.ranges = [1_000_000], False
    get(at(mirror.url), tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_not_mixed_with_what_came_before(mirror, tmp_path):
    mirror.files[NAME], mirror.breaks = bytes(len(CONTENT)), [1_000_000]
    unknown = at(mirror.url, sha256=None)
    refusal(unknown, tmp_path, attempts=1)
    mirror.files[NAME], mirror.etag = CONTENT, '"two"'
    assert get(unknown, tmp_path) == KNOWN.sha256


def test_without_validator_and_hash_nothing_is_gone_on_from(mirror, tmp_path):
    mirror.breaks, mirror.etag = [1_000_000], None
    assert get(at(mirror.url, sha256=None, size=None), tmp_path) == KNOWN.sha256
    assert [wanted for _, wanted in mirror.asked] == [None, None]


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_part_that_is_complete_already_is_used(mirror, tmp_path, size):
    mirror.breaks = [1_000_000]
    refusal(at(mirror.url), tmp_path, attempts=1)
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    get(at(mirror.url, size=size), tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert len(mirror.asked) == (1 if size else 2)


def test_a_part_longer_than_the_file_starts_again(mirror, tmp_path):
    mirror.breaks = [1_000_000]
    refusal(at(mirror.url), tmp_path, attempts=1)
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT + b"more")
    get(at(mirror.url), tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_corrupt_byte_is_noticed_and_the_next_try_works(mirror, tmp_path):
    wrong = CONTENT[:777] + b"\xaa" + CONTENT[778:]
    mirror.files[NAME] = wrong
    message = refusal(at(mirror.url), tmp_path)
    assert f"expected SHA-256 {KNOWN.sha256}, found {sha256(wrong)}" in message
    assert str((tmp_path / NAME).resolve()) in message
    assert len(mirror.asked) == 1  # a server that sends wrong bytes is not asked again
    assert listing(tmp_path) == []
    mirror.files[NAME] = CONTENT
    get(at(mirror.url), tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_wrong_size_is_refused_before_the_transfer(mirror, tmp_path):
    mirror.files[NAME] = CONTENT[:-1]
    assert "expected 3,072,000 bytes, the server has 3,071,999" in refusal(at(mirror.url), tmp_path)
    assert listing(tmp_path) == []


def test_mirrors_are_tried_in_order(mirror, tmp_path):
    with serve() as broken, serve() as unused:
        broken.files[NAME] = CONTENT[::-1]
        unused.files[NAME] = CONTENT
        get(at(broken.url, mirror.url, unused.url), tmp_path)
        assert (len(broken.asked), len(mirror.asked), len(unused.asked)) == (1, 1, 0)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_what_one_mirror_began_is_not_gone_on_from_at_another(mirror, tmp_path):
    with serve() as other:
        other.files[NAME], other.breaks = CONTENT[::-1], [1_000_000]
        get(at(other.url, mirror.url), tmp_path, attempts=1)
    assert mirror.asked == [(f"/{NAME}", None)]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_all_mirrors_are_named_with_their_reasons(mirror, tmp_path):
    mirror.files.clear()
    message = refusal(at(mirror.url, "http://127.0.0.1:9", (tmp_path / "nowhere").as_uri()), tmp_path)
    assert f"{mirror.url}/{NAME}: HTTP status 404" in message
    assert f"http://127.0.0.1:9/{NAME}: [Errno 111] Connection refused (given up after 3 attempts)" in message
    assert f"nowhere/{NAME}: " in message
    assert len(mirror.asked) == 1  # 404 is an answer


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(mirror, tmp_path, status):
    mirror.statuses = [status, status]
    get(at(mirror.url), tmp_path)
    assert len(mirror.asked) == 3


def test_pauses_double(mirror, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    mirror.statuses = [500] * 9
    assert "HTTP status 500" in refusal(at(mirror.url), tmp_path, attempts=5, pause=0.5)
    assert pauses == [0.5, 1, 2, 4]


def test_a_server_that_falls_silent_is_given_up(tmp_path):
    class Silent(http.server.BaseHTTPRequestHandler):
        def do_GET(self): ...

    with http.server.HTTPServer(("127.0.0.1", 0), Silent) as server:  # accepts, and never answers
        url = f"http://127.0.0.1:{server.server_port}"
        assert "timed out" in refusal(at(url), tmp_path, attempts=2, timeout=0.05)


def test_a_file_url_is_copied(tmp_path):
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / NAME).write_bytes(CONTENT)
    get(at((tmp_path / "shelf").as_uri()), tmp_path / "here")
    assert (tmp_path / "here" / NAME).read_bytes() == CONTENT
    assert (tmp_path / "shelf" / NAME).exists()


# ---- other processes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5])
def test_of_several_at_once_one_fetches_and_the_others_take_what_it_brought(mirror, tmp_path, monkeypatch, n):
    transfer = download._transfer
    monkeypatch.setattr(download, "_transfer", lambda *given: (time.sleep(0.1), transfer(*given)))
    with ThreadPoolExecutor(n) as pool:
        found = list(pool.map(lambda _: get(at(mirror.url), tmp_path), range(n)))
    assert found == [KNOWN.sha256] * n
    assert mirror.asked == [(f"/{NAME}", None)]
    assert listing(tmp_path) == [NAME]


def test_who_waited_goes_on_where_the_other_gave_up(mirror, tmp_path, monkeypatch):
    """Each has one attempt, of which the first breaks off."""
    transfer, mirror.breaks = download._transfer, [1_000_000]
    monkeypatch.setattr(download, "_transfer", lambda *given: (time.sleep(0.1), transfer(*given)))
    with ThreadPoolExecutor(2) as pool:
        tried = [pool.submit(get, at(mirror.url), tmp_path, attempts=1) for _ in range(2)]
        failed = [error for error in (its.exception() for its in tried) if error]
    assert [type(error) for error in failed] == [DownloadError]
    assert [wanted for _, wanted in mirror.asked] == [None, "bytes=1000000-"]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_another_file_that_came_meanwhile_is_left_alone(mirror, tmp_path):
    (tmp_path / NAME).write_bytes(b"another")
    assert "It was left as it is" in refusal(at(mirror.url), tmp_path)
    assert (tmp_path / NAME).read_bytes() == b"another"
    assert mirror.asked == []


def test_a_lock_file_that_was_left_behind_locks_nothing(mirror, tmp_path):
    (tmp_path / f"{NAME}.part.lock").touch()
    get(at(mirror.url), tmp_path)
    assert listing(tmp_path) == [NAME]


def test_without_locks_a_download_comes_all_the_same(mirror, tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(download.fcntl, "flock", unsupported)
    get(at(mirror.url), tmp_path)
    assert listing(tmp_path) == [NAME]


# ---- the disk --------------------------------------------------------------------------------------------------------


def check_full_disk(mirror, folder):
    message = refusal(at(mirror.url), folder)
    assert f"the disk of {folder.resolve()} is full" in message
    assert f"resumes from {NAME}.part" in message
    assert not (folder / NAME).exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full is Linux's")
def test_a_full_disk_is_named(mirror, tmp_path):
    part = tmp_path / f"{NAME}.part"
    part.symlink_to("/dev/full")
    check_full_disk(mirror, tmp_path)
    part.unlink()
    get(at(mirror.url), tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_room_on_a_full_disk_lets_a_download_go_on(mirror, tmp_path):
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", tmp_path], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to mount a small disk here")
    try:
        check_full_disk(mirror, tmp_path)
        subprocess.run(["mount", "-o", "remount,size=8m", tmp_path], check=True)
        get(at(mirror.url), tmp_path)
        assert (tmp_path / NAME).read_bytes() == CONTENT
        start = int(mirror.asked[-1][1].removeprefix("bytes=").rstrip("-"))
        assert 1_000_000 < start <= 1 << 21
    finally:
        subprocess.run(["umount", tmp_path], check=True)


# ---- files placed by hand --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["folder", "file", "downloads"])
def test_a_placed_file_is_used_where_it_lies(tmp_path, place):
    path = tmp_path / NAME
    path.write_bytes(CONTENT)
    placed = {"folder": tmp_path, "file": path, "downloads": None}[place]
    assert obtain(KNOWN, placed=placed, folder=tmp_path) == (path, KNOWN.sha256)
    assert listing(tmp_path) == [NAME]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (CONTENT[:-5], "expected 3,072,000 bytes, found 3,071,995"),
        (CONTENT[:-1] + b"x", f"expected SHA-256 {KNOWN.sha256}, found {sha256(CONTENT[:-1] + b'x')}"),
    ],
    ids=["size", "hash"],
)
def test_a_wrong_placed_file_is_left_alone(mirror, tmp_path, content, words):
    path = tmp_path / NAME
    path.write_bytes(content)
    for placed in (tmp_path, None):
        with pytest.raises(DownloadError) as error:
            obtain(at(mirror.url), placed=placed, folder=tmp_path)
        assert words in str(error.value)
        assert str(path.resolve()) in str(error.value)
        assert path.read_bytes() == content
    assert mirror.asked == []


def test_a_missing_placed_file_is_not_looked_for_elsewhere(mirror, tmp_path):
    with pytest.raises(DownloadError, match=r"there is no file .*nowhere"):
        obtain(at(mirror.url), placed=tmp_path / "nowhere", folder=tmp_path)
    assert mirror.asked == []


def test_a_file_of_unknown_hash_is_taken_and_its_hash_told(tmp_path, caplog):
    (tmp_path / NAME).write_bytes(b"anything")
    with caplog.at_level("INFO"):
        assert obtain(File(NAME), folder=tmp_path) == (tmp_path / NAME, sha256(b"anything"))
    assert sha256(b"anything") in caplog.text


def test_what_no_address_is_known_of_is_asked_for_by_hand(tmp_path):
    with pytest.raises(DownloadError, match="no address is known") as error:
        obtain(File(NAME, 5), folder=tmp_path / "d")
    assert f"Place {NAME} (5 bytes) by hand at {Path(tmp_path).resolve() / 'd' / NAME}" in str(error.value)
