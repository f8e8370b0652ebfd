from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slicer
from PIL import Image

from conftest import CLASSES, DIRECTIONS, geometry
from MedSegAttentionLib.data.card import AttentionMap
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.data.result import AttentionVolume, VolumeResult
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.files.reading import read_volume
from MedSegAttentionLib.output.pictures import draw_figure, slice_picture, write_figure
from MedSegAttentionLib.scene.arrays import to_vtk
from MedSegAttentionLib.scene.colours import colour_map
from MedSegAttentionLib.scene.volumes import add_volume
from MedSegAttentionLib.scene.writing import write_result
from scene_tools import snapshot, world_matrix

GOLDEN = Path(__file__).parent / "data" / "slice_blend.png"
SCALE = 16
SIZE = (12, 10, 6)
"""(i, j, k); pictures are drawn SCALE pixels per voxel."""


@pytest.fixture
def a_marked_volume(a_scene) -> tuple:
    """(volume node, nodes written): grey with one bright voxel, a segment, a map bright in a corner.

    Grid of file order LPS: i runs to the patient's left, j to posterior, k to superior.
    """
    array = np.full(SIZE[::-1], 100, dtype=np.int16)
    array[2, 3, 1] = 200
    labels = np.zeros(SIZE[::-1], dtype=np.uint8)
    labels[2, 6:9, 2:5] = 1
    image = VolumeImage(array, geometry("plain"), "marked")
    values = np.zeros(SIZE[::-1], dtype=np.float32)
    values[2, 0:4, 8:12] = 1
    tau = AttentionVolume(AttentionMap("tau", "tau", ""), values, image.ijk_to_ras)
    node = add_volume(a_scene, image)
    result = VolumeResult("marked", labels, image.ijk_to_ras, CLASSES, {"tau": tau}, {"checkpoint": "test"})
    return node, write_result(a_scene, result, node, show=False)


