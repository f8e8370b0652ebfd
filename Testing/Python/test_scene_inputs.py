"""What people have in a scene, through ``logic.segment`` with a real small network."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import geometry
from MedSegAttentionLib.data.errors import ContractWarning, InputError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.runner import in_process
from MedSegAttentionLib.scene.volumes import add_volume, input_volumes
from scene_tools import add_transform, segments_at, snapshot, world_matrix
from small_checkpoint import write_checkpoint

pytest_plugins = ["slicer_double.fixtures"]


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    changes = {"intensity": {"method": "window", "low": 0, "high": 255}, "fit": {"fit": "stretch", "size": 64}}
    return write_checkpoint(tmp_path_factory.mktemp("skin"), task="skin", modality="XC", in_channels=3, **changes)


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    return write_checkpoint(
        tmp_path_factory.mktemp("mr"),
        intensity={"method": "window", "low": 0, "high": 255},
        expects={"minimum": [None, 50], "maximum": [100, None]},
    )


@pytest.fixture
def logic(a_module):
    return a_module.MedSegAttentionLogic(in_process)


def squares(slices: int = 1) -> np.ndarray:
    """``[slices, 40, 48]``: a bright square that moves from slice to slice."""
    array = np.full((slices, 40, 48), 20, np.uint8)
    for number in range(slices):
        array[number, 10:20, 5 + 4 * number : 20 + 4 * number] = 240
    return array


def in_colour(array: np.ndarray, channels: int) -> np.ndarray:
    """With an alpha channel that would change the result if it counted."""
    coloured = np.repeat(array[..., None], channels, axis=-1)
    if channels in (2, 4):
        coloured[..., -1] = np.arange(48)
    return coloured


def overlap(found: np.ndarray, array: np.ndarray) -> float:
    wanted = array > 128
    return 2 * (found & wanted).sum() / (found.sum() + wanted.sum())


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("slices", [1, 4])
def test_colour_pictures_and_stacks_with_and_without_alpha(channels, slices, logic, colour, a_scene):
    node = add_volume(a_scene, VolumeImage(in_colour(squares(slices), channels), geometry("plain"), "moles"))
    assert node.IsA("vtkMRMLVectorVolumeNode")
    result = logic.segment(node, "skin", colour, "cpu", attention=("tau_stage4",))
    (found,) = segments_at(result.segmentationNode, node).values()
    assert overlap(found, squares(slices)) > 0.93
    assert result.provenance["slices"] == [slices, slices]
    assert world_matrix(result.attentionNodes["tau_stage4"]).shape == (4, 4)


def test_grey_with_alpha_is_grey(logic, grey, a_scene):
    node = add_volume(a_scene, VolumeImage(in_colour(squares(2), 2), geometry("plain"), "scan"))
    result = logic.segment(node, "prostate", grey, "cpu", attention=False)
    (found,) = segments_at(result.segmentationNode, node).values()
    assert overlap(found, squares(2)) > 0.93


@pytest.mark.parametrize(("channels", "words"), [(1, "has 1 channel.*red, green, blue"), (3, "has 3 channel.*grey")])
def test_grey_for_a_colour_checkpoint_and_the_reverse_are_refused(channels, words, logic, colour, grey, a_scene):
    array = squares() if channels == 1 else in_colour(squares(), channels)
    node = add_volume(a_scene, VolumeImage(array, geometry("plain"), "picture"))
    before = snapshot(a_scene)
    for force in (False, True):
        with pytest.raises(InputError, match=words) as caught:
            logic.segment(node, checkpoint=colour if channels == 1 else grey, task=None, device="cpu", force=force)
        assert not isinstance(caught.value, ContractWarning)
    assert snapshot(a_scene) == before


@pytest.mark.parametrize("kind", ["oblique", "permuted"])
def test_an_oblique_volume_under_a_transform_is_cut_and_placed_by_the_world(kind, logic, grey, a_scene):
    node = add_volume(a_scene, VolumeImage(squares(5), geometry(kind), "MR"))
    transform = add_transform(a_scene, node)
    result = logic.segment(node, "prostate", grey, "cpu", axis="k", attention=("tau_stage4",))
    assert result.segmentationNode.GetParentTransformNode() is transform
    (found,) = segments_at(result.segmentationNode, node).values()
    assert overlap(found, squares(5)) > 0.85
    overlay = result.attentionNodes["tau_stage4"]
    assert overlay.GetParentTransformNode() is transform
    steps = world_matrix(overlay)[:3, 2], world_matrix(node)[:3, 2]  # from slice to slice; either may run backwards
    np.testing.assert_allclose(np.abs(steps[0]), np.abs(steps[1]), atol=1e-9)


@pytest.mark.parametrize("thin", [0, 1, 2])
def test_a_single_slice_is_cut_along_its_thin_axis(thin, logic, grey, a_scene):
    array = np.moveaxis(squares(), 0, thin)
    node = add_volume(a_scene, VolumeImage(array, geometry("plain"), "slice"))
    result = logic.segment(node, "prostate", grey, "cpu", attention=False)
    assert result.provenance["slices"] == [1, 1]
    (found,) = segments_at(result.segmentationNode, node).values()
    assert found.any()


@pytest.mark.parametrize("problem", ["modality", "intensity"])
def test_modality_and_intensity_stop_and_force_runs_anyway(problem, logic, grey, a_scene):
    array, modality = (squares(2), "CT") if problem == "modality" else (squares(2) // 8, "MR")
    node = add_volume(a_scene, VolumeImage(array, geometry("plain"), "scan", modality))
    before = snapshot(a_scene)
    words = "modality CT" if problem == "modality" else "largest value"
    with pytest.raises(ContractWarning, match=words):
        logic.segment(node, "prostate", grey, "cpu")
    assert snapshot(a_scene) == before
    result = logic.segment(node, "prostate", grey, "cpu", force=True)
    assert words in " ".join(result.provenance["warnings"])


def test_of_several_volumes_the_one_shown_is_taken_and_maps_are_no_volumes(logic, grey, a_scene):
    nodes = [add_volume(a_scene, VolumeImage(squares(2), geometry("plain"), name)) for name in ("one", "two")]
    logic.segment(nodes[1], "prostate", grey, "cpu")  # shows it
    assert logic.activeVolume() is nodes[1]
    a_scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    a_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "without voxels")
    assert input_volumes(a_scene) == nodes
