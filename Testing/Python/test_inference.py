"""A sphere comes back as a sphere, in its place, whatever the grid; so do the attention maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from conftest import DIRECTIONS
from MedSegAttentionLib.data.result import VolumeResult
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.engine import SegmentationRun
from MedSegAttentionLib.inference.settings import RunSettings
from oracle import MAP_CELLS, ThresholdNetwork, checkpoint_of
from sitk_tools import matrix_of, to_sitk

torch.set_num_threads(1)
GRIDS = sorted(DIRECTIONS)
CENTRE = np.array([12.5, -30.25, 47.0])
SPHERE, RADIUS = CENTRE + np.array([4.0, -3.0, 5.0]), 13.0
SLOPE = np.array([0.006, -0.004, 0.003])
"""Change of the ramp per mm towards R, A and S."""
FITS = {
    "as it is": None,
    "finer": {"fit": "spacing", "mm": 0.45, "size": 64},
    "coarser": {"fit": "spacing", "mm": 1.7, "size": 64},
    "stretched": {"fit": "stretch", "size": 64},
}


def a_grid(kind: str, extent: float = 46.0) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape ``[K, J, I]`` and IJK to RAS of a grid of about ``extent`` mm around ``CENTRE``."""
    directions = DIRECTIONS[kind]
    size = np.ceil(extent / np.linalg.norm(directions, axis=0)).astype(int)
    matrix = np.eye(4)
    matrix[:3, :3] = directions
    matrix[:3, 3] = CENTRE - directions @ ((size - 1) / 2)
    return tuple(int(n) for n in size[::-1]), matrix


def positions(shape: tuple[int, int, int], matrix: np.ndarray) -> np.ndarray:
    """``[K, J, I, 3]`` RAS of every voxel, from ITK's physical points."""
    by_itk = matrix_of(to_sitk(np.zeros((1, 1, 1)), matrix))
    k, j, i = np.indices(shape)
    return np.stack((i, j, k), axis=-1) @ by_itk[:3, :3].T + by_itk[:3, 3]


def sphere(points: np.ndarray) -> np.ndarray:
    """1 inside, 0 outside, one half on the surface, with an edge of 8 mm."""
    return np.clip(0.5 + (RADIUS - np.linalg.norm(points - SPHERE, axis=-1)) / 8, 0, 1).astype(np.float32)


def ramp(points: np.ndarray) -> np.ndarray:
    return (0.5 + (points - CENTRE) @ SLOPE).astype(np.float32)


def segmented(array: np.ndarray, matrix: np.ndarray, folder: Path, **changes) -> tuple[VolumeResult, SegmentationRun]:
    grid = changes.pop("attention_grid", "native")
    if changes.get("fit", 0) is None:  # pixels as they are
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        changes["fit"] = {"fit": "spacing", "mm": float(spacing.min()), "size": 64}
    checkpoint = checkpoint_of(ThresholdNetwork(), folder, **changes)
    run = SegmentationRun(
        VolumeImage(array, matrix, "sphere"), checkpoint, RunSettings(device="cpu", attention_grid=grid)
    )
    list(run)
    return run.result(), run


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("how", sorted(FITS))
def test_a_sphere_comes_back_in_its_place(kind, how, tmp_path):
    shape, matrix = a_grid(kind)
    points = positions(shape, matrix)
    result, run = segmented(sphere(points), matrix, tmp_path, fit=FITS[how])
    assert result.labels.shape == shape
    assert result.labels.dtype == np.uint8
    np.testing.assert_array_equal(result.ijk_to_ras, matrix)
    from_surface = np.linalg.norm(points - SPHERE, axis=-1) - RADIUS
    wrong = result.labels != (from_surface < 0)
    if how == "as it is" and run.prepared.fit.resized == run.prepared.fit.source:
        assert not wrong[np.abs(from_surface) > 1e-3].any()
    # Resampling may move the surface by a part of a pixel, where the pixels of the network or the volume are coarse.
    assert np.abs(from_surface[wrong]).max(initial=0) < 0.35 * max(1.7, *run.prepared.plan.spacing[1:])
    canonical = sitk.Resample(
        to_sitk(result.labels, result.ijk_to_ras), _canonical_grid(), sitk.Transform(), sitk.sitkNearestNeighbor
    )
    found = sitk.GetArrayFromImage(canonical) > 0
    wanted = sphere(positions(found.shape, matrix_of(canonical))) > 0.5
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > (0.85 if kind == "anisotropic" else 0.92)