def at(picture: np.ndarray, column: int, row: int) -> list[int]:
    """The pixel in the middle of a voxel, counted from the top left of the picture."""
    return picture[row * SCALE + SCALE // 2, column * SCALE + SCALE // 2].tolist()


def mixed(colour, grey: int = 128, opacity: float = 0.5) -> list[float]:
    return [opacity * component + (1 - opacity) * grey for component in colour]


def picture_of(scene, node, index=2, **options) -> np.ndarray:
    options = {"window": (0, 200), "height": SCALE * SIZE[1], **options}
    return slice_picture(scene, node, index, **options)


def test_patient_right_is_on_the_left_and_anterior_on_top(a_scene, a_marked_volume):
    picture = picture_of(a_scene, a_marked_volume[0])
    assert picture.shape == (SCALE * 10, SCALE * 12, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_allclose(at(picture, 1, 3), 255, atol=12)  # between pixels of an even scale: a little less
    np.testing.assert_allclose(at(picture, 10, 3), 127, atol=1)
    np.testing.assert_allclose(at(picture, 1, 6), 127, atol=1)


@pytest.mark.parametrize("kind", DIRECTIONS)
@pytest.mark.parametrize("moved", [False, True])
def test_orientation_is_that_of_the_patient_whatever_the_grid(a_scene, kind, moved):
    matrix = geometry(kind)
    array = np.zeros((7, 9, 11), dtype=np.uint8)
    node = add_volume(a_scene, VolumeImage(array, matrix))
    if moved:
        turn = a_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "lies on the other side")
        turn.SetMatrixTransformToParent(to_vtk(np.diag([-1.0, 1.0, -1.0, 1.0])))
        node.SetAndObserveTransformNodeID(turn.GetID())
        matrix = world_matrix(node)
    order = np.argmax(np.abs(matrix[:3, :3]), axis=0).tolist()  # the RAS axis of i, j, k
    axial = order.index(2)
    index = [array.shape[2 - axis] // 2 for axis in range(3)]
    # One step from the right-anterior corner of the middle axial slice.
    for anatomical in (0, 1):
        axis = order.index(anatomical)
        towards_end = matrix[anatomical, axis] > 0
        index[axis] = array.shape[2 - axis] - 2 if towards_end else 1
    slicer.util.arrayFromVolume(node)[tuple(index[::-1])] = 255
    slicer.util.arrayFromVolumeModified(node)
    picture = slice_picture(a_scene, node, index[axial], axis=axial, window=(0, 255), height=180)
    row, column = np.unravel_index(picture[..., 0].argmax(), picture.shape[:2])
    rows = array.shape[2 - order.index(1)]
    columns = array.shape[2 - order.index(0)]
    assert picture.max() > 200
    assert row // (picture.shape[0] / rows) == 1
    assert column // (picture.shape[1] / columns) == 1


def test_segment_has_its_colour_in_its_place(a_scene, a_marked_volume):
    node, written = a_marked_volume
    picture = picture_of(a_scene, node, segmentation_node=written.segmentation)
    liver = mixed(CLASSES[0].colour)
    for column in range(12):
        for row in range(10):
            inside = 2 <= column < 5 and 6 <= row < 9
            distance = np.abs(np.array(at(picture, column, row)) - liver).max()
            assert (distance <= 2) == inside, (column, row)


def test_segment_border_is_sharp_to_the_pixel(a_scene, a_marked_volume):
    node, written = a_marked_volume
    plain = picture_of(a_scene, node)
    drawn = picture_of(a_scene, node, segmentation_node=written.segmentation)
    rows, columns = np.nonzero((plain != drawn).any(axis=-1))
    assert (rows.min(), rows.max() + 1) == (6 * SCALE, 9 * SCALE)
    assert (columns.min(), columns.max() + 1) == (2 * SCALE, 5 * SCALE)


def test_overlay_has_the_colours_of_the_map_in_its_place(a_scene, a_marked_volume):
    node, written = a_marked_volume
    picture = picture_of(a_scene, node, overlay_node=written.attention["tau"], opacity=0.5)
    np.testing.assert_allclose(at(picture, 10, 1), mixed(colour_map()[255]), atol=2)
    np.testing.assert_allclose(at(picture, 5, 8), mixed(colour_map()[0]), atol=2)


def test_threshold_lets_the_image_through(a_scene, a_marked_volume):
    node, written = a_marked_volume
    overlay = written.attention["tau"]
    overlay.GetDisplayNode().SetThreshold(0.5, 1.0)
    picture = picture_of(a_scene, node, overlay_node=overlay)
    np.testing.assert_allclose(at(picture, 5, 8), 127, atol=1)
    np.testing.assert_allclose(at(picture, 10, 1), mixed(colour_map()[255]), atol=2)


def test_blend_is_the_golden_picture(a_scene, a_marked_volume):
    node, written = a_marked_volume
    options = {"segmentation_node": written.segmentation, "overlay_node": written.attention["tau"]}
    picture = picture_of(a_scene, node, **options)
    golden = np.asarray(Image.open(GOLDEN).convert("RGB")).astype(int)
    assert picture.shape == golden.shape
    assert np.abs(picture - golden).max() <= 2
    np.testing.assert_array_equal(picture, picture_of(a_scene, node, **options))


def test_colour_photograph_keeps_its_colours(a_scene):
    array = np.random.default_rng(0).integers(0, 255, (1, 8, 8, 3), dtype=np.uint8)
    node = add_volume(a_scene, VolumeImage(array, np.diag([-1.0, -1.0, 1.0, 1.0])))
    node.GetDisplayNode().SetInterpolate(False)
    picture = slice_picture(a_scene, node, 0, height=8 * SCALE)
    for row, column in ((0, 0), (2, 5), (7, 7)):
        np.testing.assert_allclose(at(picture, column, row), array[0, row, column], atol=2)


@pytest.mark.parametrize(("axis", "shape"), [(0, (120, 200)), (1, (120, 240)), (2, (120, 144))])
def test_every_axis_can_be_cut(a_scene, a_marked_volume, axis, shape):
    assert slice_picture(a_scene, a_marked_volume[0], 1, axis=axis, height=120).shape == (*shape, 3)


def test_scene_and_display_are_left_as_they_were(a_scene, a_marked_volume):
    node, written = a_marked_volume
    display = node.GetDisplayNode()
    before = snapshot(a_scene), display.GetAutoWindowLevel(), display.GetWindow(), display.GetLevel()
    picture_of(a_scene, node, segmentation_node=written.segmentation, overlay_node=written.attention["tau"])
    assert (snapshot(a_scene), display.GetAutoWindowLevel(), display.GetWindow(), display.GetLevel()) == before


@pytest.mark.parametrize(("axis", "index"), [(2, 6), (2, -1), (3, 0)])
def test_a_slice_that_is_not_there_is_named(a_scene, a_marked_volume, axis, index):
    with pytest.raises(InputError, match=f"no slice {index} along axis {axis}"):
        slice_picture(a_scene, a_marked_volume[0], index, axis=axis)


def test_real_ct_shows_the_liver_on_the_left(a_scene, a_real_ct, tmp_path):
    image = read_volume(a_real_ct)
    node = add_volume(a_scene, image)
    labels = np.zeros(image.array.shape, dtype=np.uint8)
    bone = image.array > 300
    labels[bone] = 1
    written = write_result(a_scene, VolumeResult("ct", labels, image.ijk_to_ras, CLASSES), node)
    grey = slice_picture(a_scene, node, 1, window=(-160, 240))
    # At this level gas lies under the anterior wall on the patient's left, and opposite to it lies the liver's edge.
    gas = grey[..., 0] < 20
    assert gas[75:115, 275:360].mean() > 0.5
    assert gas[75:115, 152:237].mean() < 0.05
    drawn = slice_picture(a_scene, node, 1, window=(-160, 240), segmentation_node=written.segmentation)
    share = (drawn != grey).any(axis=-1).mean()
    assert share == pytest.approx(bone[1].mean(), rel=0.02)


def test_figure_has_every_panel_and_the_colour_bar(tmp_path):
    panels = [(f"panel {n}", np.full((200, 150, 3), 40 * n, dtype=np.uint8)) for n in (1, 2)]
    path = write_figure(tmp_path / "figure.png", panels, (colour_map(), 0.0, 0.8, "tau"))
    figure = np.asarray(Image.open(path).convert("RGB"))
    for n in (1, 2):
        assert (figure == 40 * n).all(axis=-1).sum() == 200 * 150
    for colour in (colour_map()[0], colour_map()[255]):
        assert (figure == colour).all(axis=-1).any()
    assert (figure[:28] < 100).any()  # titles
    without = np.asarray(Image.open(write_figure(tmp_path / "plain.png", panels)).convert("RGB"))
    assert without.shape[1] < figure.shape[1]


def test_figure_errors_are_clear(tmp_path):
    panel = [("a", np.zeros((8, 8, 3), dtype=np.uint8))]
    with pytest.raises(InputError, match="at least one panel"):
        write_figure(tmp_path / "a.png", [])
    with pytest.raises(InputError, match="cannot be written"):
        write_figure(tmp_path / "nowhere" / "a.png", panel)
    with pytest.raises(InputError, match="cannot be written"):
        write_figure(tmp_path / "a.unknown", panel)


def test_partly_hidden_segments_are_not_drawn(a_scene, a_marked_volume):
    node, written = a_marked_volume
    written.segmentation.GetDisplayNode().SetSegmentVisibility("liver", False)
    plain = picture_of(a_scene, node)
    np.testing.assert_array_equal(plain, picture_of(a_scene, node, segmentation_node=written.segmentation))


def test_a_run_that_found_nothing_can_be_drawn(a_scene, a_volume_node, a_result):
    nothing = replace(a_result, labels=np.zeros_like(a_result.labels))
    written = write_result(a_scene, nothing, a_volume_node)
    plain = slice_picture(a_scene, a_volume_node, 3)
    np.testing.assert_array_equal(
        plain, slice_picture(a_scene, a_volume_node, 3, segmentation_node=written.segmentation)
    )


def test_a_slice_across_few_slices_makes_no_endless_picture(a_scene):
    node = add_volume(a_scene, VolumeImage(np.arange(2 * 40 * 100.0).reshape(2, 40, 100), geometry("plain"), "thin"))
    picture = slice_picture(a_scene, node, 20, axis=1, height=64)
    height, width = picture.shape[:2]
    assert width <= 3 * 64
    assert 1 <= height < 64
    figure = draw_figure([("thin", picture)], (np.zeros((4, 3), np.uint8), 0.0, 1.0, "tau"))
    assert figure.size[1] >= 200
