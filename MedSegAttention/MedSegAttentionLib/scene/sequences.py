"""The frames of a sequence as images, and their results as sequences that play with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import slicer

from ..data.errors import Cancelled, InputError
from ..data.result import VolumeResult
from ..data.volume import VolumeImage
from .nodes import follow, is_overlay, nodes_of_class, set_provenance, unchanged_after, unchanged_on_error
from .overlay_display import set_default_display
from .overlays import say_what_it_is, show_overlay
from .volumes import volume_image
from .writing import write_result

SEGMENTATION = "segmentation"


@dataclass(frozen=True)
class WrittenSequences:
    """What a run over a sequence left in the scene.

    Attributes:
        browser: plays all of them together with the frames.
        segmentation: one segmentation a frame.
        attention: map name -> one volume a frame.
    """

    browser: slicer.vtkMRMLSequenceBrowserNode
    segmentation: slicer.vtkMRMLSequenceNode
    attention: dict[str, slicer.vtkMRMLSequenceNode] = field(default_factory=dict)


def frame_images(sequence: slicer.vtkMRMLSequenceNode) -> list[VolumeImage]:
    """The frames of a sequence in their order, without copying voxels; the scene stays as it is.

    Transform and modality are those of the volume that shows the frames, where a sequence browser has one.

    Raises:
        InputError: no sequence, an empty one, or one of something else than volumes.
    """
    if not isinstance(sequence, slicer.vtkMRMLSequenceNode) or not sequence.GetNumberOfDataNodes():
        name = sequence.GetName() if isinstance(sequence, slicer.vtkMRMLNode) else sequence
        raise InputError(f"expected a sequence with at least one frame, got '{name}'. Choose another sequence.")
    frames = [sequence.GetNthDataNode(n) for n in range(sequence.GetNumberOfDataNodes())]
    for frame in frames:
        if not isinstance(frame, slicer.vtkMRMLVolumeNode):
            raise InputError(
                f"'{sequence.GetName()}' is a sequence of {frame.GetClassName()}; expected volumes or pictures."
            )
    browser = _browser_of(sequence)
    place = browser.GetProxyNode(sequence) if browser else None
    if place is None:
        place = slicer.vtkMRMLScalarVolumeNode()  # in no scene: no transform, no modality
    if any(is_overlay(node) for node in (place, *frames)):
        raise InputError(
            f"'{sequence.GetName()}' holds attention maps; expected images. Choose the sequence they were made of."
        )
    return [
        replace(volume_image(frame, place), name=f"{sequence.GetName()} frame {number}")
        for number, frame in enumerate(frames, start=1)
    ]


def sequence_of(node: slicer.vtkMRMLNode | None) -> slicer.vtkMRMLSequenceNode:
    """The sequence itself, or the one whose frames a volume of the scene shows.

    Raises:
        InputError: it shows none, or is in no scene.
    """
    if isinstance(node, slicer.vtkMRMLSequenceNode):
        if node.GetScene() is None:
            raise InputError(f"sequence '{node.GetName()}' is in no scene, perhaps as one was closed. Load it again.")
        return node
    scene = node.GetScene() if node is not None else None
    for browser in nodes_of_class(scene, "vtkMRMLSequenceBrowserNode") if scene else []:
        if (sequence := browser.GetSequenceNode(node)) is not None:
            return sequence
    if node is None:
        raise InputError("no sequence was given; expected a sequence, or a volume that a sequence browser plays.")
    raise InputError(
        f"volume '{node.GetName()}' shows no frames of a sequence; expected one that a sequence browser plays."
    )


def write_sequences(
    scene: slicer.vtkMRMLScene, sequence: slicer.vtkMRMLSequenceNode, results: Sequence[VolumeResult], show: bool = True
) -> WrittenSequences:
    """Add the results of all frames as sequences; when anything fails the scene is as it was.

    Args:
        scene: of the sequence. Without a sequence browser the sequence gets one.
        sequence: whose frames were segmented.
        results: one a frame, in the order of :func:`frame_images`; those of the last frames may be missing, and nothing
            is shown over these.
        show: show the frames in all slice views, with the first attention map over them.

    Raises:
        Cancelled: the sequence is no longer in the scene.
    """
    if not scene.IsNodePresent(sequence):
        raise Cancelled(f"sequence '{sequence.GetName()}' left the scene during the run; nothing was written.")
    with unchanged_on_error(scene), _browser_for(scene, sequence) as browser:
        shown = _proxy(browser, sequence)
        collected: dict[str, slicer.vtkMRMLSequenceNode] = {}
        for number, result in enumerate(results):
            _collect(sequence, shown, number, result, collected)
        return _publish(browser, shown, results, collected, show)


def _browser_of(sequence: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLSequenceBrowserNode | None:
    browsers = nodes_of_class(sequence.GetScene(), "vtkMRMLSequenceBrowserNode")
    return next((node for node in browsers if node.IsSynchronizedSequenceNode(sequence, True)), None)


@contextmanager
def _browser_for(
    scene: slicer.vtkMRMLScene, sequence: slicer.vtkMRMLSequenceNode
) -> Iterator[slicer.vtkMRMLSequenceBrowserNode]:
    """The browser of the sequence, or a new one, which goes first on an error: it would bring its nodes back."""
    if (known := _browser_of(sequence)) is not None:
        yield known
        return
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{sequence.GetName()} browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    try:
        yield browser
    except BaseException:
        scene.RemoveNode(browser)
        raise


def _proxy(
    browser: slicer.vtkMRMLSequenceBrowserNode, sequence: slicer.vtkMRMLSequenceNode
) -> slicer.vtkMRMLDisplayableNode:
    """The node that shows the present frame of ``sequence``, or its last; the application would make it later."""
    proxy = browser.GetProxyNode(sequence)
    if proxy is None:
        present = min(max(browser.GetSelectedItemNumber(), 0), sequence.GetNumberOfDataNodes() - 1)
        proxy = browser.AddProxyNode(sequence.GetNthDataNode(present), sequence)
        proxy.SetName(sequence.GetName())
        proxy.CreateDefaultDisplayNodes()
    return proxy


def _collect(
    sequence: slicer.vtkMRMLSequenceNode,
    shown: slicer.vtkMRMLVolumeNode,
    number: int,
    result: VolumeResult,
    collected: dict[str, slicer.vtkMRMLSequenceNode],
) -> None:
    """Write one frame's result into the scene, copy it into the sequences, take it out of the scene again."""
    scene, frame = shown.GetScene(), sequence.GetNthDataNode(number)
    with unchanged_after(scene):
        volume = scene.AddNewNodeByClass(frame.GetClassName(), shown.GetName())
        volume.CopyOrientation(frame)
        volume.SetAndObserveImageData(frame.GetImageData())
        volume.SetAndObserveTransformNodeID(shown.GetTransformNodeID())
        written = write_result(scene, result, volume, show=False)
        for name, node in {SEGMENTATION: written.segmentation, **written.attention}.items():
            node.SetAndObserveTransformNodeID(None)
            if name not in collected:
                title = result.attention[name].map.title if name in result.attention else name
                collected[name] = _sequence_like(sequence, title)
            collected[name].SetDataNodeAtValue(node, sequence.GetNthIndexValue(number))


