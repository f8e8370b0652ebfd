"""As many voxels as the header describes, however they are stored; with more, nobody knows which are the image."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.files.reading import read_volume
from test_damaged_files import VOLUME

RAW, SLICES = VOLUME.tobytes(), [plane.tobytes() for plane in VOLUME]
SLICE = len(SLICES[0])
TEXT = " ".join(map(str, VOLUME.ravel())).encode() + b"\n"
NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 34 30 12
space directions: (0.8,0,0) (0,0.8,0) (0,0,3)
kinds: domain domain domain
endian: {endian}
encoding: {encoding}
space origin: (0,0,0)
"""
META = """ObjectType = Image
NDims = 3
BinaryData = {binary}
BinaryDataByteOrderMSB = {endian}
CompressedData = {compressed}
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 0 0 0
ElementSpacing = 0.8 0.8 3
DimSize = 34 30 12
ElementType = MET_SHORT
"""
BIG = VOLUME.astype(">i2").tobytes()


def nrrd(folder: Path, voxels: bytes, more: str = "", encoding: str = "raw", endian: str = "little") -> Path:
    path = folder / "a.nrrd"
    path.write_bytes((NRRD.format(encoding=encoding, endian=endian) + more + "\n").encode() + voxels)
    return path


def nhdr(folder: Path, parts: list[bytes], where: str, more: str = "", encoding: str = "raw") -> Path:
    """The n-th of ``parts`` in a file ``n.raw``."""
    for number, part in enumerate(parts):
        (folder / f"{number}.raw").write_bytes(part)
    (folder / "a.nhdr").write_text(NRRD.format(encoding=encoding, endian="little") + more + f"data file: {where}\n")
    return folder / "a.nhdr"


def meta(folder: Path, voxels: bytes, more: str = "", where: str = "LOCAL", **options: str) -> Path:
    values = {"binary": "True", "endian": "False", "compressed": "False"} | options
    path = folder / ("a.mha" if where == "LOCAL" else "a.mhd")
    path.write_bytes((META.format(**values) + more + f"ElementDataFile = {where}\n").encode() + voxels)
    return path


def mhd(folder: Path, parts: list[bytes], where: str, more: str = "", **options: str) -> Path:
    for number, part in enumerate(parts):
        (folder / f"{number}.raw").write_bytes(part)
    return meta(folder, b"", more, where, **options)


