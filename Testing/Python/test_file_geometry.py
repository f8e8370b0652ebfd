"""Geometry that is missing, said twice or crooked: read rightly, doubted or refused, never silently invented."""

from __future__ import annotations

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.files.cases import sources_in
from MedSegAttentionLib.files.pictures import TURNS
from MedSegAttentionLib.files.reading import read_volume
from MedSegAttentionLib.inference.slicing import plan_slices
from small_checkpoint import write_checkpoint
from test_damaged_files import VOLUME, a_series

AFFINE = np.array([[-0.8, 0, 0, 30], [0, -0.8, 0, 40], [0, 0, 3, -20], [0, 0, 0, 1.0]])


def a_nifti(path: Path, sform: np.ndarray | None, qform: np.ndarray | None = None, **header) -> Path:
    image = nibabel.Nifti1Image(VOLUME.T, AFFINE)
    image.set_sform(AFFINE if sform is None else sform, 0 if sform is None else 1)
    image.set_qform(AFFINE if qform is None else qform, 0 if qform is None else 1)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(("sform", "qform"), [(AFFINE, None), (None, AFFINE), (AFFINE, AFFINE)])
def test_one_placement_is_taken_without_a_word(sform, qform, tmp_path):
    volume = read_volume(a_nifti(tmp_path / "a.nii", sform, qform))
    np.testing.assert_allclose(volume.ijk_to_ras, AFFINE, atol=1e-5)
    assert volume.doubts == volume.notes == ()


def test_a_nifti_without_a_placement_is_doubted_and_lies_where_slicer_has_it(tmp_path):
    path = a_nifti(tmp_path / "a.nii", None)
    volume = read_volume(path)
    assert "'a.nii' does not say where right and left are" in volume.doubts[0]
    np.testing.assert_allclose(volume.ijk_to_ras, np.diag([-0.8, -0.8, 3, 1]), atol=1e-6)
    image = sitk.ReadImage(str(path))  # ITK reads for Slicer
    np.testing.assert_allclose(image.GetSpacing(), volume.spacing, atol=1e-6)


def test_two_placements_apart_are_doubted_and_two_alike_are_not(tmp_path):
    moved, nearly = AFFINE.copy(), AFFINE.copy()
    moved[:3, 3] += [0, 26, 0]
    nearly[:3, 3] += [0, 0.1, 0]
    volume = read_volume(a_nifti(tmp_path / "a.nii", AFFINE, moved))
    assert "placed twice, 26.0 mm apart" in volume.doubts[0]
    np.testing.assert_allclose(volume.ijk_to_ras, AFFINE, atol=1e-5)
    assert read_volume(a_nifti(tmp_path / "b.nii", AFFINE, nearly)).doubts == ()


@pytest.mark.parametrize("step", [0.0, np.nan])
def test_voxels_without_a_size_are_refused(step, tmp_path):
    path = a_nifti(tmp_path / "a.nii", AFFINE)
    content = bytearray(path.read_bytes())
    content[80:84] = np.float32(step).tobytes()  # pixdim[1]
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a.nii' says its voxels measure .* expected sizes above 0"):
        read_volume(path)


def test_two_sizes_are_doubted(tmp_path):
    path = a_nifti(tmp_path / "a.nii", AFFINE)
    content = bytearray(path.read_bytes())
    content[88:92] = np.float32(5).tobytes()  # pixdim[3], where the sform has 3
    path.write_bytes(content)
    assert "two sizes, 0.8 x 0.8 x 3 mm by its placement and 0.8 x 0.8 x 5 mm" in read_volume(path).doubts[0]