def _sequence_like(sequence: slicer.vtkMRMLSequenceNode, name: str) -> slicer.vtkMRMLSequenceNode:
    made = slicer.vtkMRMLSequenceNode()
    made.SetName(f"{sequence.GetName()} {name}")
    made.SetIndexName(sequence.GetIndexName())
    made.SetIndexUnit(sequence.GetIndexUnit())
    made.SetIndexType(sequence.GetIndexType())
    return made


def _publish(
    browser: slicer.vtkMRMLSequenceBrowserNode,
    shown: slicer.vtkMRMLVolumeNode,
    results: Sequence[VolumeResult],
    collected: dict[str, slicer.vtkMRMLSequenceNode],
    show: bool,
) -> WrittenSequences:
    """Put the sequences into the scene, play them with the frames, show them as results of a single image are."""
    scene, proxies = browser.GetScene(), {}
    for name, node in collected.items():
        set_provenance(node, results[0].provenance)
        browser.AddSynchronizedSequenceNodeID(scene.AddNode(node).GetID())
        browser.SetMissingItemMode(node, browser.MissingItemSetToDefault)  # not the result of the frame before
        proxy = proxies[name] = _proxy(browser, node)
        follow(proxy, shown)
        if name != SEGMENTATION:
            attention_map = results[0].attention[name].map
            say_what_it_is(proxy, attention_map, shown)
            proxy.CreateDefaultDisplayNodes()
            set_default_display(proxy, attention_map.title)
    if show:
        show_overlay(scene, next((proxy for name, proxy in proxies.items() if name != SEGMENTATION), None), shown)
    return WrittenSequences(browser, collected.pop(SEGMENTATION), collected)
