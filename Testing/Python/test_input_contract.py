"""What a run refuses, what it warns about, what it lets pass; and what is done to the finished labels."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MedSegAttentionLib.data.errors import ContractWarning, InputError
from MedSegAttentionLib.data.result import VolumeResult
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.files.reading import read_volume
from MedSegAttentionLib.inference.engine import SegmentationRun
from MedSegAttentionLib.inference.postprocessing import postprocess
from MedSegAttentionLib.inference.settings import RunSettings
from oracle import ThresholdNetwork, checkpoint_of

torch.set_num_threads(1)
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
CT = {
    "modality": "CT",
    "intensity": {"method": "window", "low": -100, "high": 300},
    "expects": {"minimum": [-100, -50], "maximum": [100, 300]},
}


def a_volume(array: np.ndarray, modality: str | None = None) -> VolumeImage:
    return VolumeImage(array, RAS, "pelvis", modality)


def square(low: float = 0, high: float = 1, kind: type = np.float32) -> np.ndarray:
    array = np.full((2, 20, 24), low, kind)
    array[:, 5:12, 6:18] = high
    return array


def segment(volume: VolumeImage, folder: Path, force: bool = False, **changes) -> VolumeResult:
    run = SegmentationRun(volume, checkpoint_of(ThresholdNetwork(), folder, **changes), RunSettings("cpu", force=force))
    list(run)
    return run.result()


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
@pytest.mark.parametrize("force", [False, True])
def test_infinite_values_are_refused_even_by_force(bad, force, tmp_path):
    array = square()
    array[1, 3, 3], array[0, 0, 0] = bad, np.nan
    with pytest.raises(InputError, match="'pelvis' has 2 voxels that are NaN or infinite") as caught:
        segment(a_volume(array), tmp_path, force)
    assert not isinstance(caught.value, ContractWarning)


def test_nan_stops_and_by_force_is_background(tmp_path):
    array = square(low=0.1)
    array[:, :4], array[1, 6, 7] = np.nan, np.nan
    with pytest.raises(ContractWarning, match=r"'pelvis' has 193 voxels that are NaN.*background, 0.1"):
        segment(a_volume(array), tmp_path)
    before = array.copy()
    result = segment(a_volume(array), tmp_path, force=True)
    np.testing.assert_array_equal(array, before)
    np.testing.assert_array_equal(result.labels, np.nan_to_num(array) > 0.5)
    assert "193 voxels that are NaN" in result.provenance["warnings"][0]


def test_nothing_but_nan_is_refused(tmp_path):
    with pytest.raises(InputError, match="960 voxels that are NaN") as caught:
        segment(a_volume(np.full((2, 20, 24), np.nan)), tmp_path, force=True)
    assert not isinstance(caught.value, ContractWarning)


def test_a_doubt_of_the_file_stops_and_is_told_with_a_forced_result(tmp_path):
    volume = replace(a_volume(square()), doubts=("which side is left is not said.",), notes=("axes were rounded.",))
    with pytest.raises(ContractWarning, match=r"which side is left.*run anyway"):
        segment(volume, tmp_path)
    assert segment(volume, tmp_path, force=True).provenance["warnings"] == [
        "axes were rounded.",
        "which side is left is not said.",
    ]


def test_truth_values_are_numbers(tmp_path):
    result = segment(a_volume(square().astype(bool)), tmp_path, intensity={"method": "body", "percentiles": [0, 100]})
    assert result.labels.shape == (2, 20, 24)
    np.testing.assert_array_equal(segment(a_volume(square().astype(bool)), tmp_path).labels, square() > 0.5)


PHOTOGRAPH = {"in_channels": 3, "modality": "XC", "intensity": {"method": "window", "low": 0, "high": 255}}


@pytest.mark.parametrize(
    ("kind", "factor", "told"), [(np.uint8, 1, None), (np.uint16, 257, "16 bits"), (np.float32, 1 / 255, "0 to 1")]
)
def test_colours_of_any_number_type_are_the_same_picture(kind, factor, told, tmp_path):
    array = np.repeat(square(40, 200)[..., None], 3, axis=-1)
    expects = {"minimum": [0, 120], "maximum": [60, 255]}
    result = segment(a_volume((array * factor).astype(kind)), tmp_path, **PHOTOGRAPH, expects=expects)
    np.testing.assert_array_equal(result.labels, square() > 0.5)
    notes = result.provenance["warnings"]
    assert notes == [] if told is None else (told in notes[0] and len(notes) == 1)


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.int32, np.float32])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_colours_of_fewer_bits_than_their_type_stop_and_are_right_when_forced(kind, bits, tmp_path):
    array = np.repeat(square(0, 2**bits - 1)[..., None], 3, axis=-1).astype(kind)
    expects = {"minimum": [0, 120], "maximum": [60, 255]}
    told = (
        rf"type {np.dtype(kind)} up to {2**bits - 1}.*{2**bits - 1} if it is a picture of {bits} bits.*8 bits a channel"
    )
    with pytest.raises(ContractWarning, match=told):
        segment(a_volume(array), tmp_path, **PHOTOGRAPH, expects=expects)
    result = segment(a_volume(array), tmp_path, force=True, **PHOTOGRAPH, expects=expects)
    np.testing.assert_array_equal(result.labels, square() > 0.5)
    assert len(result.provenance["warnings"]) == 1


def test_a_deep_colour_png_is_read_with_all_its_bits(tmp_path):
    colours = np.random.default_rng(0).integers(0, 4096, (20, 24, 3)).astype(np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(tmp_path / "deep.png"))
    np.testing.assert_array_equal(read_volume(tmp_path / "deep.png").array[0], colours)
    content = (tmp_path / "deep.png").read_bytes()
    (tmp_path / "deep.png").write_bytes(content[:-200])
    with pytest.raises(InputError, match=r"deep.png' is cut short or damaged"):
        read_volume(tmp_path / "deep.png")


@pytest.mark.parametrize(("channels", "takes"), [(2, 1), (4, 3)])
def test_a_picture_that_is_transparent_everywhere_stops(channels, takes, tmp_path):
    array = np.repeat(square()[..., None], channels, axis=-1)
    array[..., -1] = 0
    with pytest.raises(ContractWarning, match=r"is transparent everywhere.*Save it without transparency"):
        segment(a_volume(array), tmp_path, in_channels=takes)
    result = segment(a_volume(array), tmp_path, in_channels=takes, force=True)
    np.testing.assert_array_equal(result.labels, square() > 0.5)
    assert "transparent everywhere" in result.provenance["warnings"][0]


@pytest.mark.parametrize(
    ("card", "modality", "taken"),
    [("XC", "DMS", True), ("XC", "OT", True), ("ES", "OT", True), ("ES", "DMS", False), ("XC", "CT", False)],
)
def test_the_kinds_of_photographs_that_dicom_knows(card, modality, taken, tmp_path):
    volume = a_volume(np.repeat(square(0, 255)[..., None], 3, axis=-1), modality)
    if taken:
        assert segment(volume, tmp_path, **PHOTOGRAPH | {"modality": card}).provenance["warnings"] == []
    else:
        with pytest.raises(ContractWarning, match=f"has modality {modality}"):
            segment(volume, tmp_path, **PHOTOGRAPH | {"modality": card})


@pytest.mark.parametrize("shape", [(0, 4, 5), (4, 5), (2, 2, 4, 5, 3)])
def test_empty_flat_and_four_dimensional_arrays_are_refused(shape):
    with pytest.raises(InputError, match="shape"):
        a_volume(np.zeros(shape))


@pytest.mark.parametrize("matrix", [np.zeros((4, 4)), np.diag([1.0, 1.0, 0.0, 1.0]), np.eye(3)])
def test_a_volume_without_a_place_is_refused(matrix):
    with pytest.raises(InputError, match="IJK-to-RAS"):
        VolumeImage(np.zeros((2, 3, 4)), matrix)


@pytest.mark.parametrize(("channels", "takes"), [(3, 1), (5, 1), (1, 3), (2, 3), (5, 3)])
def test_a_wrong_channel_count_is_refused(channels, takes, tmp_path):
    array = np.repeat(square()[..., None], channels, axis=-1)
    with pytest.raises(InputError, match=rf"has {channels} channel.*takes"):
        segment(a_volume(array), tmp_path, force=True, in_channels=takes)


@pytest.mark.parametrize(("channels", "takes"), [(2, 1), (4, 3)])
def test_an_alpha_channel_is_dropped(channels, takes, tmp_path):
    array = np.repeat(square()[..., None], channels, axis=-1)
    array[..., -1] = np.random.default_rng(0).random(array.shape[:3])
    result = segment(a_volume(array), tmp_path, in_channels=takes)
    np.testing.assert_array_equal(result.labels, square() > 0.5)


def test_one_channel_in_a_fourth_axis_is_grey(tmp_path):
    result = segment(a_volume(square()[..., None]), tmp_path)
    np.testing.assert_array_equal(result.labels, square() > 0.5)


@pytest.mark.parametrize("value", [0, 7.5])
def test_a_constant_volume_stops_and_runs_by_force(value, tmp_path):
    volume = a_volume(np.full((2, 20, 24), value))
    zscore = {"method": "zscore", "percentiles": [0.5, 99.5]}
    with pytest.raises(ContractWarning, match=rf"same value, {value:g}, everywhere.*run anyway \(force\)"):
        segment(volume, tmp_path, intensity=zscore)
    result = segment(volume, tmp_path, force=True, intensity=zscore)
    assert any("same value" in text for text in result.provenance["warnings"])
    assert result.provenance["settings"]["force"] is True


def test_another_modality_stops_and_runs_by_force(tmp_path):
    volume = a_volume(square(), "CT")
    with pytest.raises(ContractWarning, match=r"modality CT.*trained on MR"):
        segment(volume, tmp_path)
    assert any("modality CT" in text for text in segment(volume, tmp_path, force=True).provenance["warnings"])


@pytest.mark.parametrize("modality", [None, "", "MR"])
def test_the_same_or_an_unknown_modality_passes(modality, tmp_path):
    assert segment(a_volume(square(), modality), tmp_path).provenance["warnings"] == []


@pytest.mark.parametrize(("low", "high", "word"), [(0, 200, "smallest"), (-100, 50, "largest")])
def test_values_out_of_the_range_of_the_card_stop_and_run_by_force(low, high, word, tmp_path):
    volume = a_volume(square(low, high))
    with pytest.raises(ContractWarning, match=rf"the {word} value of 'pelvis' is.*expects"):
        segment(volume, tmp_path, **CT)
    warnings = segment(volume, tmp_path, force=True, **CT).provenance["warnings"]
    assert [text for text in warnings if f"the {word} value" in text]


def test_wrong_modality_and_range_are_both_said(tmp_path):
    with pytest.raises(ContractWarning, match=r"modality MR.*the smallest value"):
        segment(a_volume(square(0, 200), "MR"), tmp_path, **CT)


def test_ct_without_a_window_is_judged_as_it_is(tmp_path):
    zscore = {"method": "zscore", "percentiles": [0.5, 99.5]}
    volume = a_volume(square(-100, 200), "CT")
    assert segment(volume, tmp_path, **{**CT, "intensity": zscore}).labels.any()


def test_a_picture_file_is_taken_at_one_millimetre_a_pixel_whatever_its_print_says(tmp_path):
    small = np.diag([0.25, 0.25, 1.0, 1.0])  # 100 dots an inch
    picture = VolumeImage(square(), small, "scan.jpg", None, has_scale=False)
    result, plain = segment(picture, tmp_path), segment(a_volume(square()), tmp_path)
    np.testing.assert_array_equal(result.labels, plain.labels)
    np.testing.assert_array_equal(result.ijk_to_ras, small)
    for name, volume in result.attention.items():
        assert volume.array.shape == plain.attention[name].array.shape
    assert [text for text in result.provenance["warnings"] if "takes each pixel for 1 mm" in text]


def test_ct_wholly_outside_its_window_is_not_called_constant(tmp_path):
    """Its values differ; what is wrong is where they lie."""
    with pytest.raises(ContractWarning) as caught:
        segment(a_volume(square(400, 900)), tmp_path, **CT)
    assert "the same value" not in str(caught.value)


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_ct_is_clipped_to_its_window_before_its_range_is_checked(kind, tmp_path):
    array = square(-80, 250, kind)
    array[0, 0, 0], array[0, 0, 1] = -3024, 3071  # padding and metal
    result = segment(a_volume(array, "CT"), tmp_path, **CT)
    assert result.provenance["warnings"] == []
    assert result.labels[1].sum() == 7 * 12


def test_a_photograph_with_sixteen_bits_is_not_taken_for_one_with_eight(tmp_path):
    """Clipped to 0 to 255 it would be all white."""
    photograph = {"modality": "XC", "intensity": {"method": "window", "low": 0, "high": 255}}
    expects = {"minimum": [0, 180], "maximum": [60, 255]}
    assert segment(a_volume(square(20, 200)), tmp_path, expects=expects, **photograph).provenance["warnings"] == []
    with pytest.raises(ContractWarning, match=r"largest value .* is 60000; .* 60 to 255"):
        segment(a_volume(square(20, 60000)), tmp_path, expects=expects, **photograph)


def test_mr_is_not_clipped_before_its_range_is_checked(tmp_path):
    expects = {"minimum": [None, 10], "maximum": [50, None]}
    zscore = {"method": "zscore", "percentiles": [0.5, 99.5]}
    segment(a_volume(square(0, 4000)), tmp_path, expects=expects, intensity=zscore)
    with pytest.raises(ContractWarning, match=r"largest value .* is 40; .* 50 to any"):
        segment(a_volume(square(0, 40)), tmp_path, expects=expects, intensity=zscore)


def test_the_volume_given_is_never_changed(tmp_path):
    array = square(-80, 2500, np.int16)
    before = array.copy()
    segment(a_volume(array), tmp_path, force=True, **CT)
    np.testing.assert_array_equal(array, before)


def test_a_volume_plainly_acquired_along_another_axis_is_warned_about_in_provenance(tmp_path):
    volume = VolumeImage(square(), np.diag([6.0, 1.0, 1.0, 1.0]), "pelvis")
    assert any("along axis i" in text for text in segment(volume, tmp_path).provenance["warnings"])


def pieces() -> np.ndarray:
    """Class 1 in pieces of 8 and 12 voxels, class 2 in pieces of 27 and 1, touching class 1."""
    labels = np.zeros((6, 12, 12), np.uint8)
    labels[0:2, 0:2, 0:2] = 1
    labels[0:2, 0:2, 5:8] = 1
    labels[3:6, 6:9, 6:9] = 2
    labels[2, 0, 0] = 2
    return labels


def test_the_largest_piece_of_each_class_stays():
    labels, before = pieces(), pieces()
    postprocess(labels, {"largest_component": True})
    assert ((labels == 1).sum(), (labels == 2).sum()) == (12, 27)
    assert (labels[0:2, 0:2, 5:8] == 1).all()
    assert (labels[before == 0] == 0).all()


@pytest.mark.parametrize("how", [{}, {"largest_component": False}])
def test_without_the_wish_nothing_is_removed(how):
    labels = pieces()
    postprocess(labels, how)
    np.testing.assert_array_equal(labels, pieces())


def test_pieces_that_touch_at_a_corner_are_two():
    labels = np.zeros((1, 6, 6), np.uint8)
    labels[0, 0:2, 0:2], labels[0, 2:5, 2:5] = 3, 3
    postprocess(labels, {"largest_component": True})
    assert labels.sum() == 3 * 9


def test_pieces_joined_through_another_slice_are_one():
    labels = np.zeros((2, 5, 5), np.uint8)
    labels[0, 0, 0] = labels[0, 0, 4] = 1
    labels[1, 0, :] = 1
    before = labels.copy()
    postprocess(labels, {"largest_component": True})
    np.testing.assert_array_equal(labels, before)


def test_a_volume_of_real_size_is_cleaned():
    """In a process of its own: a mistake with memory that this size reveals would end all tests."""
    script = """