def test_rounded_axes_are_straightened_with_a_note_and_sheared_ones_kept(tmp_path):
    rounded, sheared = AFFINE.copy(), AFFINE.copy()
    rounded[:3, :3] = np.round([[-0.7991, 0.0374, 0.01], [-0.0374, -0.7991, 0.02], [0.004, -0.004, 2.9998]], 3)
    sheared[1, 2] = 3 * np.tan(np.radians(15))
    volume = read_volume(a_nifti(tmp_path / "rounded.nii", rounded))
    axes = volume.ijk_to_ras[:3, :3] / volume.spacing
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(volume.ijk_to_ras, rounded, atol=0.05)
    assert "rounding" in volume.notes[0]
    volume = read_volume(a_nifti(tmp_path / "sheared.nii", sheared))
    np.testing.assert_allclose(volume.ijk_to_ras, sheared, atol=1e-5)
    assert "75.0 degrees" in volume.notes[0]
    assert volume.doubts == ()


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
@pytest.mark.parametrize(
    ("spacing", "origin", "told"),
    [
        ((1e-5, 0.8, 3.0), (0, 0, 0), "measure 1e-05 x 0.8 x 3 mm, which those of a patient do not"),
        ((0.8, 0.8, 300.0), (0, 0, 0), "measure 0.8 x 0.8 x 300 mm, which those of a patient do not"),
        ((0.8, 0.8, 3.0), (1e6, 0, 0), "lies 1e+06 mm from the origin of its space"),
        ((0.01, 0.8, 40.0), (5000, 0, 0), None),
    ],
)
def test_what_no_patient_has_is_doubted(spacing, origin, told, suffix, tmp_path):
    image = sitk.GetImageFromArray(VOLUME)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    doubts = read_volume(tmp_path / f"a{suffix}").doubts
    assert doubts == () if told is None else told in doubts[0]


def test_axes_of_nearly_one_direction_are_doubted(tmp_path):
    steep = AFFINE.copy()
    steep[:3, 2] = [0, 2.8, 0.8]
    assert "two axes of nearly one direction" in read_volume(a_nifti(tmp_path / "a.nii", steep)).doubts[0]


def test_a_picture_that_is_placed_as_the_slice_it_was_has_one_size(tmp_path):
    nibabel.save(nibabel.Nifti1Image(VOLUME[0].T, AFFINE), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.doubts == ()
    np.testing.assert_allclose(volume.spacing, (0.8, 0.8, 3), rtol=1e-6)


def test_a_sheared_volume_is_segmented_on_its_own_grid(tmp_path, capsys):
    sheared = AFFINE.copy()
    sheared[1, 2] = 3 * np.tan(np.radians(15))
    path = a_nifti(tmp_path / "sheared.nii", sheared)
    folder = write_checkpoint(tmp_path / "checkpoint", intensity={"method": "window", "low": -1000, "high": 1000})
    out = tmp_path / "out"
    assert main(["segment", str(path), "--checkpoint", str(folder), "--output", str(out)]) == 0
    _, header = nrrd.read(str(out / "sheared.seg.nrrd"))
    directions = np.asarray(header["space directions"], float)[-3:]
    wanted = (np.diag([-1, -1, 1]) @ sheared[:3, :3]).T
    np.testing.assert_allclose(np.abs(directions), np.abs(wanted), atol=1e-4)
    assert "as after a gantry tilt" in (out / "sheared.json").read_text()
    capsys.readouterr()
    words = ["segment", str(path), "--checkpoint", str(folder), "--output", str(tmp_path / "other"), "--nifti"]
    assert main(words) == 1
    assert capsys.readouterr().out == ""  # said before anything is segmented
    assert not (tmp_path / "other").exists()


def nrrd_text(path: Path, drop: tuple[str, ...] = (), **change: str) -> Path:
    """A NRRD file whose header lacks the fields ``drop`` and has those of ``change``."""
    image = sitk.GetImageFromArray(VOLUME)
    image.SetSpacing((0.8, 0.8, 3.0))
    sitk.WriteImage(image, str(path))
    head, _, voxels = path.read_bytes().partition(b"\n\n")
    lines = [line for line in head.decode().splitlines() if line.partition(":")[0] not in drop]
    lines += [f"{name}: {value}" for name, value in change.items()]
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + voxels)
    return path


