from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicerio

from conftest import DIRECTIONS, a_result_on, an_image
from MedSegAttentionLib.data.card import AttentionMap
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.data.result import AttentionVolume
from MedSegAttentionLib.output.files import save_node, save_scene
from MedSegAttentionLib.scene import writing
from MedSegAttentionLib.scene.application import headless_scene
from MedSegAttentionLib.scene.colours import COLOUR_NODE_TAG, colour_map
from MedSegAttentionLib.scene.overlay_display import legend
from MedSegAttentionLib.scene.overlays import show_overlay, write_attention
from MedSegAttentionLib.scene.volumes import add_volume, volume_image
from MedSegAttentionLib.scene.writing import write_result
from scene_tools import add_transform, snapshot, world_matrix


def views(scene) -> list:
    return [
        scene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode")
        for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode"))
    ]


@pytest.mark.parametrize("kind", DIRECTIONS)
@pytest.mark.parametrize("moved", [False, True])
def test_overlay_lies_where_the_network_looked(a_scene, kind, moved):
    volume_node = add_volume(a_scene, an_image(kind))
    if moved:
        add_transform(a_scene, volume_node)
    attention = a_result_on(volume_image(volume_node)).attention["tau_stage4"]
    node = write_attention(a_scene, attention, volume_node, {})
    np.testing.assert_allclose(world_matrix(node), attention.ijk_to_ras, atol=1e-9)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), attention.array)
    assert slicer.util.arrayFromVolume(node).dtype == np.float32
    assert node.GetParentTransformNode() is volume_node.GetParentTransformNode()


@pytest.mark.parametrize("how", ["transform", "origin"])
def test_overlays_follow_an_image_that_was_moved_during_the_run(a_scene, how):
    volume_node = add_volume(a_scene, an_image("oblique"))
    if how == "transform":
        add_transform(a_scene, volume_node)
    before = volume_image(volume_node).ijk_to_ras
    result = a_result_on(volume_image(volume_node))
    if how == "transform":
        matrix = slicer.util.arrayFromTransformMatrix(volume_node.GetParentTransformNode())
        matrix[:3, 3] += (30, -20, 10)
        slicer.util.updateTransformMatrixFromArray(volume_node.GetParentTransformNode(), matrix)
    else:
        volume_node.SetOrigin(30, -20, 10)
    moved = volume_image(volume_node).ijk_to_ras @ np.linalg.inv(before)
    written = write_result(a_scene, result, volume_node)
    for name, node in written.attention.items():
        np.testing.assert_allclose(world_matrix(node), moved @ result.attention[name].ijk_to_ras, atol=1e-6)


def test_overlay_display_has_the_range_of_the_map_not_of_the_image(a_scene, a_volume_node, a_result):
    attention = a_result.attention["tau_stage4"]
    faint = AttentionVolume(AttentionMap("k", "k", "", (0.25, 4.0)), attention.array * 0.01, attention.ijk_to_ras)
    display = write_attention(a_scene, faint, a_volume_node, {}).GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.25, 4.0)
    assert (display.GetLowerThreshold(), display.GetUpperThreshold()) == (0.25, 4.0)
    assert not display.GetAutoWindowLevel()
    assert not display.GetAutoThreshold()
    assert display.GetApplyThreshold()
    assert display.GetInterpolate()


@pytest.mark.parametrize(("name", "least"), [("uncertainty", 0.1), ("probability_liver", 0.1), ("tau_stage4", 0.0)])
def test_where_a_map_says_nothing_the_image_is_seen(a_scene, a_volume_node, a_result, name, least):
    attention = a_result.attention["tau_stage4"]
    shown = replace(attention, map=AttentionMap(name, name, "", (0.0, 1.0)))
    assert write_attention(a_scene, shown, a_volume_node, {}).GetDisplayNode().GetLowerThreshold() == least


