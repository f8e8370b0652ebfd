"""What headers of files leave out, say twice or in other units; and files that come in two parts."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image, ImageOps

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.files.cases import sources_in
from MedSegAttentionLib.files.geometry import of_itk
from MedSegAttentionLib.files.reading import read_volume
from test_damaged_files import VOLUME, an_itk_image
from test_file_geometry import AFFINE, a_nifti

PIXDIM, SLOPE, UNITS, OFFSET, QUATERN, SROW = 76, 112, 123, 108, 256, 280
"""Bytes at which fields of a NIfTI-1 header begin."""


def with_bytes(path: Path, at: int, *values: float | int) -> Path:
    """Real numbers, or bytes, in place of what a header has there."""
    content = bytearray(path.read_bytes())
    new = bytes(values) if all(isinstance(value, int) for value in values) else np.float32(values).tobytes()
    content[at : at + len(new)] = new
    path.write_bytes(content)
    return path


# --- NIfTI


@pytest.mark.parametrize(("unit", "factor"), [(1, 1000), (3, 0.001), (2, 1), (0, 1)])
def test_metres_and_micrometres_are_no_mm(unit, factor, tmp_path):
    placed = np.diag([1 / factor] * 3 + [1]) @ AFFINE
    path = with_bytes(a_nifti(tmp_path / "a.nii", placed), UNITS, unit)
    path = with_bytes(path, PIXDIM, 1.0, *(np.array([0.8, 0.8, 3]) / factor))
    volume = read_volume(path)
    np.testing.assert_allclose(volume.ijk_to_ras, AFFINE, atol=1e-4)
    assert volume.doubts == ()
    assert len(volume.notes) == (factor != 1)
    assert sitk.ReadImage(str(path)).GetSpacing() == pytest.approx(volume.spacing, rel=1e-4)  # as Slicer has it


def test_a_unit_that_makes_voxels_of_a_metre_is_doubted(tmp_path):
    path = with_bytes(a_nifti(tmp_path / "a.nii", AFFINE), UNITS, 1)
    assert "measures in metres, so its voxels are 800 x 800 x 3e+03 mm" in read_volume(path).doubts[0]


@pytest.mark.parametrize(
    ("sform", "qform", "at"), [(AFFINE, None, SROW), (None, AFFINE, QUATERN), (None, AFFINE, QUATERN + 12)]
)
def test_a_placement_that_is_no_number_is_refused(sform, qform, at, tmp_path):
    path = with_bytes(a_nifti(tmp_path / "a.nii", sform, qform), at, float("nan"))
    with pytest.raises(InputError, match=r"a.nii' says where it lies with values that are no finite numbers"):
        read_volume(path)


def test_a_placement_without_length_is_refused(tmp_path):
    path = with_bytes(a_nifti(tmp_path / "a.nii", AFFINE), SROW, *[0.0] * 4)
    with pytest.raises(InputError, match=r"axes of no length.*\(sform\)"):
        read_volume(path)


def test_a_qfac_of_0_means_1(tmp_path):
    path = with_bytes(a_nifti(tmp_path / "a.nii", None, AFFINE), PIXDIM, 0.0)
    np.testing.assert_allclose(read_volume(path).ijk_to_ras, AFFINE, atol=1e-5)


@pytest.mark.parametrize("code", [1, 2])
def test_of_two_placements_slicers_is_taken(code, tmp_path):
    moved = AFFINE.copy()
    moved[0, 3] += 26
    image = nibabel.Nifti1Image(VOLUME.T, AFFINE)
    image.set_sform(AFFINE, code)
    image.set_qform(moved, 1)
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.ijk_to_ras, of_itk(sitk.ReadImage(str(tmp_path / "a.nii"))), atol=1e-4)
    np.testing.assert_allclose(volume.ijk_to_ras, AFFINE if code == 1 else moved, atol=1e-4)
    assert f"26.0 mm apart (sform and qform); {'sform' if code == 1 else 'qform'} was taken" in volume.doubts[0]


@pytest.mark.parametrize(
    ("at", "values", "told"),
    [
        (OFFSET, [10.0], "voxels begin at byte 10, within its header"),
        (OFFSET, [-5.0], "within its header"),
        (OFFSET, [float("nan")], "NaN"),
        (40, [0, 0], "0 dimensions"),
        (40, [9, 0], "dimensions"),
        (42, [253, 255], r"size is \[-3, 30, 12\]"),
        (70, [231, 3], "999"),
        (SLOPE, [float("inf")], "infinity"),
    ],
)
def test_a_header_that_cannot_be_is_damaged(at, values, told, tmp_path):
    path = with_bytes(a_nifti(tmp_path / "a.nii", AFFINE), at, *values)
    with pytest.raises(InputError, match=rf"a.nii' is cut short or damaged \(.*{told}"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".hdr", ".img"])
def test_a_pair_is_one_image(suffix, tmp_path):
    nibabel.save(nibabel.Nifti1Pair(VOLUME.T, AFFINE), tmp_path / "a.hdr")
    volume = read_volume(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.array, VOLUME)
    np.testing.assert_allclose(volume.ijk_to_ras, AFFINE, atol=1e-5)
    assert (volume.name, volume.doubts) == ("a", ())
    assert [source.name for source in sources_in(tmp_path)] == ["a.hdr"]
    (tmp_path / "a.img").unlink()
    with pytest.raises(InputError, match=r"a.hdr' is one of two files; 'a.img' is not beside it"):
        read_volume(tmp_path / "a.hdr")


def test_analyze_says_nothing_of_left_and_right(tmp_path):
    nibabel.save(nibabel.AnalyzeImage(VOLUME.T, AFFINE), tmp_path / "a.hdr")
    volume = read_volume(tmp_path / "a.img")
    np.testing.assert_array_equal(volume.array, VOLUME)
    assert "does not say where right and left are (it is an Analyze file)" in volume.doubts[0]
    np.testing.assert_allclose(volume.ijk_to_ras, np.diag([-0.8, -0.8, 3, 1]), atol=1e-6)


# --- NRRD


def nrrd(path: Path, drop: tuple[str, ...] = (), compressed: bool = False, **change: str) -> Path:
    """A NRRD file without the fields ``drop`` and with those of ``change`` in the place of what it has."""
    sitk.WriteImage(an_itk_image(), str(path), useCompression=compressed)
    head, _, voxels = path.read_bytes().partition(b"\n\n")
    fields = {name.replace("_", " "): value for name, value in change.items()}
    lines = []
    for line in head.decode().splitlines():
        name = line.partition(":")[0]
        if name in fields:
            lines.append(f"{name}: {fields.pop(name)}")
        elif name not in drop:
            lines.append(line)
    lines += [f"{name}: {value}" for name, value in fields.items()]
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + voxels)
    return path


@pytest.mark.parametrize(
    ("space", "placed"),
    [
        ("left-posterior-superior", True),
        ("right-anterior-superior", True),
        ("LAS", True),
        ("scanner-xyz", False),
        ("3D-right-handed", False),
    ],
)
def test_a_space_that_knows_no_left_and_right_is_doubted(space, placed, tmp_path):
    path = nrrd(tmp_path / "a.nrrd", space=space)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.ijk_to_ras, of_itk(sitk.ReadImage(str(path))))
    if placed:
        assert volume.doubts == ()
    else:
        assert f"where right and left are ('space' is '{space.lower()}')" in volume.doubts[0]


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        ({"drop": ("space directions",)}, "does not say how large its voxels are"),
        ({"space_directions": "(0.8,0,0) (0,0.8,0) none"}, "does not say how large its voxels are"),
        ({"space_units": '"cm" "cm" "cm"'}, "measures in 'cm', not in mm"),
        ({"space_units": '"mm" "mm" "mm"'}, None),
    ],
)
def test_sizes_that_are_missing_or_in_other_units_are_doubted(change, doubt, tmp_path):
    doubts = read_volume(nrrd(tmp_path / "a.nrrd", **change)).doubts
    assert doubts == () if doubt is None else (doubt in doubts[0] and len(doubts) == 1)


@pytest.mark.parametrize(
    "change",
    [
        {"space_directions": "(0,0,0) (0,0.8,0) (0,0,3)"},
        {"space_directions": "(nan,nan,nan) (0,0.8,0) (0,0,3)"},
        {"space_origin": "(nan,nan,nan)"},
    ],
)
def test_axes_and_places_that_are_none_are_refused(change, tmp_path):
    with pytest.raises(InputError, match=r"says where it lies with values that are no finite numbers"):
        read_volume(nrrd(tmp_path / "a.nrrd", **change))


def test_colours_of_a_picture_are_no_axis_without_a_size(tmp_path):
    picture = sitk.GetImageFromArray(np.zeros((6, 9, 3), np.uint8), isVector=True)
    sitk.WriteImage(picture, str(tmp_path / "a.nrrd"))
    assert read_volume(tmp_path / "a.nrrd").array.shape == (1, 6, 9, 3)
    volume = sitk.GetImageFromArray(np.zeros((4, 6, 9, 3), np.uint8), isVector=True)
    sitk.WriteImage(volume, str(tmp_path / "b.nrrd"))
    assert read_volume(tmp_path / "b.nrrd").doubts == ()


def test_a_sheared_nrrd_keeps_its_grid_with_a_note(tmp_path):
    volume = read_volume(nrrd(tmp_path / "a.nrrd", space_directions="(0.8,0,0) (0,0.8,0) (0,0.8,3)"))
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 2], (0, -0.8, 3))
    assert "75.1 degrees" in volume.notes[0]


def test_bzip2_is_named_as_the_reason(tmp_path):
    with pytest.raises(InputError, match="compressed with bzip2"):
        read_volume(nrrd(tmp_path / "a.nrrd", encoding="bzip2"))


# --- MetaImage


def meta(path: Path, drop: tuple[str, ...] = (), **change: str) -> Path:
    """A MetaImage without the fields ``drop`` and with ``change``."""
    sitk.WriteImage(an_itk_image(), str(path))
    head, _, voxels = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    lines = [line for line in head.decode().splitlines() if line.partition(" =")[0] not in {*drop, *change}]
    lines += [f"{name} = {value}" for name, value in change.items()]
    path.write_bytes("\n".join([*lines, "ElementDataFile = LOCAL", ""]).encode() + voxels)
    return path


def test_a_meta_image_without_spacing_is_doubted(tmp_path):
    (doubt,) = read_volume(meta(tmp_path / "a.mha", ("ElementSpacing",))).doubts
    assert "does not say how large its voxels are (1 mm was taken)" in doubt


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ElementSpacing": "0 1 1"}, "expected sizes above 0 mm"),
        ({"ElementSpacing": "-1 1 1"}, "expected sizes above 0 mm"),
        ({"ElementSpacing": "nan 1 1"}, "expected sizes above 0 mm"),
        ({"ElementSpacing": "inf 1 1"}, "expected sizes above 0 mm"),
        ({"TransformMatrix": "0 0 0 0 0 0 0 0 0"}, "says where it lies"),
        ({"TransformMatrix": "nan 0 0 0 1 0 0 0 1"}, "says where it lies"),
        ({"Offset": "nan 0 0"}, "says where it lies"),
        ({"DimSize": "a b c"}, "damaged"),
        ({"ElementNumberOfChannels": "x"}, "damaged"),
        ({"HeaderSize": "100"}, "voxels begin at byte 100 .HeaderSize., within its header"),
    ],
)
def test_fields_that_cannot_be_are_refused(change, told, tmp_path):
    with pytest.raises(InputError, match=rf"a.mha' .*{told}"):
        read_volume(meta(tmp_path / "a.mha", **change))


@pytest.mark.parametrize("where", ["LIST", "s%02d.raw 0 11 1"])
def test_the_slices_of_a_meta_image_are_looked_at_one_by_one(where, tmp_path, capfd):
    names = [f"s{number:02}.raw" for number in range(len(VOLUME))]
    for name, plane in zip(names, VOLUME, strict=True):
        (tmp_path / name).write_bytes(plane.tobytes())
    sitk.WriteImage(an_itk_image(), str(tmp_path / "a.mhd"))
    text = (tmp_path / "a.mhd").read_text().replace("a.raw", "\n".join([where, *names]) if where == "LIST" else where)
    (tmp_path / "a.mhd").write_text(text)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mhd").array, VOLUME)
    (tmp_path / "s05.raw").write_bytes(VOLUME[5].tobytes()[:-2])
    with pytest.raises(InputError, match=r"s05.raw' is cut short: its header promises 2,040 bytes"):
        read_volume(tmp_path / "a.mhd")
    (tmp_path / "s05.raw").unlink()
    with pytest.raises(InputError, match=r"a.mhd' has voxels in 's05.raw', which is not beside it"):
        read_volume(tmp_path / "a.mhd")
    assert capfd.readouterr().err == ""


# --- pictures


@pytest.mark.parametrize("pages", [1, 2])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_tiff_is_upright_and_lies_on_what_slicer_shows(orientation, pages, tmp_path):
    """ITK, which reads for Slicer, mirrors some; found out by asking it."""
    stored = np.random.default_rng(0).integers(0, 255, (6, 9, 3)).astype(np.uint8)
    tags = Image.Exif()
    tags[0x0112] = orientation
    more = {"save_all": True, "append_images": [Image.fromarray(stored)] * (pages - 1)} if pages > 1 else {}
    Image.fromarray(stored).save(tmp_path / "a.tif", exif=tags, **more)
    Image.fromarray(stored).save(tmp_path / "a.png", exif=tags)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    volume = read_volume(tmp_path / "a.tif")
    assert volume.array.shape == (pages, *upright.shape)
    np.testing.assert_array_equal(volume.array[0], upright)
    shown = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.tif")))
    shown = (shown[0] if pages > 1 else shown)[..., :3]
    for row in range(upright.shape[0]):
        for column in range(upright.shape[1]):
            place = np.diag([-1, -1, 1, 1]) @ volume.ijk_to_ras @ [column, row, 0, 1]
            np.testing.assert_array_equal(shown[round(place[1]), round(place[0])], upright[row, column])


@pytest.mark.parametrize(("kind", "largest"), [(np.uint16, 65535), (np.float32, 1.0)])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_colours_of_16_bits_and_of_0_to_1_are_read(kind, largest, suffix, tmp_path):
    if suffix == ".png" and kind == np.float32:
        return  # PNG has no real numbers
    picture = np.random.default_rng(0).random((6, 9, 3))
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray((picture * largest).astype(kind), isVector=True), str(path))
    volume = read_volume(path)
    assert volume.array.shape == (1, 6, 9, 3)
    scale = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(volume.array.dtype, 1)
    np.testing.assert_allclose(volume.array[0] / scale, picture, atol=1 / 250)


def test_pages_of_different_sizes_and_frames_of_an_animation_are_refused(tmp_path):
    first, second = (Image.fromarray(np.full((rows, 8), 9, np.uint8)) for rows in (6, 7))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    with pytest.raises(InputError, match=r"^'[^']*a.tif' has 2 pages of different sizes, \[\(8, 6\), \(8, 7\)\]"):
        read_volume(tmp_path / "a.tif")
    first.save(tmp_path / "a.png", save_all=True, append_images=[Image.fromarray(np.full((6, 8), 200, np.uint8))])
    with pytest.raises(InputError, match="animation of 2 frames"):
        read_volume(tmp_path / "a.png")


def test_palettes_and_inks_are_colours(tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 6, (6, 9, 3)).astype(np.uint8) * 40)
    for name, mode in (("a.png", "P"), ("b.tif", "P"), ("c.tif", "CMYK")):
        picture.convert(mode).save(tmp_path / name)
        volume = read_volume(tmp_path / name)
        assert (volume.array.shape, volume.array.dtype) == ((1, 6, 9, 3), np.uint8)
        np.testing.assert_array_equal(volume.array[0], np.asarray(picture.convert(mode).convert("RGB")))