def test_a_nrrd_without_space_is_doubted(tmp_path):
    assert read_volume(nrrd_text(tmp_path / "whole.nrrd")).doubts == ()
    lacking = ("space", "space directions", "space origin")
    (doubt,) = read_volume(nrrd_text(tmp_path / "a.nrrd", lacking)).doubts
    assert "no 'space' in its header), nor how large its voxels are (1 mm was taken)" in doubt
    (doubt,) = read_volume(nrrd_text(tmp_path / "b.nrrd", lacking, spacings="0.8 0.8 3")).doubts
    assert doubt.endswith("(no 'space' in its header).")
    with pytest.raises(InputError, match=r"expected sizes above 0 mm. Correct its header \(spacings"):
        read_volume(nrrd_text(tmp_path / "c.nrrd", lacking, spacings="0.8 0 3"))


def test_a_meta_image_without_a_matrix_is_doubted(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(VOLUME), str(tmp_path / "a.mha"))
    assert read_volume(tmp_path / "a.mha").doubts == ()
    lines = (tmp_path / "a.mha").read_bytes().split(b"\n")
    kept = [line for line in lines if not line.startswith(b"TransformMatrix")]
    (tmp_path / "a.mha").write_bytes(b"\n".join(kept))
    assert "no TransformMatrix" in read_volume(tmp_path / "a.mha").doubts[0]


def test_a_doubted_file_stops_the_command_and_force_tells_it_in_the_record(tmp_path, capsys):
    path = a_nifti(tmp_path / "a.nii", None)
    folder = write_checkpoint(tmp_path / "checkpoint", intensity={"method": "window", "low": -1000, "high": 1000})
    words = ["segment", str(path), "--checkpoint", str(folder), "--output", str(tmp_path / "out")]
    assert main(words) == 1
    assert "does not say where right and left are" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0
    assert "does not say where right and left are" in (tmp_path / "out" / "a.json").read_text()


# --- DICOM


def enhanced(path: Path, places: list[float], drop: str = "") -> Path:
    """One file of many frames, the n-th at ``places[n]`` mm and filled with n + 1."""
    voxels = np.stack([np.full((20, 24), n + 1, np.int16) for n in range(len(places))])
    image = sitk.GetImageFromArray(voxels[:1])
    sitk.WriteImage(image, str(path))
    header = pydicom.dcmread(path)
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"  # Enhanced MR
    header.Modality, header.NumberOfFrames, header.PixelData = "MR", len(places), voxels.tobytes()
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SpacingBetweenSlices"):
        if name in header:
            delattr(header, name)

    def item(**values) -> Sequence:
        part = Dataset()
        part.update(values)
        for name, value in values.items():
            setattr(part, name, value)
        return Sequence([part])

    shared, frames = Dataset(), []
    if drop != "PixelMeasuresSequence":
        shared.PixelMeasuresSequence = item(PixelSpacing=[0.7, 0.9], SliceThickness=3)
    if drop != "PlaneOrientationSequence":
        shared.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    for place in places:
        frame = Dataset()
        if drop != "PlanePositionSequence":
            frame.PlanePositionSequence = item(ImagePositionPatient=[-10, -20, place])
        frames.append(frame)
    header.SharedFunctionalGroupsSequence = Sequence([shared])
    header.PerFrameFunctionalGroupsSequence = Sequence(frames)
    header.save_as(path)
    return path


def test_frames_of_an_enhanced_object_lie_where_each_says(tmp_path):
    volume = read_volume(enhanced(tmp_path / "a.dcm", [0, 4, 8, 12]))
    np.testing.assert_allclose(volume.ijk_to_ras, [[-0.9, 0, 0, 10], [0, -0.7, 0, 20], [0, 0, 4, 0], [0, 0, 0, 1]])
    assert [plane.mean() for plane in volume.array] == [1, 2, 3, 4]
    shuffled = read_volume(enhanced(tmp_path / "b.dcm", [8, 0, 12, 4]))
    np.testing.assert_allclose(shuffled.ijk_to_ras, volume.ijk_to_ras)
    assert [plane.mean() for plane in shuffled.array] == [2, 4, 1, 3]