def test_a_long_title_of_a_legend_does_not_lie_across_the_image(a_scene, a_volume_node, a_result):
    attention = a_result.attention["tau_stage4"]
    long = replace(attention, map=replace(attention.map, title="k / k_max, a sixteenth of the resolution"))
    lines = legend(write_attention(a_scene, long, a_volume_node, {})).GetTitleText().splitlines()
    assert max(map(len, lines)) <= 14
    assert " ".join(lines) == "k / k_max, a sixteenth of the resolution"


def test_colour_table_is_made_once(a_scene, a_volume_node, a_result):
    attention = a_result.attention["tau_stage4"]
    first = write_attention(a_scene, attention, a_volume_node, {}).GetDisplayNode().GetColorNode()
    second = write_attention(a_scene, attention, a_volume_node, {}).GetDisplayNode().GetColorNode()
    assert first is second
    assert first.GetNumberOfColors() == 256
    for index in (0, 100, 255):
        colour = [0.0] * 4
        first.GetColor(index, colour)
        np.testing.assert_allclose(colour, [*colour_map()[index] / 255, 1], atol=1e-6)


def test_colour_map_brightens_evenly():
    lightness = colour_map() @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > -0.3).all()
    assert lightness[-1] - lightness[0] > 150


def test_legend_is_ready(a_scene, a_volume_node, a_result):
    node = write_attention(a_scene, a_result.attention["tau_stage4"], a_volume_node, {})
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
    assert legend.GetTitleText() == "tau, stage 4"
    assert legend.GetPrimaryDisplayNode() is node.GetDisplayNode()


def test_values_above_the_window_stay_visible(a_scene, a_volume_node, a_result):
    attention = a_result.attention["tau_stage4"]
    strong = replace(attention, array=attention.array + 1.0)
    display = write_attention(a_scene, strong, a_volume_node, {}).GetDisplayNode()
    assert display.GetUpperThreshold() >= strong.array.max()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == attention.map.range


def test_without_an_overlay_the_users_own_foreground_stays(a_scene, a_volume_node, a_result):
    other = a_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other")
    view = a_scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    view.SetForegroundVolumeID(other.GetID())
    write_result(a_scene, replace(a_result, attention={}), a_volume_node)
    assert view.GetForegroundVolumeID() == other.GetID()


def test_everything_is_written_and_shown(a_scene, a_volume_node, a_partial_result):
    written = write_result(a_scene, a_partial_result, a_volume_node)
    assert list(written.attention) == ["tau_stage4"]
    overlay = written.attention["tau_stage4"]
    for node in (written.segmentation, overlay):
        assert json.loads(node.GetAttribute("MedSegAttention.Provenance")) == a_partial_result.provenance
        assert node.GetAttribute("MedSegAttention.Checkpoint") == "abdomen-ct-klo-net"
    assert overlay.GetAttribute("MedSegAttention.Map") == "tau_stage4"
    assert len(views(a_scene)) == 3
    for view in views(a_scene):
        assert view.GetBackgroundVolumeID() == a_volume_node.GetID()
        assert view.GetForegroundVolumeID() == overlay.GetID()
        assert view.GetForegroundOpacity() == 0.5


def test_empty_views_are_fitted_to_the_image_and_others_keep_their_zoom(a_scene, a_volume_node, a_result):
    written = write_result(a_scene, a_result, a_volume_node)
    bounds = np.zeros(6)
    a_volume_node.GetRASBounds(bounds)
    centre = bounds.reshape(3, 2).mean(axis=1)
    slice_nodes = [slicer.vtkMRMLSliceLogic.GetSliceNode(view) for view in views(a_scene)]
    assert [node.GetOrientation() for node in slice_nodes] == ["Axial", "Coronal", "Sagittal"]
    for node, across in zip(slice_nodes, (2, 1, 0), strict=True):
        to_ras = node.GetSliceToRAS()
        origin = np.array([to_ras.GetElement(axis, 3) for axis in range(3)])
        np.testing.assert_allclose(origin, centre, atol=1.0)
        widest = max(size for axis, size in enumerate(np.diff(bounds)[::2]) if axis != across)
        assert widest <= max(node.GetFieldOfView()[:2]) < 1.2 * widest
    slice_nodes[0].SetFieldOfView(7, 7, 1)
    show_overlay(a_scene, written.attention["tau_stage4"], a_volume_node)
    assert slice_nodes[0].GetFieldOfView()[:2] == (7, 7)


