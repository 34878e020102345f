"""Data: each set's images, splits and labels, read by the real loaders from small archives; grey levels and files."""

import ast
import dataclasses
import hashlib
import io
import math
import os
import re
import shutil
import socket
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tifffile
import torch
from mirrors import cifar_records, npz, pictures, png, serve, sha256, tar, zipped
from PIL import Image
from sklearn import datasets

from nonnormal import data
from nonnormal.data import DATASETS, Source, photos
from nonnormal.data.colour_digits import LUMINANCE, painted
from nonnormal.data.decoding import FORMATS
from nonnormal.data.folder import decode
from nonnormal.data.ignored import SYSTEM_NAMES
from nonnormal.data.images import FEWEST
from nonnormal.data.registry import describe
from nonnormal.files import read_tensors, sha256_of
from nonnormal.metrics.fidelity import fidelity
from nonnormal.metrics.intervals import Estimate, mean_interval
from nonnormal.metrics.reference import Reference
from nonnormal.metrics.style import style
from nonnormal.study.cli import make


def png_16_bits(mode, size):
    """A dark PNG file of 16 bits per channel, as Pillow reads but does not write them."""
    kind, channels = {"RGB": (2, 3), "LA": (4, 2), "RGBA": (6, 4)}[mode]
    rows = size[1] * (b"\0" + b"\0\xc8" * channels * size[0])

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", *size, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_digits_are_1500_and_297_images_with_17_levels(digits):
    for split, n in ((digits.train, 1500), (digits.test, 297)):
        assert (split.images.shape, split.images.dtype) == ((n, 1, 8, 8), torch.uint8)
        assert (split.labels.shape, split.labels.dtype) == ((n,), torch.int64)
        assert split.images.unique().tolist() == list(range(17))
        assert split.labels.unique().tolist() == list(range(10))
    assert digits.levels == 17


def test_splits_together_are_sklearns_images_each_once(digits):
    parts = [np.c_[split.images.flatten(1).numpy(), split.labels.numpy()] for split in (digits.train, digits.test)]
    bunch = datasets.load_digits()
    original = np.c_[bunch.data, bunch.target].astype(int)
    found = np.concatenate(parts).astype(int)
    assert np.array_equal(found[np.lexsort(found.T)], original[np.lexsort(original.T)])


def test_each_digit_has_its_share_of_the_test_split(digits):
    test, train = (torch.bincount(split.labels, minlength=10) for split in (digits.test, digits.train))
    assert ((test - (test + train) * 297 / 1797).abs() < 1).all()


def test_loading_is_deterministic(digits):
    again = data.load("digits")
    assert torch.equal(again.train.images, digits.train.images)
    assert torch.equal(again.test.labels, digits.test.labels)


def test_images_are_not_in_the_order_of_their_labels(digits):
    assert (digits.train.labels.diff() != 0).double().mean() > 0.8


def test_unknown_data_set_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'mnist'.*digits"):
        data.load("mnist")


@pytest.mark.parametrize("wrong", [{"shape": (1, 9, 9)}, {"levels": 16}, {"levels": 256}])
def test_data_unlike_their_entry_are_refused(monkeypatch, wrong):
    monkeypatch.setitem(DATASETS, "digits", dataclasses.replace(DATASETS["digits"], **wrong))
    with pytest.raises(ValueError, match="data set 'digits': expected"):
        data.load("digits")


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_scale_and_quantise_round_trip(levels):
    grey = torch.arange(levels, dtype=torch.uint8).reshape(1, 1, 1, levels)
    x = data.scale(grey, levels)
    assert x.dtype == torch.float32
    assert (x.min().item(), x.max().item()) == (-1.0, 1.0)
    torch.testing.assert_close(x.flatten().diff(), torch.full((levels - 1,), 2 / (levels - 1)), rtol=1e-4, atol=0)
    assert torch.equal(data.quantise(x, levels), grey)
    # Anything nearer to a level than half-way is that level.
    for shift in (-0.49, 0.49):
        assert torch.equal(data.quantise(x + shift * 2 / (levels - 1), levels), grey)


@pytest.mark.parametrize(("levels", "n"), [(17, 40), (256, 3), (2, 1000)])
def test_standard_deviation_from_counts_is_torchs_of_the_scaled_images(levels, n):
    grey = torch.randint(levels, (n, 3, 8, 8), generator=torch.Generator().manual_seed(n), dtype=torch.uint8)
    assert data.std(grey, levels) == data.scale(grey, levels).std().item()


def test_quantise_clips_what_lies_outside():
    assert data.quantise(torch.tensor([-3.0, -1.01, 1.01, 40.0]), 17).tolist() == [0, 0, 16, 16]
    assert data.quantise(torch.tensor([1.5], dtype=torch.float64), 256).tolist() == [255]  # and does not wrap around


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_images_that_are_not_finite_have_no_grey_levels(value):
    x = torch.zeros(5, 1, 2, 2)
    x[1, 0, 0] = x[3, 0, 1, 1] = value
    with pytest.raises(ValueError, match="2 of 5 images have NaN or ∞"):
        data.quantise(x, 17)


def test_write_and_read_round_trip(digits, tmp_path):
    data.write(tmp_path / "d.safetensors", digits, "digits")
    found = data.read(tmp_path / "d.safetensors")
    assert found.levels == 17
    for name in ("train", "test"):
        first, second = getattr(digits, name), getattr(found, name)
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.labels, second.labels)
    data.write(tmp_path / "again", digits, "digits")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "d.safetensors").read_bytes()


def test_hashes_of_what_the_data_came_from_are_in_the_file(tmp_path):
    splits = [data.Split(torch.zeros(1, 1, 1, 1, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)) for _ in "ab"]
    data.write(tmp_path / "d", data.ImageData(*splits, 2, {"a.tar": "ab" * 32}), "x")
    assert read_tensors(tmp_path / "d")[1] == {"data": "x", "levels": 2, "files": {"a.tar": "ab" * 32}}
    assert data.read(tmp_path / "d").files == {"a.tar": "ab" * 32}