LIST = "LIST\n" + "\n".join(f"{number}.raw" for number in range(12))
PACKED = [zlib.compress(plane) for plane in SLICES]
WHOLE: dict[str, Callable[[Path], Path]] = {
    "nrrd": lambda folder: nrrd(folder, RAW),
    "nrrd, high byte first": lambda folder: nrrd(folder, BIG, endian="big"),
    "nrrd gzip, high byte first": lambda folder: nrrd(folder, gzip.compress(BIG), encoding="gzip", endian="big"),
    "nrrd, bytes to skip": lambda folder: nrrd(folder, b"12345" + RAW, "byte skip: 5\n"),
    "nrrd, all before the voxels to skip": lambda folder: nrrd(folder, b"12345" + RAW, "byte skip: -1\n"),
    "nrrd, lines to skip": lambda folder: nrrd(folder, b"one\ntwo\n" + RAW, "line skip: 2\n"),
    "nrrd gzip": lambda folder: nrrd(folder, gzip.compress(RAW), encoding="gz"),
    "nrrd gzip, padded": lambda folder: nrrd(folder, gzip.compress(RAW) + bytes(512), encoding="gzip"),
    "nrrd gzip, two members": lambda folder: nrrd(
        folder, gzip.compress(RAW[:999]) + gzip.compress(RAW[999:]), encoding="gzip"
    ),
    "nrrd gzip, bytes to skip": lambda folder: nrrd(
        folder, gzip.compress(b"12345" + RAW), "byte skip: 5\n", encoding="gzip"
    ),
    "nrrd gzip, lines to skip": lambda folder: nrrd(folder, b"one\n" + gzip.compress(RAW), "line skip: 1\n", "gzip"),
    "nrrd text": lambda folder: nrrd(folder, TEXT, encoding="txt"),
    "nrrd hex": lambda folder: nrrd(folder, RAW.hex().encode(), encoding="hex"),
    "nrrd, a long header": lambda folder: nrrd(folder, RAW, f"note:={'x' * 200_000}\n"),
    "nhdr": lambda folder: nhdr(folder, [b"abc" + RAW], "0.raw", "byte skip: 3\n"),
    "nhdr gzip": lambda folder: nhdr(folder, [gzip.compress(RAW)], "0.raw", encoding="gzip"),
    "nhdr list": lambda folder: nhdr(folder, SLICES, LIST),
    "nhdr pattern": lambda folder: nhdr(folder, [gzip.compress(p) for p in SLICES], "%d.raw 0 11 1", encoding="gzip"),
    "meta": lambda folder: meta(folder, RAW),
    "meta, high byte first": lambda folder: meta(folder, BIG, endian="True"),
    "meta, a word of a field in another": lambda folder: meta(folder, RAW, "Comment = no ElementDataFile here\n"),
    "meta zlib": lambda folder: meta(folder, zlib.compress(BIG), compressed="True", endian="True"),
    "meta text": lambda folder: meta(folder, TEXT, binary="False"),
    "mhd, bytes to skip": lambda folder: mhd(folder, [b"12345" + RAW], "0.raw", "HeaderSize = 5\n"),
    "mhd, all before the voxels to skip": lambda folder: mhd(folder, [b"12345" + RAW], "0.raw", "HeaderSize = -1\n"),
    "mhd zlib, bytes to skip": lambda folder: mhd(
        folder, [b"12345" + zlib.compress(RAW)], "0.raw", "HeaderSize = 5\n", compressed="True"
    ),
    "mhd list": lambda folder: mhd(folder, SLICES, LIST),
    "mhd list of volumes": lambda folder: mhd(folder, [RAW], "LIST 3\n0.raw"),
    "mhd list zlib": lambda folder: mhd(folder, PACKED, LIST, compressed="True"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_what_has_as_many_voxels_as_its_header_says_is_read(kind, tmp_path):
    volume = read_volume(WHOLE[kind](tmp_path))
    np.testing.assert_array_equal(volume.array, VOLUME)
    np.testing.assert_allclose(volume.ijk_to_ras, np.diag([-0.8, -0.8, 3, 1]))
    assert volume.doubts == ()


MORE, LESS = "is longer than its header says: it describes", "is cut short: its header promises"
OTHERS = [*PACKED[:4], PACKED[4][:-1] + b"\0", *PACKED[5:]]
WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nrrd, a slice more": (lambda folder: nrrd(folder, RAW + RAW[:SLICE]), rf"a.nrrd' {MORE} 24,480 .* 26,520 are"),
    "nrrd, skipped too little": (lambda folder: nrrd(folder, b"12345" + RAW, "byte skip: 4\n"), f"a.nrrd' {MORE}"),
    "nrrd, lines to skip, short": (lambda folder: nrrd(folder, b"one\n" + RAW[:-5], "line skip: 1\n"), LESS),
    "nrrd gzip, a slice more": (
        lambda folder: nrrd(folder, gzip.compress(RAW + RAW[:SLICE]), encoding="gzip"),
        f"a.nrrd' {MORE}",
    ),
    "nrrd gzip, a slice less": (lambda folder: nrrd(folder, gzip.compress(RAW[SLICE:]), encoding="gzip"), LESS),
    "nrrd gzip, something behind": (
        lambda folder: nrrd(folder, gzip.compress(RAW) + b"abc", encoding="gzip"),
        r"damaged \(3 bytes follow the end",
    ),
    "nrrd gzip, without its last bytes": (
        lambda folder: nrrd(folder, gzip.compress(RAW)[:-3], encoding="gzip"),
        "is cut short",
    ),
    "nrrd gzip, a wrong length": (
        lambda folder: nrrd(folder, gzip.compress(RAW)[:-4] + bytes(4), encoding="gzip"),
        "damaged",
    ),
    "nrrd gzip, the second member cut": (
        lambda folder: nrrd(folder, gzip.compress(RAW) + gzip.compress(RAW)[:-3], encoding="gzip"),
        "is cut short",
    ),
    "nrrd text, more": (lambda folder: nrrd(folder, TEXT + b"5 6", encoding="text"), "12,240 values, 12,242 are"),
    "nrrd text, less": (lambda folder: nrrd(folder, TEXT[:900], encoding="text"), "describes 12,240 values"),
    "nrrd hex, more": (lambda folder: nrrd(folder, RAW.hex().encode() + b"00ff", encoding="hex"), MORE),
    "nhdr, more": (lambda folder: nhdr(folder, [RAW + b"0"], "0.raw"), f"0.raw' {MORE}"),
    "nhdr, less": (lambda folder: nhdr(folder, [RAW[1:]], "0.raw"), f"0.raw' {LESS}"),
    "nhdr, nothing": (lambda folder: nhdr(folder, [], "0.raw"), "in '0.raw', which is not beside it"),
    "nhdr list, one longer": (
        lambda folder: nhdr(folder, [*SLICES[:4], SLICES[4] + b"12", *SLICES[5:]], LIST),
        f"4.raw' {MORE} 2,040",
    ),
    "nhdr list, one less": (lambda folder: nhdr(folder, SLICES, LIST[:-7]), "cannot be in 11 files"),
    "meta, a slice more": (lambda folder: meta(folder, RAW + RAW[:SLICE]), f"a.mha' {MORE}"),
    "meta, one byte more": (lambda folder: meta(folder, RAW + b"\n"), "24,481 are there"),
    "meta zlib, a slice more": (
        lambda folder: meta(folder, zlib.compress(RAW + RAW[:SLICE]), compressed="True"),
        f"a.mha' {MORE}",
    ),
    "meta zlib, something behind": (
        lambda folder: meta(folder, zlib.compress(RAW) + b"abc", compressed="True"),
        "3 bytes follow",
    ),
    "meta text, more": (lambda folder: meta(folder, TEXT + b"5", binary="False"), "12,240 values, 12,241 are"),
    "mhd, not told to skip": (lambda folder: mhd(folder, [b"12345" + RAW], "0.raw"), f"0.raw' {MORE}"),
    "mhd list, one longer": (
        lambda folder: mhd(folder, [*SLICES[:4], SLICES[4] + b"12", *SLICES[5:]], LIST),
        f"4.raw' {MORE} 2,040",
    ),
    "mhd list, one file less": (lambda folder: mhd(folder, SLICES, LIST[:-7]), "11 files for the voxels of 12"),
    "mhd list, one file more": (lambda folder: mhd(folder, SLICES, LIST + "\n0.raw"), "13 files for the voxels of 12"),
    "mhd list zlib, a wrong checksum": (
        lambda folder: mhd(folder, OTHERS, LIST, compressed="True"),
        r"4.raw' is cut short or damaged",
    ),
    "mhd, a pattern of everything": (lambda folder: mhd(folder, [], "%d.raw 0 1999999999 1"), "2,000,000,000 files"),
    "mhd, another number of sizes": (
        lambda folder: meta(folder, RAW, "NDims = 2\n"),
        "NDims is 2, DimSize has 3 numbers",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_has_more_or_fewer_voxels_is_refused(kind, tmp_path, capfd):
    write, told = WRONG[kind]
    path = write(tmp_path)
    with pytest.raises(InputError, match=told):
        read_volume(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr"])
def test_a_nifti_with_more_voxels_than_it_describes_is_refused(name, tmp_path):
    """As one whose number of slices was changed by hand, or of which the second file is that of another image."""
    kind = nibabel.Nifti1Pair if name == "a.hdr" else nibabel.Nifti1Image
    nibabel.save(kind(VOLUME.T, np.diag([-0.8, -0.8, 3, 1])), tmp_path / name)
    path = tmp_path / ("a.img" if name == "a.hdr" else name)
    content = path.read_bytes()
    content = gzip.decompress(content) if name.endswith(".gz") else content
    content += RAW[:SLICE]
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(InputError, match=rf"{path.name}' {MORE} 24,480 bytes of voxels, 26,520 are there"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("colours", [(4, 6, 9), (3, 3, 3)])
@pytest.mark.parametrize("first", [True, False])
def test_the_colours_of_a_compressed_nrrd_may_be_its_first_axis_or_its_last(first, colours, tmp_path):
    voxels = np.random.default_rng(0).integers(0, 255, (*colours, 3)).astype(np.uint8)
    stored = voxels if first else np.moveaxis(voxels, 3, 0)
    sizes, axes, kinds = [str(n) for n in colours[::-1]], ["(1,0,0)", "(0,1,0)", "(0,0,1)"], ["domain"] * 3
    for words, word in ((sizes, "3"), (axes, "none"), (kinds, "vector")):
        words.insert(0 if first else 3, word)
    header = f"sizes: {' '.join(sizes)}\nspace directions: {' '.join(axes)}\nkinds: {' '.join(kinds)}\n"
    fixed = "NRRD0004\ntype: uchar\ndimension: 4\nspace: left-posterior-superior\nencoding: gzip\n"
    path = tmp_path / "a.nrrd"
    path.write_bytes((fixed + header + "\n").encode() + gzip.compress(stored.tobytes()))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, voxels)
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


def test_values_that_are_to_be_scaled_and_axes_that_are_longer_than_one_are_doubted(tmp_path):
    """ITK scales no values of a MetaImage, and multiplies the two sizes that such a file gives its voxels."""
    path = meta(tmp_path, RAW, "ElementToIntensityFunctionSlope = 2\nElementToIntensityFunctionOffset = -1024\n")
    assert "are to be multiplied and shifted" in read_volume(path).doubts[0]
    path.write_bytes(path.read_bytes().replace(b"Slope = 2", b"Slope = 1").replace(b"-1024", b"0"))
    assert read_volume(path).doubts == ()
    path.write_bytes(path.read_bytes().replace(b"1 0 0 0 1 0 0 0 1", b"2 0 0 0 2 0 0 0 2"))
    assert "two sizes, by ElementSpacing and by axes of length 2, 2, 2" in read_volume(path).doubts[0]