def test_hidden_result_leaves_the_views(a_scene, a_volume_node, a_result):
    write_result(a_scene, a_result, a_volume_node, show=False)
    assert {view.GetBackgroundVolumeID() for view in views(a_scene)} == {None}


@pytest.mark.parametrize("in_study", [False, True])
def test_outputs_are_beside_the_volume_in_the_hierarchy(a_scene, a_volume_node, a_result, in_study):
    hierarchy = a_scene.GetSubjectHierarchyNode()
    parent = hierarchy.GetSceneItemID()
    if in_study:
        patient = hierarchy.CreateSubjectItem(parent, "patient")
        parent = hierarchy.CreateStudyItem(patient, "study")
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(a_volume_node), parent)
    written = write_result(a_scene, a_result, a_volume_node)
    for node in (written.segmentation, *written.attention.values()):
        item = hierarchy.GetItemByDataNode(node)
        assert item
        assert hierarchy.GetItemParent(item) == parent


def fail_on_second_map(monkeypatch) -> None:
    real, calls = writing.write_attention, []

    def write(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise MemoryError("no room")
        return real(*arguments)

    monkeypatch.setattr(writing, "write_attention", write)


def fail_when_shown(monkeypatch) -> None:
    def show(*arguments):
        show_overlay(*arguments)
        raise RuntimeError("view is gone")

    monkeypatch.setattr(writing, "show_overlay", show)


@pytest.mark.parametrize("fail", [fail_on_second_map, fail_when_shown])
def test_a_failure_leaves_the_scene_as_it_was(a_scene, a_volume_node, a_result, monkeypatch, fail):
    write_result(a_scene, a_result, a_volume_node)
    show_overlay(a_scene, a_volume_node, a_volume_node, opacity=0.25)
    before = snapshot(a_scene)
    fail(monkeypatch)
    twice = replace(a_result, attention=dict.fromkeys(("tau_stage4", "k_stage4"), a_result.attention["tau_stage4"]))
    with pytest.raises((MemoryError, RuntimeError), match=r"no room|view is gone"):
        write_result(a_scene, twice, a_volume_node)
    assert snapshot(a_scene) == before
    monkeypatch.undo()
    assert write_result(a_scene, twice, a_volume_node).segmentation.GetSegmentation().GetNumberOfSegments() == 3


def test_a_failure_of_the_first_run_leaves_no_colour_table(a_scene, a_volume_node, a_result, monkeypatch):
    before = snapshot(a_scene)
    fail_when_shown(monkeypatch)
    with pytest.raises(RuntimeError, match="view is gone"):
        write_result(a_scene, a_result, a_volume_node)
    assert snapshot(a_scene) == before


def test_a_result_that_does_not_fit_leaves_the_scene_as_it_was(a_scene, a_volume_node, a_result):
    before = snapshot(a_scene)
    with pytest.raises(InputError, match="do not fit"):
        write_result(a_scene, replace(a_result, labels=a_result.labels[1:]), a_volume_node)
    assert snapshot(a_scene) == before


def test_scene_file_brings_everything_back(a_scene, a_volume_node, a_partial_result, tmp_path):
    add_transform(a_scene, a_volume_node)
    result = replace(a_partial_result, ijk_to_ras=volume_image(a_volume_node).ijk_to_ras)
    overlay = write_result(a_scene, result, a_volume_node).attention["tau_stage4"]
    overlay.GetDisplayNode().SetThreshold(0.4, 1.0)
    before = snapshot(a_scene)[1:]
    path = save_scene(a_scene, tmp_path / "demo.mrb")
    assert snapshot(a_scene)[1:] == before

    loaded = headless_scene()
    assert loaded.ReadFromMRB(str(path))
    segmentation = loaded.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert json.loads(segmentation.GetAttribute("MedSegAttention.Provenance")) == result.provenance
    assert segmentation.GetAttribute("MedSegAttention.Partial") == "2-6"
    assert segmentation.GetParentTransformNode().GetName() == "couch"
    again = loaded.GetFirstNodeByName(overlay.GetName())
    assert again.GetAttribute("MedSegAttention.Map") == "tau_stage4"
    assert again.GetDisplayNode().GetLowerThreshold() == 0.4
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(again), result.attention["tau_stage4"].array)
    np.testing.assert_allclose(world_matrix(again), world_matrix(overlay), atol=1e-6)
    assert {view.GetForegroundVolumeID() for view in views(loaded)} == {again.GetID()}
    colour = [0.0] * 4
    assert again.GetDisplayNode().GetColorNode().GetSingletonTag() == COLOUR_NODE_TAG
    again.GetDisplayNode().GetColorNode().GetColor(255, colour)
    np.testing.assert_allclose(colour[:3], colour_map()[255] / 255, atol=1e-3)
    assert loaded.GetSubjectHierarchyNode().GetItemByDataNode(segmentation)


