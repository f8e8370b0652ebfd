"""What a DICOM series leaves open about its values or says differently from slice to slice; and how it stores them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from conftest import geometry
from dicom_studies import a_study_series, change
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.files.reading import read_volume

RANDOM = np.random.default_rng(0)
VOLUME = np.cumsum(RANDOM.integers(-9, 10, (6, 30, 34)), 2).astype(np.int16)
CHANGED = 2
"""The slice that is changed where one is."""


def series(folder: Path, only: int | None = None, array: np.ndarray = VOLUME, modality: str = "CT", **values) -> Path:
    """A series of which all slices, or one, have these elements."""
    files = a_study_series(folder / "series", array, geometry("plain"), modality)
    for number, path in enumerate(files):
        if only in (None, number):
            change(path, **values)
    return folder / "series"


def test_a_ct_with_all_that_it_needs_is_not_doubted(tmp_path):
    volume = read_volume(series(tmp_path, BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(volume.array, VOLUME)
    assert volume.doubts == volume.notes == ()


@pytest.mark.parametrize("slope", [None, "", 0])
@pytest.mark.parametrize(("only", "count"), [(None, 6), (CHANGED, 1)])
def test_a_ct_that_does_not_say_how_its_values_become_hounsfield_units_is_doubted(slope, only, count, tmp_path):
    (doubt,) = read_volume(series(tmp_path, only, RescaleSlope=slope)).doubts
    assert f"{count} of 6 slices of folder '{tmp_path / 'series'}' do not say how their values become Houns" in doubt


def test_an_mr_needs_no_scale(tmp_path):
    assert read_volume(series(tmp_path, modality="MR", RescaleSlope=None, RescaleIntercept=None)).doubts == ()


def test_a_ct_stored_the_other_way_round_is_doubted(tmp_path):
    """ITK, and Slicer with it, turns the values as they are stored, which makes other units of Hounsfield units."""
    volume = read_volume(series(tmp_path, PhotometricInterpretation="MONOCHROME1"))
    assert not np.array_equal(volume.array, VOLUME)
    assert "(PhotometricInterpretation MONOCHROME1)" in volume.doubts[0]
    assert "they are no Hounsfield units" in volume.doubts[0]


@pytest.mark.parametrize(
    "values",
    [
        {"PatientID": "another"},
        {"FrameOfReferenceUID": "1.2.3.4"},
        {"Modality": "MR"},
        {"PixelRepresentation": 0},
    ],
    ids=str,
)
def test_slices_that_differ_where_those_of_one_volume_do_not_are_doubted(values, tmp_path):
    doubts = read_volume(series(tmp_path, CHANGED, **values)).doubts
    (name,) = values
    assert any(f"differ in {name}; those of one volume have it in common" in doubt for doubt in doubts)
    assert not any("another" in doubt for doubt in doubts)  # who it is does not matter


def test_values_beyond_the_bits_that_a_header_says_are_doubted(tmp_path):
    large = VOLUME.copy()
    large[CHANGED, 3, 4] = 2048
    folder = series(tmp_path, array=large, BitsStored=12, HighBit=11)
    doubts = read_volume(folder).doubts
    assert doubts
    assert "has values of more than the 12 bits that it says (BitsStored); they are cut" in doubts[0]
    for path in folder.iterdir():
        change(path, BitsStored=13, HighBit=12)
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array, large)
    assert volume.doubts == ()


@pytest.mark.parametrize(("filling", "doubted"), [(-2000, False), (2000, True)])
def test_a_filling_that_looks_like_tissue_is_doubted(filling, doubted, tmp_path):
    filled = VOLUME.copy()
    filled[:, :4] = filling
    folder = series(tmp_path, array=filled)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.add_new("PixelPaddingValue", "SS", filling)
        dataset.save_as(path)
    doubts = read_volume(folder).doubts
    assert doubts == () if not doubted else "is filled with 2000 HU around what was scanned" in doubts[0]
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PixelPaddingValue = 1999  # none of the voxels has it
        dataset.save_as(path)
    assert read_volume(folder).doubts == ()


def test_the_places_of_missing_slices_are_named(tmp_path):
    folder = series(tmp_path)
    lost = [path for path in folder.iterdir() if path.stem.endswith(("-2", "-4"))]
    places = [
        pydicom.dcmread(path).ImagePositionPatient for path in folder.iterdir() if path.stem.endswith(("-1", "-3"))
    ]
    for path in lost:
        path.unlink()
    with pytest.raises(InputError) as caught:
        read_volume(folder)
    for place in places:
        assert "(" + ", ".join(f"{value:g}" for value in place) + ")" in str(caught.value)
    assert "Slices may be missing after (" in str(caught.value)


@pytest.mark.parametrize("differs", [False, True], ids=["a copy under another UID", "another image"])
def test_a_slice_that_is_there_twice_is_named_by_its_place(differs, tmp_path):
    folder = series(tmp_path)
    path = next(path for path in folder.iterdir() if path.stem.endswith("-3"))
    dataset = pydicom.dcmread(path)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.PixelData = (VOLUME[3] + differs).tobytes()
    dataset.save_as(folder / "twice.dcm")
    place = ", ".join(f"{value:g}" for value in dataset.ImagePositionPatient)
    with pytest.raises(InputError) as caught:
        read_volume(folder)
    assert "7 slices at 6 places" in str(caught.value)
    assert f"or a slice twice, as at ({place})" in str(caught.value)


def test_rows_and_columns_of_one_direction_are_no_place(tmp_path):
    with pytest.raises(InputError, match="6 do not say where they lie"):
        read_volume(series(tmp_path, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]))


def test_a_header_without_the_sign_of_its_values_is_damaged(tmp_path):
    with pytest.raises(InputError, match=r"does not say whether values have a sign \(PixelRepresentation\)"):
        read_volume(series(tmp_path, CHANGED, PixelRepresentation=None))


# --- in which form voxels are stored


def a_compressor(uid: str) -> Callable[[np.ndarray, Path], bytes]:
    """What makes a frame of a slice."""

    def by_itk(plane: np.ndarray, path: Path) -> bytes:
        image = sitk.GetImageFromArray(plane[None])
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(path))
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG" if uid == JPEGLosslessSV1 else "JPEG2000")
        writer.Execute(image)
        dataset = pydicom.dcmread(path)
        assert dataset.file_meta.TransferSyntaxUID == uid
        return next(generate_frames(dataset.PixelData, number_of_frames=1)).rstrip(b"\0")

    def by_pydicom(plane: np.ndarray, path: Path) -> bytes:
        (file,) = a_study_series(path.with_suffix(""), plane[None], geometry("plain"))
        dataset = pydicom.dcmread(file)
        dataset.compress(uid)
        return next(generate_frames(dataset.PixelData, number_of_frames=1))

    return by_pydicom if uid == RLELossless else by_itk


def compressed(folder: Path, uid: str, share: float = 1.0, end: bytes = b"") -> Path:
    """A series in a compressed form, of which a slice may be cut."""
    encode = a_compressor(uid)
    files = a_study_series(folder / "series", VOLUME, geometry("plain"), "CT")
    for number, path in enumerate(files):
        dataset = pydicom.dcmread(path)
        frame = encode(VOLUME[number], folder / "one.dcm")
        if number == CHANGED and share < 1:
            frame = frame[: int(share * len(frame))] + end
        dataset.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = uid
        dataset.save_as(path)
    return folder / "series"


FORMS = pytest.mark.parametrize(
    "uid", [JPEGLosslessSV1, JPEG2000Lossless, RLELossless], ids=["JPEG lossless", "JPEG 2000", "RLE"]
)


@FORMS
def test_a_series_compressed_without_loss_is_read(uid, tmp_path):
    volume = read_volume(compressed(tmp_path, uid))
    np.testing.assert_array_equal(volume.array, VOLUME)
    assert volume.doubts == ()


@FORMS
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["cut", "cut and closed again"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
def test_a_frame_that_is_cut_is_refused(uid, share, end, tmp_path, capfd):
    folder = compressed(tmp_path, uid, share, end)
    with pytest.raises(
        InputError, match=rf"-{CHANGED}.dcm' is cut short or damaged \((its voxels cannot|its data end)"
    ):
        read_volume(folder)
    assert capfd.readouterr() == ("", "")


def test_values_with_a_sign_that_a_header_denies_are_refused(tmp_path):
    folder = compressed(tmp_path, JPEG2000Lossless)
    for path in folder.iterdir():
        change(path, PixelRepresentation=0)
    with pytest.raises(InputError, match=r"its values have a sign, and its header says that they have none"):
        read_volume(folder)


def test_frames_of_another_size_than_their_header_says_are_refused(tmp_path):
    pytest.importorskip("jpeg_ls")
    folder = series(tmp_path)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.compress(JPEGLSLossless)
        dataset.save_as(path)
    np.testing.assert_array_equal(read_volume(folder).array, VOLUME)
    for path in folder.iterdir():
        change(path, Rows=15)
    with pytest.raises(InputError, match=r"its frames have 30 x 34 pixels, and its header says 15 x 34"):
        read_volume(folder)


@pytest.mark.parametrize(
    ("uid", "said"),
    [
        (b"1.2.3.4.5.6.7.8.9.1", r"TransferSyntaxUID: 1\.2\.3\.4\.5\.6\.7\.8\.9\.1\)"),
        (b"1.2.840.10008.1.2.9", r"TransferSyntaxUID: 1\.2\.840\.10008\.1\.2\.9\)"),
        (b"1.2.840.10008.1.20\0", r"TransferSyntaxUID: .*1\.2\.840\.10008\.1\.20"),
    ],
)
def test_a_form_that_nobody_knows_is_named(uid, said, tmp_path):
    folder = series(tmp_path)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", uid + b"\0", 1))
    with pytest.raises(InputError, match=rf"dcm' has its voxels in a form that is not read here \({said}"):
        read_volume(folder)


def test_a_film_in_a_dicom_file_is_named_as_what_it_is(tmp_path):
    folder = compressed(tmp_path, RLELossless)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
        dataset.save_as(path)
    with pytest.raises(InputError, match=r"not read here \(TransferSyntaxUID: MPEG2 Main Profile"):
        read_volume(folder)
