"""DICOM as archives and anonymisers leave it: nothing is dropped, doubled or rescaled wrongly without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ParametricMapStorage, RLELossless, VLEndoscopicImageStorage

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.files.cases import everything_in, sources_in
from MedSegAttentionLib.files.reading import read_volume
from test_damaged_files import VOLUME, a_series
from test_file_geometry import enhanced


def change(path: Path, to: Path | None = None, **values) -> Path:
    """Elements of a file set, or removed where the value is None."""
    header = pydicom.dcmread(path)
    for name, value in values.items():
        if value is None:
            delattr(header, name)
        else:
            setattr(header, name, value)
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.save_as(to or path)
    return to or path


def test_slices_that_share_one_uid_all_stay(tmp_path):
    """As of an anonymiser that gives all files the same."""
    for path in a_series(tmp_path / "series"):
        change(path, SOPInstanceUID="1.2.3.1")
    volume = read_volume(tmp_path / "series")
    np.testing.assert_array_equal(volume.array, VOLUME[:6])
    assert volume.spacing[2] == 3


def test_a_copy_with_another_header_is_a_copy(tmp_path):
    files = a_series(tmp_path / "series")
    change(files[2], tmp_path / "series" / "copy.dcm", PatientName="another^spelling of the same patient")
    np.testing.assert_array_equal(read_volume(tmp_path / "series").array, VOLUME[:6])
    change(files[2], tmp_path / "series" / "other.dcm", SOPInstanceUID="1.2.3.77")  # not the same by its UID
    with pytest.raises(InputError, match="7 slices at 6 places"):
        read_volume(tmp_path / "series")


@pytest.mark.parametrize("number", [0, 3, 5])
@pytest.mark.parametrize("content", [b"", b"x" * 500], ids=["empty", "other"])
def test_a_broken_file_among_some_named_by_their_uid_is_noticed(number, content, tmp_path):
    files = [path.rename(path.with_name(f"1.2.3.{path.stem}")) for path in a_series(tmp_path / "series")]
    (tmp_path / "series" / "notes.txt").write_text("of the technician")
    np.testing.assert_array_equal(read_volume(tmp_path / "series").array, VOLUME[:6])
    files[number].write_bytes(content)
    with pytest.raises(InputError, match=rf"1.2.3.{number}' is (cut short or damaged|empty)"):
        read_volume(tmp_path / "series")


def test_a_scout_in_a_series_of_its_own_and_maps_are_left_out(tmp_path):
    files = a_series(tmp_path / "series")
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
    change(files[0], tmp_path / "series" / "s.dcm", SeriesInstanceUID="1.2.9", SOPInstanceUID="1.2.9.1", **scout)
    change(files[0], tmp_path / "series" / "m.dcm", SeriesInstanceUID="1.2.8", SOPClassUID=ParametricMapStorage)
    np.testing.assert_array_equal(read_volume(tmp_path / "series").array, VOLUME[:6])
    assert len(sources_in(tmp_path / "series")) == 1
    for path in files:
        path.unlink()
    assert read_volume(tmp_path / "series").array.shape[0] == 1  # where nothing else is there, the scout is it


def test_one_slice_is_as_thick_as_it_says_and_doubted_where_it_does_not(tmp_path):
    (path,) = a_series(tmp_path / "series", 1)
    change(path, SliceThickness=5)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.spacing, (0.8, 0.8, 5))
    assert volume.doubts == ()
    for source in (change(path, SliceThickness=None), path.parent):
        volume = read_volume(source)
        assert volume.spacing[2] == 1
        assert "does not say how thick it is; 1 mm was taken" in volume.doubts[0]


def with_scales(path: Path, scales: list[tuple[float, float]]) -> Path:
    header = pydicom.dcmread(path)
    for frame, (slope, intercept) in zip(header.PerFrameFunctionalGroupsSequence, scales, strict=True):
        group = Dataset()
        group.RescaleSlope, group.RescaleIntercept, group.RescaleType = slope, intercept, "US"
        frame.PixelValueTransformationSequence = Sequence([group])
    header.save_as(path)
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "scales", [[(1, 0), (2, -7), (0.5, 3)], [(2.5, -100), (2.5, -100), (1, 0)], [(3, 5), (3, 5), (3, 5)]]
)
def test_each_frame_has_its_own_scale(scales, compressed, tmp_path):
    path = with_scales(enhanced(tmp_path / "a.dcm", [8, 0, 4]), scales)
    if compressed:
        header = pydicom.dcmread(path)
        header.compress(RLELossless)
        header.save_as(path)
    wanted = [(number + 1) * slope + intercept for number, (slope, intercept) in enumerate(scales)]
    found = read_volume(path).array
    assert [float(plane.mean()) for plane in found] == pytest.approx([wanted[1], wanted[2], wanted[0]])
    assert all(np.ptp(plane) == 0 for plane in found)


def test_slices_of_a_series_have_their_own_scale(tmp_path):
    for number, path in enumerate(a_series(tmp_path / "series")):
        change(path, RescaleSlope=1 + number / 2, RescaleIntercept=-10 * number)
    for number, plane in enumerate(read_volume(tmp_path / "series").array):
        np.testing.assert_allclose(plane, VOLUME[number] * (1 + number / 2) - 10 * number)


@pytest.mark.parametrize("count", [2, 4])
def test_frames_that_are_not_as_many_as_described_are_refused(count, tmp_path):
    path = change(enhanced(tmp_path / "a.dcm", [0, 4, 8]), NumberOfFrames=count)
    with pytest.raises(InputError, match=rf"describes 3 frames and has {count}"):
        read_volume(path)


@pytest.mark.parametrize("name", ["Rows", "Columns", "BitsAllocated"])
def test_a_header_without_the_size_of_its_voxels_is_damaged(name, tmp_path):
    path = change(a_series(tmp_path / "series", 1)[0], **{name: None})
    with pytest.raises(InputError, match=r"0.dcm' (is cut short or damaged|could not be read)"):
        read_volume(path)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("ImagePositionPatient", "NaN"),
        ("ImageOrientationPatient", "0"),
        ("PixelSpacing", "NaN"),
        ("PixelSpacing", "inf"),
        ("PixelSpacing", "0"),
    ],
)
def test_places_that_are_no_numbers_are_no_places(name, bad, tmp_path):
    files = a_series(tmp_path / "series")
    header = pydicom.dcmread(files[1])
    numbers = len(header[name].value)
    placeholder = ["1234567.25"] * numbers
    setattr(header, name, placeholder)
    header.save_as(files[1])
    content, text = files[1].read_bytes(), "\\".join(placeholder)
    assert content.count(text.encode()) == 1
    files[1].write_bytes(content.replace(text.encode(), "\\".join([bad] * numbers).ljust(len(text)).encode()))
    with pytest.raises(InputError, match=r"6 slices, of which 1 do not say where they lie"):
        read_volume(tmp_path / "series")


def test_rows_and_columns_off_a_right_angle_are_doubted(tmp_path):
    for path in a_series(tmp_path / "series"):
        change(path, ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0])
    assert "not at right angles (ImageOrientationPatient)" in read_volume(tmp_path / "series").doubts[0]


def test_slices_of_several_kinds_are_refused(tmp_path):
    files = a_series(tmp_path / "series")
    change(
        files[2],
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        PixelData=bytes(30 * 34 * 3),
    )
    with pytest.raises(InputError, match="slices of 2 kinds, some with colour"):
        read_volume(tmp_path / "series")


def test_colours_with_half_the_hues_are_whole(tmp_path):
    """YBR_FULL_422 without compression has two values a pixel, not three."""
    grey = np.add.outer(np.arange(60), np.arange(80)).astype(np.uint8)
    picture = np.stack([grey, grey[::-1], grey[:, ::-1]], -1)
    hues = np.asarray(Image.fromarray(picture).convert("YCbCr"))
    packed = np.stack([hues[:, 0::2, 0], hues[:, 1::2, 0], hues[:, 0::2, 1], hues[:, 0::2, 2]], -1)
    path = tmp_path / "a.dcm"
    sitk.WriteImage(sitk.GetImageFromArray(picture[None], isVector=True), str(path))
    change(
        path,
        SOPClassUID=VLEndoscopicImageStorage,
        Modality="ES",
        PhotometricInterpretation="YBR_FULL_422",
        PlanarConfiguration=0,
        PixelData=packed.tobytes(),
    )
    volume = read_volume(path)
    assert np.abs(volume.array[0].astype(int) - picture).max() < 6
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"a.dcm' is cut short: its header promises 9,600 bytes"):
        read_volume(path)


@pytest.mark.parametrize(("step", "header"), [(2, {"SpacingBetweenSlices": 3}), (5, {"SliceThickness": 3})])
def test_slices_that_were_thinned_evenly_are_doubted(step, header, tmp_path):
    for number, path in enumerate(a_series(tmp_path / "series")):
        change(path, **header)
        if number % step:
            path.unlink()
    volume = read_volume(tmp_path / "series")
    assert volume.spacing[2] == 3 * step
    assert "may be missing" in volume.doubts[0]


def test_slices_thinned_unevenly_are_refused(tmp_path):
    files = a_series(tmp_path / "series")
    for number in (2, 5):
        files[number].unlink()
    with pytest.raises(InputError, match="Slices may be missing"):
        read_volume(tmp_path / "series")


def test_more_voxels_than_the_header_describes_are_no_image(tmp_path):
    for path in a_series(tmp_path / "series"):
        change(path, Rows=VOLUME.shape[1] // 2)
    with pytest.raises(InputError, match="where its header describes"):
        read_volume(tmp_path / "series")


def test_a_mosaic_is_no_stack(tmp_path):
    for path in a_series(tmp_path / "series"):
        change(path, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    (source,) = everything_in(tmp_path / "series")
    assert "mosaic" in source.dicom.no_stack
    with pytest.raises(InputError, match=r"in '.*series' is no volume: a mosaic"):
        sources_in(tmp_path / "series")[0].read()