# ---- photos ----------------------------------------------------------------------------------------------------------

PHOTOS32 = Source(size=32)


@pytest.fixture(scope="module")
def crops():
    return data.load("photos", PHOTOS32)


def test_photos_are_crops_in_two_splits(crops):
    for split, n in ((crops.train, 18_053), (crops.test, 3_086)):
        assert (split.images.shape, split.images.dtype) == ((n, 3, 32, 32), torch.uint8)
        assert split.labels.unique().tolist() == list(range(DATASETS["photos"].classes))
        assert (split.labels.diff() != 0).double().mean() > 0.7  # not in the order of the photographs
        assert split.images.unique().tolist() == list(range(256))
    assert list(crops.files) == [name.rpartition("/")[2] for _, name in photos.PHOTOS]


def test_photos_are_those_of_the_libraries(crops):
    """Each tenth test crop is somewhere in its photograph, as the libraries themselves read it."""
    originals = {1: skimage.data.chelsea(), 4: skimage.data.rocket(), 6: datasets.load_sample_image("flower.jpg")}
    for label, original in originals.items():
        windows = np.lib.stride_tricks.sliding_window_view(original, (32, 32, 3)).squeeze(2)
        corners = {tuple(corner) for corner in windows[:, :, 0, :4].reshape(-1, 12).tolist()}
        found = crops.test.images[crops.test.labels == label][::10]
        assert {tuple(crop[:, 0, :4].T.flatten().tolist()) for crop in found} <= corners