import numpy as np
from MedSegAttentionLib.inference.postprocessing import postprocess
labels = np.zeros((60, 256, 256), np.uint8)
labels[5:50, 20:200, 20:200] = labels[55:57, 220:230, 220:230] = 1
postprocess(labels, {"largest_component": True})
print(labels.sum() - 45 * 180 * 180, labels[5:50, 20:200, 20:200].all())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ended with {done.returncode} {done.stderr}"
    assert done.stdout.split() == ["0", "True"]


def test_labels_with_nothing_in_them_stay_empty():
    labels = np.zeros((2, 5, 5), np.uint8)
    postprocess(labels, {"largest_component": True})
    assert not labels.any()


def test_a_run_removes_smaller_pieces_when_the_card_says_so(tmp_path):
    array = square()
    array[0, 16:19, 20:23] = 1
    assert segment(a_volume(array), tmp_path).labels[0, 17, 21] == 1
    cleaned = segment(a_volume(array), tmp_path, postprocessing={"largest_component": True})
    np.testing.assert_array_equal(cleaned.labels, square() > 0.5)


@pytest.mark.parametrize(("mm", "pixels"), [(100.0, "4000 x 5000"), (0.001, "1 x 1")])
def test_slices_of_a_size_that_no_body_has_are_refused(mm, pixels, tmp_path):
    """As where another unit was taken for mm: the network would be given metres of air, or one pixel."""
    array = np.random.default_rng(0).random((2, 40, 50)).astype(np.float32)
    whole = VolumeImage(array, RAS, "pelvis")
    segment(whole, tmp_path)
    other = replace(whole, ijk_to_ras=np.diag([mm, mm, 3.0, 1.0]))
    with pytest.raises(InputError, match=rf"would see in {pixels} pixels .*Correct the voxel size of the image"):
        segment(other, tmp_path, force=True)
