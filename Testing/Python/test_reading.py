"""Image files come in with their voxels, their place and their modality; what is no image is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from conftest import DIRECTIONS, an_image, geometry
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.files.cases import sources_in
from MedSegAttentionLib.files.reading import is_image, read_volume, stem_of
from MedSegAttentionTraining.measuring.reading import FILES, reading_table
from sitk_tools import ras_of, to_sitk, write_series

PICTURE = np.random.default_rng(0).integers(0, 255, (6, 9, 3), np.uint8)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd"])
@pytest.mark.parametrize("kind", sorted(DIRECTIONS))
def test_a_volume_file_keeps_voxels_and_place(kind, suffix, tmp_path):
    image = an_image(kind)
    path = tmp_path / f"case.1{suffix}"
    sitk.WriteImage(to_sitk(image.array, image.ijk_to_ras), str(path))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, image.array)
    assert volume.array.dtype == image.array.dtype
    np.testing.assert_allclose(volume.ijk_to_ras, geometry(kind), atol=1e-4)
    again = sitk.ReadImage(str(path))
    np.testing.assert_allclose((volume.ijk_to_ras @ [3, 5, 2, 1])[:3], ras_of(again, (3, 5, 2)), atol=1e-9)
    assert volume.name == "case.1"
    assert volume.modality is None


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_a_colour_picture_is_one_slice_with_three_channels(suffix, tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / f"mole{suffix}")
    volume = read_volume(tmp_path / f"mole{suffix}")
    np.testing.assert_array_equal(volume.array, PICTURE[None])
    assert volume.size == (9, 6, 1)


def test_a_jpg_is_nearly_what_was_saved(tmp_path):
    smooth = np.linspace(0, 250, 16 * 24).reshape(16, 24).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "mole.JPG", quality=95)
    volume = read_volume(tmp_path / "mole.JPG")
    assert volume.array.shape == (1, 16, 24)
    assert np.abs(volume.array[0].astype(int) - smooth).max() < 6


def test_a_picture_lies_with_its_columns_to_the_left_and_its_rows_to_the_back(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "mole.png")
    np.testing.assert_array_equal(np.sign(read_volume(tmp_path / "mole.png").ijk_to_ras.diagonal()), [-1, -1, 1, 1])


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_dicom_folder_is_one_volume_with_its_modality(modality, tmp_path):
    array = np.arange(3 * 5 * 6, dtype=np.int16).reshape(3, 5, 6) - 40
    write_series(tmp_path / "series.1", array, modality, spacing=(0.5, 0.75, 2.5))
    volume = read_volume(tmp_path / "series.1")
    np.testing.assert_array_equal(volume.array, array)
    assert volume.modality == modality
    np.testing.assert_allclose(volume.spacing, (0.5, 0.75, 2.5))
    assert volume.name == "series.1"


def test_one_dicom_file_is_one_slice(tmp_path):
    write_series(tmp_path / "series", np.ones((2, 5, 6), np.int16), "CT")
    volume = read_volume(sorted((tmp_path / "series").iterdir())[0])
    assert volume.array.shape == (1, 5, 6)
    assert volume.modality == "CT"


def test_a_series_that_lacks_a_slice_is_refused(tmp_path):
    folder = write_series(tmp_path / "gap", np.ones((6, 5, 6), np.int16), "MR")
    (folder / "a002.dcm").unlink()
    with pytest.raises(InputError, match=r"gap' \(3.00 to 6.00 mm apart\) lie up to .* mm from where"):
        read_volume(folder)


@pytest.mark.parametrize(
    ("moved", "spacing"),
    [
        (lambda number: (0.0, 0.0, round(0.625 * number, 1) - 0.625 * number), 0.625),
        (lambda number: (0.0, 0.0, round(1.25 * number, 1) - 1.25 * number), 1.25),
        (lambda number: (0.0, 0.0, -1.0 if number == 9 else 0.0), 5.0),
    ],
    ids=["0.6 and 0.7 mm", "1.2 and 1.3 mm", "last step shorter"],
)
def test_slices_within_a_third_of_their_distance_from_their_places_are_read(moved, spacing, tmp_path):
    array = np.ones((10, 5, 6), np.int16)
    folder = write_series(tmp_path / "rounded", array, "CT", spacing=(1.0, 1.0, spacing), moved=moved)
    volume = read_volume(folder)
    assert volume.array.shape == array.shape
    assert volume.spacing[2] == pytest.approx(spacing, rel=0.03)


@pytest.mark.parametrize(
    "moved",
    [lambda number: (4.0 * (number % 2), 0.0, 0.0), lambda number: (0.0, 0.01 * number**3, 0.0)],
    ids=["shifted to and fro", "more and more aslant"],
)
def test_slices_that_are_no_stack_are_refused(moved, tmp_path):
    folder = write_series(tmp_path / "skew", np.ones((20, 5, 6), np.int16), "CT", moved=moved)
    with pytest.raises(InputError, match=r"skew'.* mm from where .* gantry moved"):
        read_volume(folder)


def test_a_tilted_gantry_is_a_sheared_grid_with_a_note(tmp_path):
    array = np.random.default_rng(0).integers(0, 99, (20, 5, 6)).astype(np.int16)
    write_series(tmp_path / "tilt", array, "CT", moved=lambda number: (0.0, 0.5 * number, 0.0))
    volume = read_volume(tmp_path / "tilt")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 2], (0, -0.5, 3), atol=1e-9)
    assert np.linalg.det(volume.ijk_to_ras[:3, :3]) == pytest.approx(3)  # mm3 of a voxel: what counts is the distance
    assert "80.5 degrees, as after a gantry tilt" in volume.notes[0]
    assert volume.doubts == ()


def test_a_series_with_several_images_at_one_place_is_refused(tmp_path):
    folder = write_series(tmp_path / "b_values", np.ones((6, 5, 6), np.int16), "MR", places=3)
    with pytest.raises(InputError, match=r"holds 6 slices at 3 places"):
        read_volume(folder)


def test_a_series_that_is_one_file_is_what_the_file_holds(tmp_path):
    folder = write_series(tmp_path / "one", np.ones((1, 5, 6), np.int16), "MR")
    assert read_volume(folder).array.shape == (1, 5, 6)
    frames = sitk.GetImageFromArray(np.ones((4, 5, 6), np.uint8))
    frames.SetMetaData("0008|0060", "MR")
    (tmp_path / "frames").mkdir()
    sitk.WriteImage(frames, str(tmp_path / "frames" / "a.dcm"))
    assert read_volume(tmp_path / "frames").array.shape == (4, 5, 6)


@pytest.mark.parametrize("name", ["scan.jpg", "scan.tif", "scan.png"])
def test_the_resolution_of_a_print_is_not_that_of_the_patient(name, tmp_path):
    Image.fromarray(np.zeros((16, 24), np.uint8)).save(tmp_path / name, dpi=(300, 300))
    volume = read_volume(tmp_path / name)
    assert volume.spacing == (1, 1, 1)
    assert not volume.has_scale


def test_two_series_in_a_folder_are_refused(tmp_path):
    for name in ("a", "b"):
        write_series(tmp_path / "both", np.ones((2, 5, 6), np.int16), "CT", name=name)
    with pytest.raises(InputError, match=r"holds 2 DICOM series; expected exactly one"):
        read_volume(tmp_path / "both")


def test_hidden_files_are_no_images(tmp_path):
    """macOS puts ``._a.nrrd`` beside ``a.nrrd`` on drives of other systems."""
    sitk.WriteImage(sitk.Image(4, 5, 2, sitk.sitkInt16), str(tmp_path / "a.nrrd"))
    (tmp_path / "._a.nrrd").write_bytes(b"\0\5\x16\7")
    assert [source.name for source in sources_in(tmp_path)] == ["a.nrrd"]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no image; expected NRRD.*DICOM series"):
        read_volume(tmp_path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none.nrrd' does not exist"):
        read_volume(tmp_path / "none.nrrd")


@pytest.mark.parametrize("name", ["text.txt", "text.nrrd", "text.png", "text.nii.gz", "text.dcm"])
def test_a_file_that_is_no_image_is_refused(name, tmp_path):
    (tmp_path / name).write_text("not an image")
    with pytest.raises(InputError, match=f"{name}' could not be read"):
        read_volume(tmp_path / name)


def test_a_series_in_time_is_refused(tmp_path):
    frame = sitk.GetImageFromArray(np.zeros((3, 4, 5), np.float32))
    sitk.WriteImage(sitk.JoinSeries([frame, frame]), str(tmp_path / "cine.nii.gz"))
    with pytest.raises(InputError, match=r"4-D.*\[5, 4, 3, 2\]"):
        read_volume(tmp_path / "cine.nii.gz")


def test_complex_values_are_refused(tmp_path):
    """Raw MR data: neither its real part nor its magnitude alone is what the user meant."""
    image = sitk.Cast(sitk.GetImageFromArray(np.ones((3, 4, 5), np.float32)), sitk.sitkComplexFloat32)
    sitk.WriteImage(image, str(tmp_path / "raw.nii"))
    with pytest.raises(InputError, match="complex"):
        read_volume(tmp_path / "raw.nii")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.nii.gz", "a"),
        ("a.b.nrrd", "a.b"),
        ("A.NRRD", "A"),
        ("x.seg.nrrd", "x"),
        ("photo.jpeg", "photo"),
        ("IM.0001.dcm", "IM.0001"),
    ],
)
def test_the_stem_is_the_name_without_its_image_suffix(name, stem, tmp_path):
    (tmp_path / name).touch()
    assert stem_of(tmp_path / name) == stem


def test_the_folder_one_stands_in_has_a_name_too(tmp_path, monkeypatch):
    (tmp_path / "series 7").mkdir()
    monkeypatch.chdir(tmp_path / "series 7")
    assert stem_of(Path()) == "series 7"


def test_only_files_named_like_images_are_images(tmp_path):
    for name in ("a.png", "b.txt", "c.NII.GZ", "d.dcm"):
        (tmp_path / name).touch()
    (tmp_path / "e.nrrd").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir() if is_image(path)) == ["a.png", "c.NII.GZ"]


def test_a_grey_picture_with_alpha_is_read_as_grey(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.merge("LA", (Image.fromarray(grey), Image.fromarray(grey * 0))).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.png").without_alpha().array, grey[None])


def test_a_name_that_is_no_utf_8_is_told_and_ends_nothing(tmp_path):
    import os

    name = os.fsdecode(bytes(tmp_path) + b"/\xff\xfe.nrrd")
    sitk.WriteImage(to_sitk(an_image().array, geometry("plain")), str(tmp_path / "plain.nrrd"))
    try:
        (tmp_path / "plain.nrrd").rename(name)
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(InputError, match=r"is no UTF-8.*Rename it"):
        read_volume(name)
    assert stem_of(Path(name)) == "__"


@pytest.mark.parametrize(("name", "stem"), [("a\nb.nii.gz", "a_b"), ("Müller Łódź 日本.png", "Müller Łódź 日本")])
def test_stems_are_names_that_other_programs_can_write(name, stem, tmp_path):
    assert stem_of(tmp_path / name) == stem


def test_the_benchmark_of_reading_times_every_format_and_its_checks():
    lines = reading_table(slices=3, side=16, rounds=1).splitlines()
    rows = {cells[1].strip(): cells for cells in (line.split("|") for line in lines[4:])}
    assert set(rows) == set(FILES.values())
    assert all(cells[3].strip().endswith(" s") for cells in rows.values())
    assert {name for name, cells in rows.items() if cells[6].strip().endswith("%")} == {
        "NIfTI",
        "NIfTI, compressed",
        "DICOM series",
    }