@pytest.mark.parametrize("shape", [(427, 640), (300, 451), (500, 741), (32, 320)])
def test_train_and_test_crops_share_no_pixel(shape):
    """On a picture whose colours say where each pixel is."""
    rows, columns = torch.meshgrid(torch.arange(shape[0]), torch.arange(shape[1]), indexing="ij")
    picture = torch.stack([columns // 256, columns % 256, rows % 256], -1).to(torch.uint8)
    seen = []
    for split in photos.crops(picture, 32):
        places = split[:, 0].long() * 256 + split[:, 1].long()
        assert (places.diff(dim=2) == 1).all()  # no crop runs over a border
        seen.append(set(places.unique().tolist()))
    assert not seen[0] & seen[1]
    assert len(seen[1]) > 0.12 * shape[1]


def test_smaller_photos_are_the_means_of_blocks_of_the_large_ones(crops):
    for size in (4, 8, 16):
        side = 32 // size
        for split, large in zip(("train", "test"), (crops.train, crops.test), strict=True):
            small = getattr(data.load("photos", Source(size=size)), split)
            assert torch.equal(small.labels, large.labels)
            blocks = large.images[::50].double().reshape(-1, 3, size, side, size, side)
            assert (small.images[::50] - blocks.mean((3, 5))).abs().max() <= 0.5


def test_photos_of_one_size_have_a_name_and_a_file_of_their_own():
    sizes = [Source(size=size) for size in (16, 32)]
    assert [data.file_name("photos", source) for source in sizes] == ["photos16", "photos32"]
    assert [describe("photos", source).shape for source in sizes] == [(3, 16, 16), (3, 32, 32)]


def test_photos_need_no_network_and_are_deterministic(crops, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    again = data.load("photos", PHOTOS32)
    assert torch.equal(again.train.images, crops.train.images)
    assert torch.equal(again.test.labels, crops.test.labels)
    assert again.files == crops.files


@pytest.mark.parametrize("name", ["photos", "colour_digits"])
def test_a_photograph_that_a_wheel_has_not_got_is_named(monkeypatch, name):
    monkeypatch.setattr(photos, "PHOTOS", (("skimage", "data/nowhere.png"),))
    with pytest.raises(ValueError, match=r"skimage has no data/nowhere\.png in its wheel"):
        data.load(name, PHOTOS32 if name == "photos" else None)


# ---- colour_digits ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coloured():
    return data.load("colour_digits")


def palettes():
    """(train, test) colours of each photograph, each colour as one number."""
    for _, photo in photos.photographs():
        yield [
            set(torch.cat([part.flatten(0, 1) for part in split]).long().mul(CODE).sum(1).unique().tolist())
            for split in photos.regions(photo)
        ]


CODE = torch.tensor([65536, 256, 1])


def ends_of(image, levels):
    """(paper, ink), whole numbers (3,), of a painted digit: each one colour."""
    ends = [image[:, levels[0] == level].long().unique(dim=1) for level in (0, 16)]
    assert [end.shape for end in ends] == [(3, 1)] * 2
    return [end[:, 0] for end in ends]


def test_colour_digits_are_digits_on_the_line_between_two_colours_of_one_photograph(coloured, digits):
    of_photos = list(palettes())
    for place, (name, n) in enumerate({"train": 6000, "test": 297}.items()):
        split, grey = getattr(coloured, name), getattr(digits, name)
        times = n // len(grey.images)
        assert (split.images.shape, split.images.dtype) == ((n, 3, 8, 8), torch.uint8)
        assert torch.equal(split.labels, grey.labels.repeat(times))
        codes = []
        for image, levels in zip(split.images, grey.images.repeat(times, 1, 1, 1), strict=True):
            if not {0, 16} <= set(levels.unique().tolist()):
                continue  # its ink or paper is not seen
            paper, ink = ends_of(image, levels)
            line = paper[:, None, None] + (ink - paper)[:, None, None] * levels.double() / 16
            assert (image - line).abs().max() <= 0.5
            codes.append((int(paper @ CODE), int(ink @ CODE)))
        assert all(any({*pair} <= palette[place] for palette in of_photos) for pair in codes)
        assert len(set(codes)) > 0.9 * n
    assert coloured.train.images.unique().tolist() == list(range(256))


def test_a_painted_digits_paper_and_ink_are_the_colours_given():
    images = torch.tensor([[[[0, 16], [8, 1]]]], dtype=torch.uint8)
    paper, ink = torch.tensor([[0, 255, 10]], dtype=torch.uint8), torch.tensor([[255, 0, 11]], dtype=torch.uint8)
    expected = [[[0, 255], [128, 16]], [[255, 0], [128, 239]], [[10, 11], [11, 10]]]
    assert painted(images, 17, paper, ink)[0].tolist() == expected


def test_paper_and_ink_are_far_apart_in_luminance_either_way(coloured, digits):
    """The best of eight pairs: two random pixels of a photograph are half as far apart."""
    full = digits.train.images.flatten(1).amax(1) == 16
    pairs = zip(coloured.train.images[: len(full)][full], digits.train.images[full], strict=True)
    luminance = torch.stack([torch.stack(ends_of(*pair)) for pair in pairs]).double() @ torch.tensor(LUMINANCE).double()
    contrast = luminance.diff(dim=1) / 1000
    assert contrast.abs().mean() > 100
    assert 0.45 < (contrast > 0).double().mean() < 0.55


def test_colour_digits_are_the_same_every_time(coloured, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    again = data.load("colour_digits")
    for name in ("train", "test"):
        assert torch.equal(getattr(again, name).images, getattr(coloured, name).images)
    assert list(again.files) == [name.rpartition("/")[2] for _, name in photos.PHOTOS]


@pytest.mark.parametrize(
    ("name", "source", "digest"),
    [
        ("colour_digits", Source(), "7be151028cb3b9932eaf4cd673fe01e549ce3cf972733b0ab5c2d7ce2f3d1055"),
        ("photos", Source(size=16), "998beb58a981888e68f423aae57602aad5554aaf4181387800d4bb170d0949b4"),
        ("photos", PHOTOS32, "ceed9913dae6e4760ed5d0818168f348d434c038855beed310dd80db3a960fba"),
    ],
)
def test_files_are_those_of_the_kept_results(name, source, digest, tmp_path):
    """SHA-256 with the versions of constraints.txt; another decoder of JPEG may differ in the last bit of a pixel."""
    data.write(tmp_path / "made", data.load(name, source), data.full_name(name, source))
    assert sha256_of(tmp_path / "made") == digest


# ---- cifar10 ---------------------------------------------------------------------------------------------------------

CIFAR10 = "cifar-10-binary.tar.gz"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty project folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cifar(**changes):
    """Members of a small CIFAR-10, and its six batches of images and labels."""
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    batches = [pictures(4 + i, seed=i) for i in range(6)]
    members = {
        f"cifar-10-batches-bin/{name}.bin": cifar_records(*batch) for name, batch in zip(names, batches, strict=True)
    }
    others = {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n", "cifar-10-batches-bin/readme.html": b"<html>"}
    return {
        **others,
        **members,
        **{f"cifar-10-batches-bin/{name}.bin": value for name, value in changes.items()},
    }, batches


def placed(folder, files, **more):
    """Source of files that were written to a folder, and are trusted."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return Source(path=str(folder), sha256={name: sha256(content) for name, content in files.items()}, **more)


def test_cifar10_is_read_from_a_mirror(here):
    members, batches = cifar()
    archive = tar(members, "w:gz")
    with serve() as mirror:
        mirror.files[CIFAR10], mirror.breaks = archive, [len(archive) // 2]
        found = data.load("cifar10", Source(mirrors=(mirror.url,), sha256={CIFAR10: sha256(archive)}))
    images, labels = (np.concatenate(parts) for parts in zip(*batches[:5], strict=True))
    assert np.array_equal(found.train.images, images)
    assert np.array_equal(found.train.labels, labels)
    assert np.array_equal(found.test.images, batches[5][0])
    assert np.array_equal(found.test.labels, batches[5][1])
    assert found.files == {CIFAR10: sha256(archive)}
    assert [str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()] == [f"data/downloads/{CIFAR10}"]


def test_cifar10_of_nobodys_trust_is_refused_with_the_known_size(here):
    (here / CIFAR10).write_bytes(tar(cifar()[0], "w:gz"))
    with pytest.raises(ValueError, match="expected 170,052,171 bytes, found") as error:
        data.load("cifar10", Source(path="."))
    assert DATASETS["cifar10"].files == (CIFAR10,)
    assert "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd" in str(error.value)


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (b"", "data_batch_2.bin has 0 bytes, not a multiple of 3073"),
        (bytes(3072), "data_batch_2.bin has 3,072 bytes, not a multiple of 3073"),
        (b"\x0a" + bytes(3072), "found the label 10; CIFAR-10 has 0 to 9"),
        (bytes(3073 * 10_001), "more than the 30,730,000 allowed; refused"),
    ],
    ids=["empty", "short", "label", "large"],
)
def test_a_cifar10_of_other_records_is_refused(here, member, words):
    with pytest.raises(ValueError, match=words):
        data.load("cifar10", placed(here, {CIFAR10: tar(cifar(data_batch_2=member)[0], "w:gz")}))


def test_a_cifar10_without_a_batch_is_refused(here):
    members, _ = cifar()
    del members["cifar-10-batches-bin/test_batch.bin"]
    with pytest.raises(ValueError, match=r"has no member cifar-10-batches-bin/test_batch\.bin"):
        data.load("cifar10", placed(here, {CIFAR10: tar(members, "w:gz")}))


def test_members_beside_cifar10s_own_are_not_kept(here):
    members, batches = cifar()
    members |= {f"more/{i}.bin": bytes(20_000_000) for i in range(5)}
    source = placed(here, {CIFAR10: tar(members, "w:gz")})
    tracemalloc.start()
    try:
        assert np.array_equal(data.load("cifar10", source).test.images, batches[5][0])
        assert tracemalloc.get_traced_memory()[1] < 80_000_000
    finally:
        tracemalloc.stop()


# ---- imagenet32 ------------------------------------------------------------------------------------------------------


def pngs(images, folder):
    return {f"{folder}/{i + 1:07}.png": png(image.transpose(1, 2, 0)) for i, image in enumerate(images)}


def test_old_imagenet_is_read_from_tars_of_png(here):
    splits = {"train": pictures(7, 0)[0], "valid": pictures(3, 1)[0]}
    files = {f"{name}_32x32.tar": tar(pngs(images, f"{name}_32x32")) for name, images in splits.items()}
    found = data.load("imagenet32_old", placed(here, files))
    assert np.array_equal(found.train.images, splits["train"])
    assert np.array_equal(found.test.images, splits["valid"])
    assert len(found.train.labels) == len(found.test.labels) == 0
    assert found.files == {name: sha256(content) for name, content in files.items()}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(np.zeros((32, 31, 3), np.uint8)), "expected 32×32 RGB, found 31×32 RGB"),
        (png(np.zeros((32, 32), np.uint8)), "expected 32×32 RGB, found 32×32 L"),
        (b"no png", "is not a readable image; allowed formats: PNG"),
        (png_16_bits("RGB", (32, 32)), "has more than 8 bits per channel"),
        (png(pictures(1, 0)[0][0].transpose(1, 2, 0))[:200], "truncated"),
        (bytes(70_000), "more than the 65,536 allowed"),
    ],
    ids=["size", "grey", "no png", "16 bits", "truncated", "large"],
)
def test_an_old_imagenet_with_another_picture_is_refused_by_name(here, content, words):
    files = {f"{name}_32x32.tar": tar({"x/1.png": content}) for name in ("train", "valid")}
    with pytest.raises(ValueError, match=f"1.png.*{words}"):
        data.load("imagenet32_old", placed(here, files))


NEW = ("Imagenet32_train_npz.zip", "Imagenet32_val_npz.zip")


def chrabaszcz(images, labels):
    """An npz of the new ImageNet: rows of 3072 bytes, labels from 1, the mean picture."""
    return npz(data=images.reshape(len(images), -1), labels=labels + 1, mean=images.reshape(len(images), -1).mean(0))


def new_imagenet():
    """The two zips, with training batches 10 and 2 in this order, and their images and labels in that of numbers."""
    batches = {"train_data_batch_10": pictures(3, 10), "train_data_batch_2": pictures(4, 2), "val_data": pictures(5, 0)}
    members = {f"{name}.npz": chrabaszcz(*batch) for name, batch in batches.items()}
    val = {"val_data.npz": members.pop("val_data.npz")}
    train = [
        np.concatenate(both) for both in zip(batches["train_data_batch_2"], batches["train_data_batch_10"], strict=True)
    ]
    return dict(zip(NEW, (zipped(members), zipped(val)), strict=True)), train, batches["val_data"]


def test_new_imagenet_is_read_from_zips_of_npz_in_the_order_of_numbers(here):
    files, train, val = new_imagenet()
    found = data.load("imagenet32_new", placed(here, files))
    for split, (images, labels) in ((found.train, train), (found.test, val)):
        assert np.array_equal(split.images, images)
        assert np.array_equal(split.labels, labels)
        assert split.labels.dtype == torch.int64
    assert found.files == {name: sha256(content) for name, content in files.items()}


def test_a_new_imagenet_with_images_missing_is_refused_with_its_hash(here):
    files, _, _ = new_imagenet()
    placed(here, files)
    with pytest.raises(ValueError, match="expected 1,281,167 images, found 7") as error:
        data.load("imagenet32_new", Source(path="."))
    assert f"source: {{sha256: {{{NEW[0]}: {sha256(files[NEW[0]])}}}}}" in str(error.value)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"data": np.array([{}] * 2), "labels": np.ones(2)}, "array 'data': Object arrays cannot be loaded"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": np.array([{}] * 2)}, "array 'labels': Object arrays"),
        ({"data": np.zeros((2, 3072)), "labels": np.ones(2)}, "found float64"),
        ({"data": np.zeros((3, 3072), np.uint8), "labels": np.ones(2)}, r"expected uint8 \(2, 3072\)"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": np.arange(2)}, "labels are 0 to 1; expected 1 to 1000"),
        ({"data": np.zeros((2, 3072), np.uint8)}, "has no array 'labels'"),
        ({"labels": np.ones(300_000)}, "member 'labels.npy' has 2,400,128 bytes, more than the 2,097,152 allowed"),
    ],
    ids=["pickle", "pickled labels", "floats", "rows", "label 0", "no labels", "huge labels"],
)
def test_a_new_imagenet_of_other_arrays_is_refused(here, batch, words):
    files = {name: zipped({"val_data.npz": npz(**batch)}) for name in NEW}
    with pytest.raises(ValueError, match=words):
        data.load("imagenet32_new", placed(here, files))


def test_a_new_imagenet_with_more_labels_than_images_is_refused_before_room_is_made_for_them(here):
    batch = zipped({f"{i}.npz": npz(labels=np.ones(200_000, np.uint8)) for i in range(7)})
    with pytest.raises(ValueError, match="has 1,400,000 labels; ImageNet has 1,281,167 images"):
        data.load("imagenet32_new", placed(here, dict.fromkeys(NEW, batch)))


def test_files_of_operating_systems_in_an_archive_of_imagenet_are_not_read(here):
    splits = {"train": pictures(7, 0)[0], "valid": pictures(3, 1)[0]}
    more = {"train_32x32/._0000001.png": b"a Mac's", "train_32x32/.DS_Store": bytes(100_000)}
    files = {f"{name}_32x32.tar": tar(more | pngs(images, f"{name}_32x32")) for name, images in splits.items()}
    assert np.array_equal(data.load("imagenet32_old", placed(here, files)).train.images, splits["train"])


@pytest.mark.parametrize("name", ["imagenet32_old", "imagenet32_new"])
def test_imagenet_is_asked_for_by_hand(here, name):
    with pytest.raises(ValueError, match="no address is known") as error:
        data.load(name)
    assert str(here / "data" / "downloads" / DATASETS[name].files[0]) in str(error.value)


# ---- folder ----------------------------------------------------------------------------------------------------------


def album(folder, n, subfolders=("cats", "dogs")):
    """Random pictures of many shapes and formats, shared out to subfolders."""
    rng = np.random.default_rng(0)
    for i in range(n):
        place = folder / subfolders[i % len(subfolders)]
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (10 + i % 7, 12 + i % 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{i}.{('png', 'jpg', 'BMP')[i % 3]}")
    (folder / "notes.txt").write_text("no image")
    return Source(path=str(folder), size=8)


def test_a_folder_is_split_by_names_and_labelled_by_subfolders(tmp_path):
    found = data.load("folder", album(tmp_path, 200))
    assert len(found.train.images) + len(found.test.images) == 200
    assert 5 <= len(found.test.images) <= 40  # Binomial(200, 1/10)
    for split in (found.train, found.test):
        assert split.images.shape[1:] == (3, 8, 8)
        assert split.labels.unique().tolist() == [0, 1]
    again = data.load("folder", Source(path=str(tmp_path), size=8))
    assert torch.equal(again.train.images, found.train.images)
    assert again.files == found.files


def test_an_added_image_moves_no_other(tmp_path):
    source = album(tmp_path, 60)
    before = data.load("folder", source)
    Image.new("RGB", (9, 9), "red").save(tmp_path / "cats" / "another.png")
    after = data.load("folder", source)
    rows = [{row.numpy().tobytes() for row in found.images} for found in (before.train, before.test)]
    rows_after = [{row.numpy().tobytes() for row in found.images} for found in (after.train, after.test)]
    assert rows[0] <= rows_after[0]
    assert rows[1] <= rows_after[1]
    assert before.files != after.files


def test_grey_and_oblong_images_of_a_folder(tmp_path):
    source = album(tmp_path, 60).model_copy(update={"size": (12, 20), "channels": 1})
    found = data.load("folder", source)
    assert found.train.images.shape[1:] == describe("folder", source).shape == (1, 12, 20)
    assert describe("folder", source).classes == 2


def test_colours_become_grey_by_luma_and_grey_ones_three_equal_channels():
    colours = np.zeros((4, 12, 3), np.uint8)
    for i in range(3):
        colours[:, 4 * i : 4 * i + 4, i] = 255  # red, green, blue
    shades = decode(png(colours), (1, 4, 12), label="x")
    assert shades.shape == (1, 4, 12)
    luma = [round(255 * weight) for weight in (0.299, 0.587, 0.114)]
    assert (shades[0, :, [1, 6, 10]] - torch.tensor(luma)).abs().max() <= 1  # Pillow's weights have 16 bits
    red, green, blue = decode(png(np.arange(64, dtype=np.uint8).reshape(8, 8)), (3, 8, 8), label="x")
    assert red.equal(green) and green.equal(blue)
    assert red.equal(decode(png(np.arange(64, dtype=np.uint8).reshape(8, 8)), (1, 8, 8), label="x")[0])


def test_an_oblong_image_is_the_largest_central_part_of_its_proportions():
    picture = np.arange(10 * 12, dtype=np.uint8).reshape(10, 12)
    assert decode(png(picture), (1, 4, 12), label="x")[0].equal(torch.from_numpy(picture[3:7].copy()))
    assert decode(png(picture), (1, 10, 4), label="x")[0].equal(torch.from_numpy(picture[:, 4:8].copy()))


def test_images_beside_subfolders_leave_all_without_labels(tmp_path):
    source = album(tmp_path, 60)
    Image.new("RGB", (9, 9)).save(tmp_path / "top.png")
    assert len(data.load("folder", source).train.labels) == 0


def test_labels_known_before_loading_are_those_of_the_images(tmp_path):
    source = album(tmp_path / "album", 60, subfolders=("dogs", "birds/small", "cats"))
    for place in ("ants", "docs/empty"):  # no image in them
        (tmp_path / "album" / place).mkdir(parents=True)
    (tmp_path / "album" / "docs" / "notes.txt").touch()
    assert describe("folder", source).classes == 3
    found = data.load("folder", source)
    assert found.train.labels.unique().tolist() == [0, 1, 2]
    assert len(found.train.images) + len(found.test.images) == 60


def test_an_image_of_the_right_size_stays_as_it_is_and_others_are_cut_to_the_centre():
    square = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(decode(png(square), (3, 8, 8), label="x"), square.transpose(2, 0, 1))
    wide = np.zeros((8, 16, 3), np.uint8)
    wide[:, 4:12] = square
    assert np.array_equal(decode(png(wide), (3, 8, 8), label="x"), square.transpose(2, 0, 1))
    assert decode(png(np.full((40, 50), 77, np.uint8)), (3, 8, 8), label="x").unique().tolist() == [77]


def test_a_sideways_photograph_is_put_upright(tmp_path):
    picture = Image.new("RGB", (8, 8), "black")
    picture.paste((255, 255, 255), (0, 0, 8, 4))  # upper half
    exif = Image.Exif()
    exif[0x0112] = 3  # orientation: upside down
    picture.save(tmp_path / "x.png", exif=exif)
    rows = decode((tmp_path / "x.png").read_bytes(), (3, 8, 8), label="x")[0, :, 0].tolist()
    assert rows == [0] * 4 + [255] * 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no image", "is not a readable image; allowed formats: BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP$"),
        (png(pictures(1, 0)[0][0].transpose(1, 2, 0))[:200], "truncated|broken"),
        (png(np.zeros((9, 9), np.uint16)), "has mode I;16; allowed are 8 bits per channel"),
        (png(np.zeros((8000, 8000), np.bool_)), "8000×8000 pixels are more than the 50,000,000 allowed"),
        (png(np.zeros((10_000, 10_000), np.bool_)), "decompression bomb"),
    ],
    ids=["no image", "cut", "16 bits", "large", "bomb"],
)
@pytest.mark.fault("an image that is damaged, of another kind than its name says, or too large")
def test_an_image_that_cannot_be_used_is_named(content, words):
    with pytest.raises(ValueError, match=f"holiday.png: .*({words})"):
        decode(content, (3, 8, 8), label="holiday.png")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_a_png_of_16_bits_per_channel_is_refused(mode):
    with pytest.raises(ValueError, match=r"dark\.png: has more than 8 bits per channel; allowed are 8"):
        decode(png_16_bits(mode, (9, 9)), (3, 8, 8), label="dark.png")


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_of_16_bits_per_channel_is_refused(planes, compression):
    shape, buffer = ((9, 9, 3) if planes == "contig" else (3, 9, 9)), io.BytesIO()
    options = {"photometric": "rgb", "planarconfig": planes, "compression": compression}
    tifffile.imwrite(buffer, np.full(shape, 200, np.uint16), **options)
    with pytest.raises(ValueError, match=r"dark\.tif: has more than 8 bits per channel; allowed are 8"):
        decode(buffer.getvalue(), (3, 8, 8), label="dark.tif")


@pytest.mark.parametrize("kind", ["P3", "P6"])
def test_a_ppm_of_16_bits_per_channel_is_refused(kind):
    pixels = b"1 2 3 " * 16 if kind == "P3" else bytes(96)
    with pytest.raises(ValueError, match=r"dark\.ppm: has more than 8 bits per channel; allowed are 8"):
        decode(f"{kind}\n4 4\n1023\n".encode() + pixels, (3, 8, 8), label="dark.ppm")


MODES = {"BMP": "RGB L P 1", "GIF": "RGB L P 1", "JPEG": "RGB L CMYK", "PNG": "RGB L P 1"}
MODES |= {"PPM": "RGB L 1", "TIFF": "RGB L P 1 CMYK", "WEBP": "RGB L P"}


@pytest.mark.parametrize(("name", "mode"), [(name, mode) for name, modes in MODES.items() for mode in modes.split()])
def test_images_of_8_bits_or_less_are_read_in_each_format(name, mode):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "white").convert(mode).save(buffer, name)
    assert decode(buffer.getvalue(), (3, 8, 8), label="x").unique().tolist() == [255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "RGB"])
def test_transparency_shows_a_white_background_whatever_colour_it_hides(mode):
    picture = Image.new("RGBA", (8, 8), (255, 0, 255, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 8, 4))  # upper half: opaque
    options = {"P": {"transparency": 1}, "RGB": {"transparency": (255, 0, 255)}}.get(mode, {})
    if mode == "P":
        picture = Image.frombytes("P", (8, 8), bytes(32) + bytes([1] * 32))
        picture.putpalette([0, 0, 0, 255, 0, 255])
    elif mode == "PA":
        options, picture = {}, picture.convert("PA")
    else:
        picture = picture.convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, "TIFF" if mode == "PA" else "PNG", **options)
    assert decode(buffer.getvalue(), (3, 8, 8), label="x")[:, :, 0].tolist() == [[0] * 4 + [255] * 4] * 3


def test_half_transparent_pixels_are_mixed_with_white():
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 51)).save(buffer, "PNG")
    assert decode(buffer.getvalue(), (3, 8, 8), label="x").unique().tolist() == [204]


PROGRAM = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


@pytest.mark.fault("an image file that contains a program (PostScript)")
def test_postscript_in_an_image_file_is_not_run(tmp_path, monkeypatch):
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    source = album(tmp_path / "album", 60)
    (tmp_path / "album" / "cats" / "x.png").write_bytes(PROGRAM)
    with pytest.raises(ValueError, match=r"cats/x\.png: is not a readable image; allowed formats: BMP, GIF"):
        data.load("folder", source)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(OSError), Image.open(io.BytesIO(PROGRAM)) as image:
        image.load()
    assert (tmp_path / "ran").exists(), "the program would have run"


def test_pillow_is_told_which_formats_it_may_open_everywhere():
    calls = [
        (path.name, node)
        for path in Path(data.__file__).parents[1].rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Image.open", "imread"))
    ]
    assert {"decoding.py", "pictures.py"} <= {name for name, _ in calls}
    assert [name for name, call in calls if "formats" not in [key.arg for key in call.keywords]] == []


IGNORED = (
    ".ipynb_checkpoints",
    ".git",
    "__MACOSX",
    "@eaDir",
    "lost+found",
    "$RECYCLE.BIN",
    "System Volume Information",
)


@pytest.mark.parametrize("name", IGNORED)
def test_hidden_folders_and_those_of_operating_systems_are_no_images_and_no_class(tmp_path, name):
    source = album(tmp_path, 60)
    before = data.load("folder", source)
    for place in (tmp_path / name, tmp_path / "cats" / name):
        place.mkdir()
        for image in (tmp_path / "cats").glob("*.png"):
            shutil.copy(image, place / f"{image.stem}-checkpoint.png")
    assert describe("folder", source).classes == 2
    after = data.load("folder", source)
    assert torch.equal(after.test.images, before.test.images)
    assert torch.equal(after.train.images, before.train.images)
    assert torch.equal(after.train.labels, before.train.labels)
    assert after.files == before.files


def test_the_docs_say_which_images_are_read_and_what_is_ignored():
    page = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    section = page[page.index("## Your own images") :]
    assert all(f"`{name}`" in section.casefold() for name in SYSTEM_NAMES)
    assert set(re.findall(r"\.[a-z]{3,4}\b", section)) >= set(FORMATS)
    assert f"At least {FEWEST['train']} training and {FEWEST['test']} test images are needed" in section


@pytest.mark.parametrize("name", [".hidden.png", "._cat.png"])
def test_hidden_images_are_not_read(tmp_path, name):
    source = album(tmp_path, 60)
    (tmp_path / name).write_bytes(b"a Mac's")
    assert len(data.load("folder", source).train.labels) > 0


def test_a_hidden_folder_can_be_the_source(tmp_path):
    assert len(data.load("folder", album(tmp_path / ".cache" / "album", 60)).train.labels) > 0


def test_a_linked_class_is_read_as_any_other(tmp_path):
    source = album(tmp_path / "album", 60)
    before = data.load("folder", source)
    (tmp_path / "album" / "dogs").rename(tmp_path / "elsewhere")
    (tmp_path / "album" / "dogs").symlink_to(tmp_path / "elsewhere")
    assert describe("folder", source).classes == 2
    after = data.load("folder", source)
    assert torch.equal(after.train.images, before.train.images)
    assert torch.equal(after.test.labels, before.test.labels)


@pytest.mark.parametrize("target", ["cats", "."])
def test_a_folder_that_a_link_leads_to_again_is_refused(tmp_path, target):
    source = album(tmp_path, 60)
    (tmp_path / "more").symlink_to(tmp_path / target)
    with pytest.raises(ValueError, match=r"leads to the same folder as .*; remove one, or the link"):
        data.look("folder", source)


@pytest.mark.parametrize("name", ["birds", "cats/x.png"])
def test_a_link_that_leads_nowhere_is_refused(tmp_path, name):
    source = album(tmp_path, 60)
    (tmp_path / name).symlink_to(tmp_path / "unmounted")
    with pytest.raises(ValueError, match=f"{name}: (is a link that leads nowhere|cannot be read)"):
        data.load("folder", source)


@pytest.mark.fault("a pipe or a device in a folder of images")
def test_what_is_no_regular_file_is_refused_before_it_is_opened(tmp_path):
    source = album(tmp_path, 60)
    os.mkfifo(tmp_path / "cats" / "f.png")
    with pytest.raises(ValueError, match=r"cats/f\.png: is not a regular file"):
        data.load("folder", source)
    (tmp_path / "cats" / "f.png").unlink()
    (tmp_path / "cats" / "f.png").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"cats/f\.png: is not a regular file"):
        data.load("folder", source)


def test_a_huge_image_file_is_refused_before_it_is_read(tmp_path):
    source = album(tmp_path, 60)
    with (tmp_path / "cats" / "huge.png").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match=r"huge\.png: has 1,099,511,627,776 bytes, more than the 536,870,912 allowed"):
        data.load("folder", source)


def test_names_of_images_need_not_be_utf_8(tmp_path):
    source = album(tmp_path, 60)
    shutil.copy(tmp_path / "cats" / "0.png", os.fsencode(tmp_path) + b"/cats/\xff.png")
    found = data.load("folder", source)
    assert len(found.train.images) + len(found.test.images) == 61


def test_copies_of_training_images_in_the_test_split_are_pointed_out(tmp_path, caplog):
    source = album(tmp_path, 60)
    data.load("folder", source)
    assert not caplog.records
    for i in range(60):
        shutil.copy(tmp_path / "cats" / "0.png", tmp_path / "dogs" / f"copy {i}.png")
    data.load("folder", source)
    assert "1 of the test images are copies of training images" in caplog.text


def splits_of(n_train, n_test):
    """Names of images of which as many fall to each split."""
    train, test, i = [], [], 0
    while len(train) < n_train or len(test) < n_test:
        name = f"{i}.png"
        chosen = test if int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") < 2**64 / 10 else train
        if len(chosen) < (n_test if chosen is test else n_train):
            chosen.append(name)
        i += 1
    return train + test


@pytest.mark.parametrize(("n_train", "n_test"), [(0, 0), (3, 2), (4, 1), (100, 1), (0, 5)])
def test_too_few_images_are_refused_by_the_check_and_before_one_is_read(tmp_path, n_train, n_test):
    for name in splits_of(n_train, n_test):
        (tmp_path / name).write_bytes(b"not looked at")
    source = Source(path=str(tmp_path), size=8)
    for refused in (data.look, data.load):
        words = f"found {n_train} training and {n_test} test images; needs at least 4 and 2"
        with pytest.raises(ValueError, match=rf"source\.path: .*{words}"):
            refused("folder", source)


def test_the_fewest_images_suffice_for_every_measure(tmp_path):
    for i, name in enumerate(splits_of(4, 2)):
        (tmp_path / f"{name}").write_bytes(png(pictures(1, i)[0][0].transpose(1, 2, 0)))
    found = data.load("folder", Source(path=str(tmp_path), size=8))
    assert (len(found.train.images), len(found.test.images)) == (4, 2)
    rows = found.train.images.flatten(1).float()
    centred = rows - rows.mean(0)
    reference = Reference(
        lambda images: images.flatten(1).float(), "pixels", "", 4, rows, rows.double().mean(0),
        (centred.T @ centred).double() / 3, {},
    )  # fmt: skip
    generated = torch.randint(256, (8, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    estimates = list(fidelity(generated, reference, resamples=10, seed=0).values())
    estimates += [Estimate(*mean_interval(values), 2) for values in style(found.test.images, 256).values()]
    for estimate in estimates:
        assert math.isfinite(estimate.low)
        assert math.isfinite(estimate.high)


def test_a_data_set_with_too_few_images_is_refused_whatever_its_kind(here):
    one = cifar_records(*pictures(1, 0))
    members = {name: one for name in cifar()[0]}
    with pytest.raises(ValueError, match="data set 'cifar10': found 5 training and 1 test images; needs at least 4"):
        data.load("cifar10", placed(here, {CIFAR10: tar(members, "w:gz")}))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere", "nowhere: cannot be read as a folder (No such file or directory)"),
        ("file", "file: cannot be read as a folder (Not a directory)"),
        ("x" * 300, "xxx: cannot be read as a folder (File name too long)"),
        ("loop", "loop: cannot be read as a folder (Too many levels of symbolic links)"),
    ],
)
def test_a_path_that_is_no_folder_is_named_with_its_key(here, path, words):
    (here / "file").touch()
    (here / "loop").symlink_to(here / "loop")
    source = Source(path=path, size=8)
    assert describe("folder", source).classes is None
    for refused in (data.look, data.load):
        with pytest.raises(ValueError, match=rf"source\.path: {re.escape(str(here))}.*{re.escape(words)}"):
            refused("folder", source)


def test_a_folder_that_may_not_be_read_is_named_and_not_left_out(tmp_path, monkeypatch):
    source = album(tmp_path, 60)
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "dogs":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for refused in (describe, data.look, data.load):
        with pytest.raises(ValueError, match=r"source\.path: .*dogs: cannot be read as a folder \(Permission denied\)"):
            refused("folder", source)


# ---- sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("digits", {"path": "x"}, "source.path: does not fit digits, which is built in"),
        ("colour_digits", {"size": 8}, "source.size: does not fit colour_digits, which is built in"),
        ("photos", {}, "source.size: missing; photos needs it"),
        ("photos", {"size": 64}, "source.size: found 64; photos has the sizes 4, 8, 16, 32"),
        ("photos", {"size": 16, "path": "x"}, "source.path: does not fit photos, which takes size"),
        ("cifar10", {"size": 64}, "source.size: does not fit cifar10, which takes path, mirrors, sha256"),
        ("folder", {"path": "x"}, "source.size: missing; folder needs it"),
        ("folder", {}, "source.path, source.size: missing"),
        ("folder", {"path": "x", "size": 8, "mirrors": ["y"]}, "source.mirrors: does not fit folder"),
        ("cifar10", {"sha256": {"cifar.tar": "0" * 64}}, f"cifar.tar: cifar10 has the files {CIFAR10}"),
    ],
)
def test_a_source_that_does_not_fit_is_refused(name, source, words):
    with pytest.raises(ValueError, match=words):
        data.load(name, Source(**source))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{path: x, colour: 3}", r"source.colour: (.|\n)*its keys are path, mirrors, sha256, size"),
        ("{mirrors: [ftp://x]}", "source.mirrors: .*ftp://x: allowed are http://"),
        ("{sha256: {a: 0}}", r"source.sha256.a: "),
        ("{sha256: {a: ABC}}", r"source.sha256.a: "),
        (
            "{path: ~nobody-here/x}",
            "source.path: .*the home folder ~nobody-here is unknown here; write the whole path",
        ),
        ("{mirrors: [~nobody-here]}", "source.mirrors: .*the home folder ~nobody-here is unknown here"),
        ('{path: "a\\0b"}', "source.path: .*a path cannot contain the character NUL"),
        ("{size: 32.5}", "source.size: "),
        ("{size: 0}", "source.size: .*greater than or equal to 4"),
        ("{size: [8]}", "source.size: "),
        ("{size: [8, 2]}", "source.size: .*greater than or equal to 4"),
        ("{channels: 2}", "source.channels: .*1 or 3"),
        ("[1", "source: is not YAML"),
        ("words", "source: "),
    ],
)
def test_a_mistake_in_a_source_is_named(text, words):
    with pytest.raises(ValueError, match=words):
        Source.parse(text)


def test_a_mirror_is_a_folder_or_an_address(here):
    (here / "shelf").mkdir()
    archive = tar(cifar()[0], "w:gz")
    trusted = {CIFAR10: sha256(archive)}
    placed(here / "shelf", {CIFAR10: archive})
    for mirror in ("shelf", f"shelf/{CIFAR10}", (here / "shelf").as_uri(), (here / "shelf").as_uri() + "/"):
        assert len(data.load("cifar10", Source(mirrors=(mirror,), sha256=trusted)).test.images) == 9
        (here / "data" / "downloads" / CIFAR10).unlink()


def test_files_of_data_are_named_after_what_changes_their_images():
    def name(data_set, **source):
        return data.file_name(data_set, Source(**source))

    assert name("digits") == "digits"
    assert name("cifar10", mirrors=["https://x"], path="y") == "cifar10"
    names = [
        name("cifar10"),
        name("cifar10", sha256={CIFAR10: "0" * 64}),
        name("folder", path="a", size=8),
        name("folder", path="a", size=16),
        name("folder", path="a", size=(8, 16)),
        name("folder", path="a", size=8, channels=1),
        name("folder", path="b", size=8),
    ]
    assert len(set(names)) == 7
    assert name("folder", size=(8, 8), channels=3, path="a") == name("folder", size=8, path="a") == names[2]


def test_the_command_writes_the_data_with_what_it_was_read_from(here, capsys):
    album(here / "album", 60)
    source = "{path: album, size: 16}"
    make.data(name="folder", source=source)
    path = here / capsys.readouterr().out.strip()
    assert path == here / "data" / f"{data.file_name('folder', Source.parse(source))}.safetensors"
    assert data.read(path).train.images.shape[1:] == data.describe("folder", Source.parse(source)).shape == (3, 16, 16)
    assert set(read_tensors(path)[1]["files"]) == {"folder"}
