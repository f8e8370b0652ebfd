"""A sequence goes in, sequences that play with it come out; real MRML, a real small network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import slicer

from conftest import geometry
from MedSegAttentionLib.data.errors import Cancelled, ContractWarning, InputError, UsageError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.runner import in_process
from MedSegAttentionLib.scene.arrays import image_array
from MedSegAttentionLib.scene.corrections import corrected_slices
from MedSegAttentionLib.scene.label_maps import label_map
from MedSegAttentionLib.scene.sequences import frame_images, write_sequences
from MedSegAttentionLib.scene.volumes import add_volume
from scene_tools import add_transform, segments_at, snapshot, world_matrix
from small_checkpoint import write_checkpoint

pytest_plugins = ["slicer_double.fixtures"]

FRAMES = 3


@pytest.fixture
def player(a_scene) -> slicer.vtkSlicerSequencesLogic:
    """What plays sequences in the application."""
    logic = slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLScene(a_scene)
    yield logic
    logic.SetMRMLScene(None)


def picture(number: int) -> np.ndarray:
    """``[1, 40, 48]`` with a bright square that moves with the frame."""
    array = np.full((1, 40, 48), 20, np.uint8)
    array[0, 10:20, 5 + 8 * number : 15 + 8 * number] = 240
    return array


@pytest.fixture
def a_sequence(a_scene, player) -> slicer.vtkMRMLSequenceNode:
    """Three colour pictures, half a second apart, in no browser."""
    sequence = a_scene.AddNewNodeByClass("vtkMRMLSequenceNode", "video")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    for number in range(FRAMES):
        array = np.repeat(picture(number)[..., None], 3, axis=-1)
        node = add_volume(a_scene, VolumeImage(array, geometry("oblique"), "frame"))
        sequence.SetDataNodeAtValue(node, str(number / 2))
        a_scene.RemoveNode(node)
    return sequence


@pytest.fixture(scope="module")
def a_checkpoint(tmp_path_factory):
    return write_checkpoint(
        tmp_path_factory.mktemp("polyp"),
        task="polyp",
        modality="ES",
        in_channels=3,
        intensity={"method": "window", "low": 0, "high": 255},
        fit={"fit": "stretch", "size": 64},
    )


@pytest.fixture
def segment(a_module, a_checkpoint):
    """``logic.segmentSequence`` with a checkpoint of known behaviour."""
    logic = a_module.MedSegAttentionLogic(in_process)
    return lambda *sequence, **keywords: logic.segmentSequence(
        *sequence, **{"task": "polyp", "checkpoint": a_checkpoint, "device": "cpu"} | keywords
    )


def play(player, browser, number: int) -> None:
    browser.SetSelectedItemNumber(number)
    player.UpdateProxyNodesFromSequences(browser)


def test_every_frame_has_its_own_result_and_all_play_together(segment, a_sequence, player):
    slices = []
    result = segment(a_sequence, attention=("tau_stage4",), progressCallback=slices.append)
    assert [(item.index, item.count, item.slices.count) for item in slices] == [(n, FRAMES, 1) for n in range(FRAMES)]
    browser, sequence = result.browserNode, result.segmentationSequenceNode
    tau = result.attentionSequenceNodes["tau_stage4"]
    assert browser.GetNumberOfItems() == FRAMES
    for made in (sequence, tau):
        values = [made.GetNthIndexValue(n) for n in range(made.GetNumberOfDataNodes())]
        assert values == [a_sequence.GetNthIndexValue(n) for n in range(FRAMES)]
        assert (made.GetIndexName(), made.GetIndexUnit()) == ("time", "s")
    shown, segmentation, overlay = (browser.GetProxyNode(node) for node in (a_sequence, sequence, tau))
    for number in (2, 0, 1):
        play(player, browser, number)
        found = segments_at(segmentation, shown)["prostate"][0]
        wanted = picture(number)[0] > 128
        assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.9
        np.testing.assert_array_equal(label_map(segmentation).array[0] == 1, found)
        assert f"frame {number + 1}" in json.loads(overlay.GetAttribute("MedSegAttention.Provenance"))["volume"]
        np.testing.assert_allclose(world_matrix(shown), geometry("oblique"), atol=1e-9)
    assert overlay.GetDisplayNode().GetColorNode().GetName() == "MedSegAttention Viridis"
    assert (overlay.GetDisplayNode().GetWindowLevelMin(), overlay.GetDisplayNode().GetWindowLevelMax()) == (0, 1)
    assert [item["volume"] for item in result.provenance] == ["video frame 1", "video frame 2", "video frame 3"]


def test_a_frame_that_a_person_corrects_is_known_and_the_others_are_not(segment, a_sequence, player):
    result = segment(a_sequence, attention=False)
    browser, sequence = result.browserNode, result.segmentationSequenceNode
    browser.SetSaveChanges(sequence, True)
    segmentation = browser.GetProxyNode(sequence)
    for number in range(FRAMES):
        play(player, browser, number)
        assert corrected_slices(segmentation) == []
    play(player, browser, 1)
    labelmap = segmentation.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    voxels = image_array(labelmap)
    voxels[tuple(np.argwhere(voxels)[0])] = 0
    labelmap.Modified()
    assert corrected_slices(segmentation) == [0]
    player.UpdateSequencesFromProxyNodes(browser, segmentation)
    found = []
    for number in range(FRAMES):
        play(player, browser, number)
        found.append(corrected_slices(segmentation))
    assert found == [[], [0], []]
    assert [corrected_slices(sequence.GetNthDataNode(number)) for number in range(FRAMES)] == found


def test_a_browser_and_a_transform_that_are_there_are_used(segment, a_scene, a_sequence, player):
    browser = a_scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "player")
    browser.SetAndObserveMasterSequenceNodeID(a_sequence.GetID())
    player.UpdateProxyNodesFromSequences(browser)
    shown = browser.GetProxyNode(a_sequence)
    transform = add_transform(a_scene, shown)
    result = segment(a_sequence, attention=False)
    assert result.browserNode is browser
    assert result.attentionSequenceNodes == {}
    segmentation = browser.GetProxyNode(result.segmentationSequenceNode)
    assert segmentation.GetParentTransformNode() is transform
    for number in (1, 0):
        play(player, browser, number)
        assert segments_at(segmentation, shown)["prostate"].any()
    assert a_scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode") == 1


def test_looking_at_frames_leaves_the_scene_and_the_sequence_alone(a_scene, a_sequence):
    before, inside = snapshot(a_scene), a_sequence.GetSequenceScene().GetNumberOfNodes()
    frames = frame_images(a_sequence)
    assert [frame.array.shape for frame in frames] == [(1, 40, 48, 3)] * FRAMES
    assert np.shares_memory(frames[1].array, slicer.util.arrayFromVolume(a_sequence.GetNthDataNode(1)))
    assert (snapshot(a_scene), a_sequence.GetSequenceScene().GetNumberOfNodes()) == (before, inside)


def cancelled_at(frame: int) -> Callable[[], bool]:
    """What is asked once a frame, and says yes at one (from 1)."""
    asked = count(1)
    return lambda: next(asked) == frame


@pytest.mark.parametrize(("on_cancel", "frame"), [("discard", 2), ("keep", 1)])
def test_a_cancelled_run_leaves_the_scene_as_it_was(on_cancel, frame, segment, a_scene, a_sequence):
    before = snapshot(a_scene)
    with pytest.raises(Cancelled, match="stopped"):
        segment(a_sequence, isCancelled=cancelled_at(frame), onCancel=on_cancel)
    assert snapshot(a_scene) == before


@pytest.mark.parametrize("present", [0, 2])
def test_a_cancel_can_keep_the_finished_frames_and_shows_nothing_over_the_others(
    present, segment, a_scene, a_sequence, player
):
    browser = a_scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "player")
    browser.SetAndObserveMasterSequenceNodeID(a_sequence.GetID())
    play(player, browser, present)
    result = segment(a_sequence, isCancelled=cancelled_at(3), onCancel="keep")
    assert [item["volume"] for item in result.provenance] == ["video frame 1", "video frame 2"]
    sequence, tau = result.segmentationSequenceNode, result.attentionSequenceNodes["tau_stage4"]
    shown, segmentation, overlay = (browser.GetProxyNode(node) for node in (a_sequence, sequence, tau))
    for number in (0, 2, 1, 2):
        play(player, browser, number)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(shown)[..., 0], picture(number))
        finished = number < 2
        assert (overlay.GetImageData() is not None) == finished
        assert segmentation.GetSegmentation().GetNumberOfSegments() == finished
        if finished:
            assert segments_at(segmentation, shown)["prostate"][0][picture(number)[0] > 128].mean() > 0.8
    assert [made.GetNumberOfDataNodes() for made in (sequence, tau)] == [2, 2]


def test_what_to_do_on_cancel_is_checked_first(segment, a_sequence):
    with pytest.raises(UsageError, match="onCancel 'stay' is not known"):
        segment(a_sequence, onCancel="stay")


def test_a_sequence_of_black_frames_is_told_of_before_any_is_segmented(segment, a_scene, a_sequence):
    before, finished = snapshot(a_scene), []
    for number in range(FRAMES):
        slicer.util.arrayFromVolume(a_sequence.GetNthDataNode(number))[:] = 7
    with pytest.raises(ContractWarning, match="frame 1' has the same value"):
        segment(a_sequence, progressCallback=finished.append)
    assert finished == []
    assert snapshot(a_scene) == before


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("number", [0, 1])
def test_in_a_black_frame_nothing_is_found_and_the_others_are_segmented(number, force, segment, a_sequence):
    slicer.util.arrayFromVolume(a_sequence.GetNthDataNode(number))[:] = 7
    result = segment(a_sequence, attention=False, force=force)
    assert result.segmentationSequenceNode.GetNumberOfDataNodes() == FRAMES
    for frame, provenance in enumerate(result.provenance):
        assert provenance["settings"]["force"] is force
        assert (provenance["not_found"] == ["prostate"]) == (frame == number)
        assert any("same value" in text for text in provenance["warnings"]) == (frame == number)


def test_a_failure_while_writing_leaves_the_scene_as_it_was(a_scene, a_sequence, a_checkpoint):
    results = [
        in_process.run(frame, checkpoint=a_checkpoint, settings=in_process.RunSettings("cpu"))
        for frame in frame_images(a_sequence)
    ]
    before = snapshot(a_scene)
    with pytest.raises(InputError, match="do not fit"):
        write_sequences(a_scene, a_sequence, [*results[:2], replace(results[2], labels=np.zeros((1, 2, 2), np.uint8))])
    assert snapshot(a_scene) == before


def test_what_is_no_sequence_of_images_is_refused(segment, a_scene, a_volume_node, a_sequence):
    empty = a_scene.AddNewNodeByClass("vtkMRMLSequenceNode", "empty")
    transforms = a_scene.AddNewNodeByClass("vtkMRMLSequenceNode", "moves")
    transforms.SetDataNodeAtValue(a_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode"), "0")
    a_map = a_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    a_map.SetAttribute("MedSegAttention.Map", "tau_stage4")
    maps = a_scene.AddNewNodeByClass("vtkMRMLSequenceNode", "maps")
    maps.SetDataNodeAtValue(a_map, "0")
    for node, words in (
        (empty, "at least one frame, got 'empty'"),
        (None, "no sequence was given"),
        (a_volume_node, "'case 1' shows no frames"),
        (transforms, "'moves' is a sequence of vtkMRMLLinearTransformNode"),
        (maps, "'maps' holds attention maps"),
        (slicer.vtkMRMLSequenceNode(), "is in no scene"),
    ):
        with pytest.raises(InputError, match=words):
            segment(node)


def test_a_sequence_that_left_the_scene_gets_no_result(segment, a_scene, a_sequence):
    with pytest.raises(Cancelled, match="left the scene"):
        segment(a_sequence, progressCallback=lambda item: item.index == 2 and a_scene.RemoveNode(a_sequence))
    assert a_scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 0