def _canonical_grid() -> sitk.Image:
    """RAI, 1 mm, around the sphere."""
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0])
    matrix[:3, 3] = SPHERE + np.array([18, 18, -18])
    return to_sitk(np.zeros((37, 37, 37), np.uint8), matrix)


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("orientation", ["coronal", "sagittal"])
def test_other_slice_directions_give_the_same_sphere(kind, orientation, tmp_path):
    shape, matrix = a_grid(kind)
    array = sphere(positions(shape, matrix))
    result, run = segmented(array, matrix, tmp_path, orientation=orientation, fit=FITS["finer"])
    wrong = result.labels != (array > 0.5)
    assert np.abs(array[wrong] - 0.5).max(initial=0) < 0.04 * max(run.prepared.plan.spacing[1:])


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("mm", [0.6, 1.3])
def test_native_maps_hold_at_each_place_the_value_of_that_place(kind, mm, tmp_path):
    shape, matrix = a_grid(kind)
    fit = {"fit": "spacing", "mm": mm, "size": 64}
    result, run = segmented(ramp(positions(shape, matrix)), matrix, tmp_path, fit=fit)
    for name, cell in MAP_CELLS.items():
        volume = result.attention[name]
        points = positions(volume.array.shape, volume.ijk_to_ras)
        # Only cells wholly inside the slice hold the value of their centre: the others see padding.
        index = points @ np.linalg.inv(matrix[:3, :3]).T - np.linalg.inv(matrix[:3, :3]) @ matrix[:3, 3]
        margin = (0.5 * cell + 1) * np.max(np.divide(run.prepared.fit.source, run.prepared.fit.resized)) * np.ones(3)
        margin[run.prepared.plan.axes[0]] = 0.5
        size = np.array(shape[::-1])
        inside = ((index >= margin - 0.5) & (index <= size - 0.5 - margin)).all(axis=-1)
        assert inside.any() or cell * mm > 15
        np.testing.assert_allclose(volume.array[inside], ramp(points)[inside], atol=2e-3)
        assert volume.array.dtype == np.float32
        assert np.linalg.det(volume.ijk_to_ras[:3, :3]) > 0


@pytest.mark.parametrize("kind", GRIDS)
def test_native_maps_cover_the_slice_and_no_more_than_a_cell_beyond(kind, tmp_path):
    shape, matrix = a_grid(kind)
    result, run = segmented(
        ramp(positions(shape, matrix)), matrix, tmp_path, fit={"fit": "spacing", "mm": 0.6, "size": 64}
    )
    for name in MAP_CELLS:
        volume = result.attention[name]
        columns, rows = volume.array.shape[:0:-1]
        corners = np.array([(i, j, 0, 1) for i in (-0.5, columns - 0.5) for j in (-0.5, rows - 0.5)])
        index = (np.linalg.inv(run.prepared.plan.to_ras) @ volume.ijk_to_ras @ corners.T).T
        cell = np.linalg.norm(volume.ijk_to_ras[:3, :2], axis=0) / np.array(run.prepared.plan.spacing[:0:-1])
        for axis, pixels in ((0, run.prepared.plan.shape[2]), (1, run.prepared.plan.shape[1])):
            low, high = index[:, axis].min(), index[:, axis].max()
            assert -0.5 - cell.max() - 1e-6 < low <= -0.5 + 1e-6
            assert pixels - 0.5 - 1e-6 <= high < pixels - 0.5 + cell.max() + 1e-6