@pytest.mark.parametrize(
    ("places", "drop", "told"),
    [
        ([0, 4, 12, 16], "", "Slices may be missing"),
        ([0, 4, 8, 0, 4, 8], "", "6 slices at 3 places"),
        ([0, 4, 8], "PlanePositionSequence", "3 do not say where they lie"),
        ([0, 4, 8], "PlaneOrientationSequence", "3 do not say where they lie"),
        ([0, 4, 8], "PixelMeasuresSequence", "how large their voxels are"),
    ],
)
def test_frames_that_are_no_stack_are_refused(places, drop, told, tmp_path):
    with pytest.raises(InputError, match=told):
        read_volume(enhanced(tmp_path / "a.dcm", places, drop))


@pytest.mark.parametrize("name", ["ImagePositionPatient", "PixelSpacing", "ImageOrientationPatient"])
def test_a_series_without_geometry_is_refused(name, tmp_path):
    for path in a_series(tmp_path / "series"):
        header = pydicom.dcmread(path)
        delattr(header, name)
        header.save_as(path)
    with pytest.raises(InputError, match=r"6 slices, of which 6 do not say where they lie"):
        read_volume(tmp_path / "series")


def test_copies_scouts_and_objects_that_are_no_images_do_not_disturb(tmp_path):
    files = a_series(tmp_path / "series")
    wanted = read_volume(tmp_path / "series")
    (tmp_path / "series" / "copy of 2.dcm").write_bytes(files[2].read_bytes())
    scout = pydicom.dcmread(files[0])
    scout.ImageType, scout.ImageOrientationPatient = ["ORIGINAL", "PRIMARY", "LOCALIZER"], [0, 1, 0, 0, 0, -1]
    scout.SOPInstanceUID = scout.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"
    scout.save_as(tmp_path / "series" / "scout.dcm")
    other = pydicom.dcmread(files[0])
    other.Modality, other.SeriesInstanceUID, other.SOPInstanceUID = "SEG", "1.2.4", "1.2.4.1"
    other.save_as(tmp_path / "series" / "seg.dcm")
    (tmp_path / "series" / "notes.txt").write_text("of the technician")
    found = read_volume(tmp_path / "series")
    np.testing.assert_array_equal(found.array, wanted.array)
    np.testing.assert_array_equal(found.ijk_to_ras, wanted.ijk_to_ras)
    assert found.modality == "CT"


def test_one_slice_of_a_series_is_doubted_and_offers_the_series(tmp_path):
    files = a_series(tmp_path / "series")
    (doubt,) = read_volume(files[2]).doubts
    assert "'2.dcm' is one slice of a series; give its folder" in doubt
    for path in files[:2] + files[3:]:
        path.unlink()
    assert read_volume(files[2]).doubts == ()


def test_a_study_of_nested_folders_is_a_batch_of_its_series(tmp_path):
    for name in ("st/se1", "st/deep/se2"):
        (tmp_path / "study" / name).parent.mkdir(parents=True, exist_ok=True)
        for path in a_series(tmp_path / "study" / name, count=3):
            header = pydicom.dcmread(path)
            header.SeriesInstanceUID = f"1.2.3.{name[-1]}"
            header.save_as(path)
    (tmp_path / "study" / "st" / "notes.txt").write_text("of the technician")
    found = sources_in(tmp_path / "study")
    assert [source.stem for source in found] == ["st_deep_se2", "st_se1"]
    assert all(source.read().array.shape[0] == 3 for source in found)


# --- photographs held on their side


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_upright_and_lies_on_what_is_stored(orientation, tmp_path):
    stored = np.random.default_rng(0).integers(0, 255, (6, 9, 3)).astype(np.uint8)
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=tags)
    from PIL import ImageOps

    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    volume = read_volume(tmp_path / "a.png")
    np.testing.assert_array_equal(volume.array[0], upright)
    np.testing.assert_array_equal(plan_slices(volume).view(volume.array)[0], upright)  # what the network is given
    as_stored = np.diag([-1.0, -1.0, 1.0, 1.0])  # what Slicer shows: columns to the left, rows to the back
    for row in range(upright.shape[0]):
        for column in range(upright.shape[1]):
            place = np.linalg.inv(as_stored) @ volume.ijk_to_ras @ [column, row, 0, 1]
            np.testing.assert_array_equal(stored[round(place[1]), round(place[0])], upright[row, column])
    assert set(TURNS) == set(range(1, 9))
