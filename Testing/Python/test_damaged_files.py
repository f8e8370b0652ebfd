"""What is not whole is refused, with the file's name and what is wrong with it, whatever the format."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from dicom_studies import a_photograph
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.files.reading import read_volume
from small_checkpoint import write_checkpoint

RANDOM = np.random.default_rng(0)
VOLUME = RANDOM.integers(-1000, 1000, (12, 30, 34)).astype(np.int16)
PICTURE = RANDOM.integers(0, 255, (60, 80, 3)).astype(np.uint8)


def an_itk_image() -> sitk.Image:
    image = sitk.GetImageFromArray(VOLUME)
    image.SetSpacing((0.8, 0.8, 3.0))
    return image


SAVED = {
    "a.tif": {"compression": "tiff_lzw"},
    "deflate.tif": {"compression": "tiff_deflate"},
    "raw.tif": {},
    "pages.tif": {"save_all": True, "append_images": [Image.fromarray(PICTURE)] * 2},
    "progressive.jpg": {"progressive": True},
    "a.mpo.jpg": {"format": "MPO", "save_all": True, "append_images": [Image.fromarray(PICTURE[::2, ::2])]},
}
"""Names of pictures that are saved in a way of their own."""


def write(path: Path) -> Path:
    """A whole file of the kind that the name says; ``-z`` in the name asks for compression."""
    if path.suffix in (".png", ".jpg", ".bmp", ".tif"):
        Image.fromarray(PICTURE).save(path, **SAVED.get(path.name, {}))
    elif path.suffix == ".dcm":
        image = sitk.GetImageFromArray(VOLUME if path.name == "frames.dcm" else VOLUME[:1])
        image.SetMetaData("0008|0060", "CT")
        sitk.WriteImage(image, str(path))
        header = pydicom.dcmread(path)
        if path.name == "rle.dcm":
            header.compress(RLELossless)
        elif path.name == "deflated.dcm":
            header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        header.SliceThickness = 3
        header.save_as(path)
    elif path.suffix == ".hdr":
        nibabel.save(nibabel.Nifti1Pair(VOLUME.T, np.diag([-0.8, -0.8, 3, 1])), path)
    else:
        sitk.WriteImage(an_itk_image(), str(path), useCompression="-z" in path.name)
    return path


def with_voxels(path: Path) -> Path:
    """The file that holds the voxels of ``path``: itself, or another beside it."""
    others = [other for other in path.parent.glob(f"{path.stem}.*") if other != path]
    return others[0] if path.suffix in (".nhdr", ".mhd", ".hdr") else path


ATTACHED = ("a.nii", "a.nii.gz", "a.nrrd", "a-z.nrrd", "a.mha", "a-z.mha")
DETACHED = ("a.hdr", "a.nhdr", "a-z.nhdr", "a.mhd", "a-z.mhd")
PICTURES = ("a.png", "a.jpg", "progressive.jpg", "a.bmp", *(name for name in SAVED if name.endswith("tif")))
NAMES = (*ATTACHED, *DETACHED, *PICTURES, "a.dcm", "rle.dcm", "deflated.dcm", "frames.dcm")
CHECKED = ("a.nii.gz", "a-z.nrrd", "a-z.nhdr", "a-z.mha", "a-z.mhd", "a.png", "deflate.tif")
"""Formats with a checksum over their voxels."""


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_file_is_read(name, tmp_path):
    volume = read_volume(write(tmp_path / name))
    if name in (*ATTACHED, *DETACHED, "frames.dcm"):
        np.testing.assert_array_equal(volume.array, VOLUME)
    assert volume.array.size >= PICTURE.shape[0] * 17


@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_short_is_refused(name, share, tmp_path, capfd):
    path = write(tmp_path / name)
    cut = with_voxels(path)
    content = cut.read_bytes()
    cut.write_bytes(content[: int(share * len(content))])
    refused(path, "is cut short", capfd)


JPEGS = [(name, share) for name in ("a.jpg", "progressive.jpg") for share in (0.3, 0.5, 0.7, 0.98)]
JPEGS += [("a.mpo.jpg", 0.3), ("a.mpo.jpg", 0.5)]  # what follows is a small copy of the picture


def closed_again(content: bytes, share: float) -> bytes:
    """The first part of a JPEG with an end marker, as programs leave it that repair files."""
    return content[: int(share * len(content))] + b"\xff\xd9"


@pytest.mark.parametrize(("name", "share"), JPEGS)
def test_a_cut_picture_that_is_closed_again_is_refused(name, share, tmp_path, capfd):
    path = write(tmp_path / name)
    read_volume(path)
    path.write_bytes(closed_again(path.read_bytes(), share))
    refused(path, "is cut short or damaged", capfd)


@pytest.mark.parametrize(
    "options", [{"quality": 95}, {"subsampling": 0}, {"optimize": True}, {"restart_marker_rows": 1}]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_whole_jpegs_of_every_make_are_read(mode, options, tmp_path):
    pictures = (PICTURE, np.zeros_like(PICTURE), np.full_like(PICTURE, 255))
    for number, pixels in enumerate(pictures):
        path = tmp_path / f"{number}.jpg"
        Image.fromarray(pixels).convert(mode).save(path, **options)
        path.write_bytes(path.read_bytes() + b"what a phone writes behind the picture")
        assert read_volume(path).array.shape[1:3] == PICTURE.shape[:2]


def a_png_with_fewer_rows(path: Path, share: float) -> None:
    """Each of its checksums is right."""
    rows = b"".join(b"\0" + row.tobytes() for row in PICTURE)
    content = path.read_bytes()
    begin, end = content.index(b"IDAT") - 4, content.index(b"IEND") - 4
    data = b"IDAT" + zlib.compress(rows[: int(share * len(rows))])
    chunk = (len(data) - 4).to_bytes(4, "big") + data + zlib.crc32(data).to_bytes(4, "big")
    path.write_bytes(content[:begin] + chunk + content[end:])


@pytest.mark.parametrize("share", [0.3, 0.98])
def test_a_png_that_lacks_rows_is_refused_though_its_checksums_are_right(share, tmp_path, capfd):
    path = write(tmp_path / "a.png")
    a_png_with_fewer_rows(path, 1.0)
    np.testing.assert_array_equal(read_volume(path).array[0], PICTURE)
    a_png_with_fewer_rows(path, share)
    refused(path, "is cut short or damaged", capfd)


def test_a_mask_that_is_cut_and_closed_again_is_refused_too(tmp_path):
    from MedSegAttentionTraining.data.cases import read_case, read_folder

    for sub in ("images", "masks"):
        (tmp_path / "data" / sub).mkdir(parents=True)
        Image.fromarray(np.where(PICTURE > 128, 255, 0).astype(np.uint8)).convert("L").save(
            tmp_path / "data" / sub / "a.jpg"
        )
    (tmp_path / "data" / "dataset.json").write_text('{"labels": {"polyp": 255}}')
    mask = tmp_path / "data" / "masks" / "a.jpg"
    mask.write_bytes(closed_again(mask.read_bytes(), 0.6))
    data = read_folder(tmp_path / "data")
    with pytest.raises(InputError, match=r"masks/a.jpg' is cut short or damaged \(its data end"):
        read_case(data, data.cases[0], ["polyp"])


@pytest.mark.parametrize("share", [None, 0.6])
def test_a_jpeg_in_a_dicom_file_is_whole_or_refused(share, tmp_path):
    content = write(tmp_path / "a.jpg").read_bytes()
    path = a_photograph(tmp_path / "photo.dcm", PICTURE)
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID, header.PhotometricInterpretation = JPEGBaseline8Bit, "YBR_FULL_422"
    header.PixelData = encapsulate([content if share is None else closed_again(content, share)])
    header["PixelData"].is_undefined_length = True
    header.save_as(path)
    if share is None:
        assert read_volume(path).array.shape == (1, *PICTURE.shape)
        return
    with pytest.raises(InputError, match=r"photo.dcm' is cut short or damaged \(frame 1: its data end"):
        read_volume(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.png", "a.jpg", "a.tif", "a.dcm"])
def test_an_empty_file_is_said_to_be_empty(name, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=rf"{name}' is empty: it has 0 bytes. Copy or download it again"):
        read_volume(tmp_path / name)


def test_an_empty_file_among_slices_and_an_empty_file_of_voxels_are_named(tmp_path):
    files = a_series(tmp_path / "series")
    files[2].write_bytes(b"")
    with pytest.raises(InputError, match=r"2.dcm' is empty: it has 0 bytes"):
        read_volume(tmp_path / "series")
    path = write(tmp_path / "a.hdr")
    with_voxels(path).write_bytes(b"")
    with pytest.raises(InputError, match=r"a.img' is empty: it has 0 bytes"):
        read_volume(path)


def refused(path: Path, told: str, capfd: pytest.CaptureFixture) -> None:
    """With the name of the file, or of the one with its voxels, and without a word of a library beside it."""
    capfd.readouterr()
    with pytest.raises(InputError, match=rf"{path.stem}\.[a-z.]+' {told}") as caught:
        read_volume(path)
    assert "0x" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


ENDINGS = {"a-z.nrrd": 5, "a-z.nhdr": 5, "rle.dcm": 8, "deflated.dcm": 8, "pages.tif": 12}
"""Bytes that may lack where nothing but a length or a mark follows the voxels and their checksum."""


@pytest.mark.parametrize("more", [0, 1, 7])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_without_its_last_bytes_is_refused(name, more, tmp_path, capfd):
    path = write(tmp_path / name)
    cut = with_voxels(path)
    cut.write_bytes(cut.read_bytes()[: -ENDINGS.get(name, 1) - more])
    refused(path, "is cut short", capfd)


@pytest.mark.parametrize("place", [0.4, 0.9])
@pytest.mark.parametrize("name", CHECKED)
def test_a_changed_byte_is_noticed_where_there_is_a_checksum(name, place, tmp_path, capfd):
    path = write(tmp_path / name)
    changed = with_voxels(path)
    content = bytearray(changed.read_bytes())
    content[int(place * len(content))] ^= 0x10
    changed.write_bytes(content)
    refused(path, "is cut short or damaged", capfd)


def test_a_wrong_checksum_alone_is_noticed(tmp_path):
    path = write(tmp_path / "a.nii.gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="CRC"):
        read_volume(path)


def test_a_header_whose_voxels_are_elsewhere_or_nowhere(tmp_path):
    sitk.WriteImage(an_itk_image(), str(tmp_path / "a.mhd"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mhd").array, VOLUME)
    raw = tmp_path / "a.raw"
    raw.write_bytes(raw.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"a.raw' is cut short: its header promises 24,480 bytes.*24,380 are there"):
        read_volume(tmp_path / "a.mhd")
    raw.unlink()
    with pytest.raises(InputError, match=r"in 'a.raw', which is not beside it"):
        read_volume(tmp_path / "a.mhd")


def a_series(folder: Path, count: int = 6) -> list[Path]:
    """A CT series of one file a slice."""
    folder.mkdir()
    files = []
    for number in range(count):
        image = sitk.GetImageFromArray(VOLUME[number : number + 1])
        path = folder / f"{number}.dcm"
        sitk.WriteImage(image, str(path))
        header = pydicom.dcmread(path)
        header.Modality, header.SeriesInstanceUID, header.StudyInstanceUID = "CT", "1.2.3", "1.2"
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        header.ImagePositionPatient, header.ImageOrientationPatient = [0, 0, 3 * number], [1, 0, 0, 0, 1, 0]
        header.PixelSpacing, header.SliceThickness = [0.8, 0.8], 3
        header.save_as(path)
        files.append(path)
    return files


@pytest.mark.parametrize("number", [0, 3, 5])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_a_series_with_a_broken_slice_is_refused_whichever_it_is(number, share, tmp_path):
    files = a_series(tmp_path / "series")
    np.testing.assert_array_equal(read_volume(tmp_path / "series").array, VOLUME[:6])
    content = files[number].read_bytes()
    files[number].write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=rf"{number}.dcm' is cut short"):
        read_volume(tmp_path / "series")


def test_masks_are_read_by_the_same_rule(tmp_path):
    from MedSegAttentionTraining.data.cases import read_case, read_folder

    for sub, array in (("images", VOLUME), ("labels", (VOLUME > 0).astype(np.uint8))):
        (tmp_path / "data" / sub).mkdir(parents=True)
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "data" / sub / "a.nii.gz"))
    (tmp_path / "data" / "dataset.json").write_text('{"labels": {"liver": 1}}')
    mask = tmp_path / "data" / "labels" / "a.nii.gz"
    mask.write_bytes(mask.read_bytes()[:-200])
    data = read_folder(tmp_path / "data")
    with pytest.raises(InputError, match=r"labels/a.nii.gz' is cut short"):
        read_case(data, data.cases[0], ["liver"])


def test_segment_refuses_with_one_line_and_leaves_nothing(tmp_path, capsys):
    path = write(tmp_path / "half.nii.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:9000]))
    folder = write_checkpoint(tmp_path / "checkpoint")
    assert main(["segment", str(path), "--checkpoint", str(folder), "--output", str(tmp_path / "out")]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "half.nii.gz' is cut short: its header promises 24,480 bytes of voxels, 8,648 are there." in lines[0]
    assert not (tmp_path / "out").exists()


def test_what_nibabel_writes_is_read_alike(tmp_path):
    """Types, scales, colours and axes of another program's files."""
    affine = np.array([[-2.0, 0, 0, 10], [0, 3, 0, -20], [0, 0, 4, 5], [0, 0, 0, 1]])
    for kind in (np.uint8, np.int16, np.int32, np.float32, np.float64, ">i2"):
        nibabel.save(nibabel.Nifti1Image(np.abs(VOLUME[:3]).astype(kind).T % 200, affine), tmp_path / "b.nii")
        volume = read_volume(tmp_path / "b.nii")
        np.testing.assert_array_equal(volume.array, np.abs(VOLUME[:3]).astype(kind) % 200)
        np.testing.assert_allclose(volume.ijk_to_ras, affine)
        assert volume.doubts == volume.notes == ()
    scaled = nibabel.Nifti1Image(VOLUME.T, affine)
    scaled.header.set_slope_inter(0.5, 7)
    nibabel.save(scaled, tmp_path / "scaled.nii.gz")
    stored = nibabel.load(tmp_path / "scaled.nii.gz").get_fdata().T
    np.testing.assert_allclose(read_volume(tmp_path / "scaled.nii.gz").array, stored, rtol=1e-6)
    rgb = np.zeros((5, 4, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["G"] = 9
    nibabel.save(nibabel.Nifti1Image(rgb, affine), tmp_path / "rgb.nii")
    assert read_volume(tmp_path / "rgb.nii").array.shape == (2, 4, 5, 3)
    nibabel.save(nibabel.Nifti2Image(VOLUME.T, affine), tmp_path / "two.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "two.nii").array, VOLUME)