@pytest.mark.parametrize("kind", GRIDS)
def test_maps_on_the_input_grid_hold_the_value_of_each_voxel(kind, tmp_path):
    shape, matrix = a_grid(kind)
    array = ramp(positions(shape, matrix))
    fit = {"fit": "spacing", "mm": 0.6, "size": 64}
    result, run = segmented(array, matrix, tmp_path, attention_grid="input", fit=fit)
    for name, cell in MAP_CELLS.items():
        volume = result.attention[name]
        np.testing.assert_array_equal(volume.ijk_to_ras, matrix)
        assert volume.array.shape == shape
        view, wanted = run.prepared.plan.view(volume.array), run.prepared.plan.view(array)
        # One cell and a half from the border: there the cells are whole, and so are their neighbours.
        rows, columns = (int(np.ceil(1.6 * cell * 0.62 / mm)) for mm in run.prepared.plan.spacing[1:])
        inner = (slice(None), slice(rows, -rows), slice(columns, -columns))
        assert view[inner].size
        np.testing.assert_allclose(view[inner], wanted[inner], atol=2e-3)


def test_both_grids_of_a_map_agree_at_the_same_places(tmp_path):
    shape, matrix = a_grid("oblique")
    array = sphere(positions(shape, matrix)) + 1e-3 * np.random.default_rng(0).random(shape)  # no padding
    fit = {"fit": "spacing", "mm": 0.7, "size": 64}
    native = segmented(array, matrix, tmp_path, fit=fit)[0].attention["tau_stage4"]
    whole = segmented(array, matrix, tmp_path, fit=fit, attention_grid="input")[0].attention["tau_stage4"]
    resampled = sitk.Resample(
        to_sitk(native.array, native.ijk_to_ras), to_sitk(whole.array, matrix), sitk.Transform(), sitk.sitkLinear, -1.0
    )
    found = sitk.GetArrayFromImage(resampled)
    known = found >= 0
    assert known.mean() > 0.7
    np.testing.assert_allclose(found[known], whole.array[known], atol=0.02)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_any_number_type_gives_the_same_sphere(kind, tmp_path):
    shape, matrix = a_grid("oblique")
    array = np.round(sphere(positions(shape, matrix)) * 200)
    window = {"method": "window", "low": 0, "high": 200}
    result, _ = segmented(array.astype(kind), matrix, tmp_path, fit=None, intensity=window)
    wanted, _ = segmented(array, matrix, tmp_path, fit=None, intensity=window)
    assert wanted.labels.sum() > 1000
    np.testing.assert_array_equal(result.labels, wanted.labels)


def test_one_slice_alone_is_segmented(tmp_path):
    shape, matrix = a_grid("oblique")
    array = sphere(positions(shape, matrix))
    middle = shape[0] // 2
    alone = matrix.copy()
    alone[:3, 3] += matrix[:3, 2] * middle
    result, _ = segmented(array[middle : middle + 1], alone, tmp_path, fit=None)
    whole, _ = segmented(array, matrix, tmp_path, fit=None)
    np.testing.assert_array_equal(result.labels[0], whole.labels[middle])
    assert result.labels.any()


def test_a_colour_picture_is_segmented_in_its_own_orientation(tmp_path):
    picture = np.zeros((1, 40, 60, 3), np.uint8)
    picture[0, 5:20, 10:50] = 250
    result, _ = segmented(
        picture,
        np.diag([-1.0, -1.0, 1.0, 1.0]),
        tmp_path,
        in_channels=3,
        intensity={"method": "window", "low": 0, "high": 255},
        fit={"fit": "stretch", "size": 64},
    )
    assert result.labels.shape == (1, 40, 60)
    rows, columns = np.nonzero(result.labels[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((5, 19, 10, 49), abs=1)
    assert result.labels.sum() == pytest.approx(15 * 40, rel=0.08)
