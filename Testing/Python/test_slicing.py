"""Slices are cut along the right axis, read in the right direction, and know exactly where they lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conftest import DIRECTIONS, an_image, geometry
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.slicing import SlicePlan, plan_slices
from sitk_tools import ras_of, to_sitk

GRIDS = sorted(DIRECTIONS)
ORIENTATIONS = ("axial", "coronal", "sagittal")
STACKED_ALONG = {"axial": 2, "coronal": 1, "sagittal": 0}


def numbered(kind: str, shape: tuple[int, int, int] = (3, 4, 5)) -> VolumeImage:
    """Every voxel has its own value."""
    return VolumeImage(np.arange(np.prod(shape)).reshape(shape), geometry(kind), "numbered")


def along(spacing: tuple[float, float, float], size: tuple[int, int, int] = (6, 7, 8)) -> VolumeImage:
    """Axes along R, A, S with this spacing (i, j, k)."""
    return VolumeImage(np.zeros(size[::-1], np.float32), np.diag([*spacing, 1.0]), "knee")


def ras(plan: SlicePlan, column: int, row: int, number: int) -> np.ndarray:
    return (plan.to_ras @ [column, row, number, 1])[:3]


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_pixel_lies_where_sitk_says_its_voxel_lies(kind, orientation):
    volume = numbered(kind)
    image = to_sitk(volume.array, volume.ijk_to_ras)
    plan = plan_slices(volume, orientation)
    view = plan.view(volume.array)
    assert view.shape == plan.shape
    for number, row, column in np.ndindex(view.shape):
        k, j, i = np.argwhere(volume.array == view[number, row, column])[0]
        np.testing.assert_allclose(ras(plan, column, row, number), ras_of(image, (i, j, k)), atol=1e-9)


@pytest.mark.parametrize("kind", GRIDS)
def test_axial_columns_run_to_the_left_and_rows_to_the_back(kind):
    plan = plan_slices(numbered(kind))
    column_step = ras(plan, 1, 0, 0) - ras(plan, 0, 0, 0)
    row_step = ras(plan, 0, 1, 0) - ras(plan, 0, 0, 0)
    assert np.abs(column_step).argmax() == 0
    assert column_step[0] < 0
    assert np.abs(row_step).argmax() == 1
    assert row_step[1] < 0


@pytest.mark.parametrize(("orientation", "column", "row"), [("coronal", 0, 2), ("sagittal", 1, 2)])
@pytest.mark.parametrize("kind", ["plain", "flipped", "permuted"])
def test_other_planes_read_towards_left_back_and_feet(kind, orientation, column, row):
    plan = plan_slices(numbered(kind), orientation)
    for axis, step in ((column, ras(plan, 1, 0, 0)), (row, ras(plan, 0, 1, 0))):
        moved = step - ras(plan, 0, 0, 0)
        assert np.flatnonzero(np.abs(moved) > 1e-9).tolist() == [axis]
        assert moved[axis] < 0


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_slices_stack_along_the_axis_closest_to_the_orientation(kind, orientation):
    plan = plan_slices(numbered(kind), orientation)
    step = ras(plan, 0, 0, 1) - ras(plan, 0, 0, 0)
    assert np.abs(step).argmax() == STACKED_ALONG[orientation]


@pytest.mark.parametrize("kind", GRIDS)
def test_spacing_is_that_of_the_steps(kind):
    plan = plan_slices(numbered(kind))
    start = ras(plan, 0, 0, 0)
    steps = [np.linalg.norm(ras(plan, *step) - start) for step in ((0, 0, 1), (0, 1, 0), (1, 0, 0))]
    np.testing.assert_allclose(plan.spacing, steps)


def test_slices_keep_the_order_of_the_file():
    for sign in (1.0, -1.0):
        volume = VolumeImage(np.zeros((5, 4, 3)), np.diag([1.0, 1.0, sign, 1.0]))
        assert (ras(plan_slices(volume), 0, 0, 1) - ras(plan_slices(volume), 0, 0, 0))[2] == sign


def test_a_view_writes_into_the_volume_also_with_colours():
    for shape in ((3, 4, 5), (3, 4, 5, 3)):
        array = np.zeros(shape)
        plan = plan_slices(VolumeImage(array, geometry("flipped")))
        view = plan.view(array)
        view[1] = 7
        assert np.shares_memory(view, array)
        assert view.shape[3:] == shape[3:]
        assert (array[1] == 7).all()
        assert (array == 7).sum() == np.prod(shape[1:])


@pytest.mark.parametrize(("axis", "index"), [("i", 0), ("j", 1), ("k", 2)])
def test_an_axis_can_be_chosen(axis, index):
    volume = numbered("oblique")
    plan = plan_slices(volume, axis=axis)
    assert plan.axes[0] == index
    assert plan.shape[0] == volume.size[index]
    assert ("as asked" in (plan.warning or "")) == (axis != "k")  # k is axial, which the network knows


@pytest.mark.parametrize("axis", ["x", "", "ij", "K", "axial"])
def test_an_unknown_axis_is_named_with_the_known_ones(axis):
    with pytest.raises(InputError, match=rf"'{axis}'.*auto, i, j or k"):
        plan_slices(numbered("plain"), axis=axis)


@pytest.mark.parametrize("singleton", [0, 1, 2])
def test_a_singleton_axis_wins_over_the_orientation(singleton):
    size = [6, 7, 8]
    size[singleton] = 1
    plan = plan_slices(along((1, 1, 1), tuple(size)))
    assert plan.axes[0] == singleton
    assert plan.shape[0] == 1


def test_of_several_singleton_axes_the_wanted_one_is_taken():
    assert plan_slices(along((1, 1, 1), (1, 1, 8))).axes[0] in (0, 1)
    assert plan_slices(along((1, 1, 1), (1, 7, 1))).axes[0] == 2
    assert plan_slices(along((1, 1, 1), (1, 1, 1)), "coronal").axes[0] == 1


def test_a_choice_of_axis_wins_over_a_singleton_axis():
    assert plan_slices(along((1, 1, 1), (6, 7, 1)), axis="j").axes[0] == 1


@pytest.mark.parametrize(
    ("spacing", "coarse"),
    [((5.0, 1.0, 1.0), "i"), ((1.0, 5.0, 1.0), "j"), ((1.0, 1.0, 5.0), None), ((1.9, 1.0, 1.0), None)],
)
def test_a_volume_acquired_along_another_axis_is_warned_about(spacing, coarse):
    warning = plan_slices(along(spacing)).warning
    if coarse is None:
        assert warning is None
    else:
        assert f"along axis {coarse}" in warning
        assert "axial slices that the network was trained on" in warning
        assert "axis 'auto' is right" in warning
        assert "knee" in warning


def test_at_exactly_twice_the_spacing_there_is_a_warning():
    assert plan_slices(along((2.0, 1.0, 1.0))).warning
    assert plan_slices(along((2.0, 1.0, 1.01))).warning is None


def test_one_slice_is_never_warned_about():
    assert plan_slices(along((5.0, 1.0, 1.0), (6, 7, 1))).warning is None


def test_planning_leaves_the_volume_as_it_was():
    volume = an_image("oblique")
    before = replace(volume, array=volume.array.copy(), ijk_to_ras=volume.ijk_to_ras.copy())
    plan_slices(volume)
    np.testing.assert_array_equal(volume.array, before.array)
    np.testing.assert_array_equal(volume.ijk_to_ras, before.ijk_to_ras)