def test_overlay_file_holds_raw_values_and_geometry(a_scene, a_volume_node, a_result, tmp_path):
    node = write_result(a_scene, a_result, a_volume_node).attention["tau_stage4"]
    before = snapshot(a_scene)
    file = slicerio.read_volume(str(save_node(node, tmp_path / "case.tau_stage4.nrrd")))
    np.testing.assert_array_equal(file["voxels"], node_voxels_ijk(node))
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ file["ijkToLPS"]
    np.testing.assert_allclose(matrix, a_result.attention["tau_stage4"].ijk_to_ras, atol=1e-6)
    assert snapshot(a_scene) == before
    assert node.GetStorageNode() is None  # a copy: the node keeps no ties to it


def node_voxels_ijk(node) -> np.ndarray:
    return slicer.util.arrayFromVolume(node).transpose(2, 1, 0)


def test_impossible_paths_are_named(a_scene, a_volume_node, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        save_node(a_volume_node, tmp_path / "nowhere" / "a.nrrd")
    with pytest.raises(InputError, match="cannot be written"):
        save_node(a_volume_node, tmp_path)
    with pytest.raises(InputError, match=r"expected a name ending in \.mrb"):
        save_scene(a_scene, tmp_path / "scene.zip")
    with pytest.raises(InputError, match=r"cannot be written as 'volume\.doc'"):
        save_node(a_volume_node, tmp_path / "volume.doc")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_costs_no_earlier_file(a_scene, a_volume_node, tmp_path, monkeypatch):
    path = tmp_path / "v.nrrd"
    path.write_text("earlier")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(PermissionError(13, "in use")))
        with pytest.raises(InputError, match="is no other program using that file"):
            save_node(a_volume_node, path)
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("v.nrrd", "earlier")]
    save_node(a_volume_node, path)
    assert path.stat().st_size > 100


def test_a_second_result_has_a_name_of_its_own_and_hides_the_first(a_scene, a_volume_node, a_result):
    first = write_result(a_scene, a_result, a_volume_node).segmentation
    second = write_result(a_scene, a_result, a_volume_node).segmentation
    assert first.GetName() != second.GetName()
    assert [node.GetDisplayNode().GetVisibility() for node in (first, second)] == [0, 1]
    quiet = write_result(a_scene, a_result, a_volume_node, show=False).segmentation
    assert second.GetDisplayNode().GetVisibility()
    assert a_scene.IsNodePresent(quiet)
