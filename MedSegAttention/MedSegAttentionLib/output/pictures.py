"""Slices as Slicer's own slice views blend them, without a window or OpenGL, and figures made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer
from vtkmodules.vtkCommonCore import vtkStringArray

from ..data.errors import InputError
from ..data.volume import VolumeImage
from ..scene.arrays import image_array, to_vtk
from ..scene.nodes import unchanged_after
from ..scene.volumes import volume_image
from .lettering import draw_text, text_width

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

VIEW_NAME = "MedSegAttentionPicture"
MARGIN, TITLE_HEIGHT, BAR_WIDTH = 12, 28, 22
PAGE_DOTS = 150
"""An inch of a page."""
COLOUR_BAR_ROOM, LEAST_HEIGHT = 110, 200
"""Of the colour bar: its width with numbers, and the height it needs beside flat pictures. Pixels."""
WIDEST = 3
"""A picture is at most so many times as wide as the height asked for."""
ColourBar = tuple[np.ndarray, float, float, str]
"""(colours ``[n, 3]`` uint8 from low to high, low, high, label)."""


def slice_picture(
    scene: slicer.vtkMRMLScene,
    volume_node: slicer.vtkMRMLVolumeNode,
    slice_index: int,
    *,
    axis: int = 2,
    segmentation_node: slicer.vtkMRMLSegmentationNode | None = None,
    overlay_node: slicer.vtkMRMLScalarVolumeNode | None = None,
    opacity: float = 0.5,
    segment_opacity: float = 0.5,
    window: tuple[float, float] | None = None,
    height: int = 512,
) -> np.ndarray:
    """Picture of one slice of a volume, along the volume's own axes, in radiological convention.

    Columns run towards the patient's left and rows towards posterior (or, where the slice shows another plane, towards
    left, posterior or inferior), so patient right is on the left of the picture.

    Args:
        scene: of all nodes; left as it was.
        volume_node: the grey or colour image.
        slice_index: along ``axis``, from 0.
        axis: index axis across which the slice is cut: 0 = i, 1 = j, 2 = k.
        segmentation_node: its visible segments are filled with their colours.
        overlay_node: drawn in the colours, window and threshold of its display node.
        opacity: of the overlay, 0 to 1.
        segment_opacity: of the segments, 0 to 1.
        window: values shown black and white; None for those of the volume's display node.
        height: of the picture, pixels; the width follows from the size of the slice in mm. A slice more than
            ``WIDEST`` times as wide as high gets fewer.

    Returns:
        ``[height or less, W, 3]`` uint8.

    Raises:
        InputError: no voxels, or no such slice.
    """
    image = volume_image(volume_node)
    if axis not in (0, 1, 2) or not 0 <= slice_index < image.size[axis]:
        raise InputError(
            f"'{image.name}' has no slice {slice_index} along axis {axis}; expected axis 0, 1 or 2 and, for sizes "
            f"{list(image.size)}, an index from 0 to its size minus one."
        )
    with unchanged_after(scene), _window(volume_node, window):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLScene(scene)
        # The nodes know the scene, to find the volumes, but not it them: the application would make a view for each.
        view, slice_node = slicer.vtkMRMLSliceCompositeNode(), slicer.vtkMRMLSliceNode()
        view.SetScene(scene)
        slice_node.SetScene(scene)
        logic.SetSliceNode(slice_node)
        logic.SetSliceCompositeNode(view)
        _orient(slice_node, image, axis, slice_index, height)
        view.SetBackgroundVolumeID(volume_node.GetID())
        if overlay_node is not None:
            view.SetForegroundVolumeID(overlay_node.GetID())
            view.SetForegroundOpacity(opacity)
        if segmentation_node is not None:
            _show_segments(scene, view, segmentation_node, volume_node)
            view.SetLabelOpacity(segment_opacity)
        picture = _blend(logic)
        logic.SetMRMLScene(None)
    return picture


def write_figure(
    path: str | Path, panels: Sequence[tuple[str, np.ndarray]], colour_bar: ColourBar | None = None
) -> Path:
    """Write :func:`draw_figure` as one picture file.

    Raises:
        InputError: no panel, or the file cannot be written.
    """
    return save_picture(draw_figure(panels, colour_bar), path)


def draw_figure(panels: Sequence[tuple[str, np.ndarray]], colour_bar: ColourBar | None = None) -> Image.Image:
    """Panels side by side, each under its title, with a colour bar at the right.

    Args:
        panels: (title, ``[H, W, 3]`` uint8), at least one.
        colour_bar: (colours ``[n, 3]`` uint8 from low to high, low, high, label), or None.

    Raises:
        InputError: no panel.
    """
    from PIL import Image, ImageDraw

    if not panels:
        raise InputError("a figure needs at least one panel; expected (title, picture) pairs.")
    room = COLOUR_BAR_ROOM if colour_bar else 0
    height = max(LEAST_HEIGHT if colour_bar else 0, *(picture.shape[0] for _, picture in panels))
    width = sum(picture.shape[1] + MARGIN for _, picture in panels) + MARGIN + room
    figure = Image.new("RGB", (width, height + TITLE_HEIGHT + MARGIN), "white")
    draw = ImageDraw.Draw(figure)
    left = MARGIN
    for title, picture in panels:
        _text(draw, (left, 6), title, picture.shape[1])
        figure.paste(Image.fromarray(picture), (left, TITLE_HEIGHT))
        left += picture.shape[1] + MARGIN
    if colour_bar:
        figure.paste(Image.fromarray(_bar(colour_bar[0], height - TITLE_HEIGHT)), (left, 2 * TITLE_HEIGHT))
        _write_numbers(draw, left, height, colour_bar)
    return figure


def save_picture(picture: Image.Image, path: str | Path) -> Path:
    """Write a picture as ``.png`` or another type Pillow writes, ``.pdf`` with its pages' size.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(path)
    try:
        picture.save(path, **({"resolution": PAGE_DOTS} if path.suffix.lower() == ".pdf" else {}))
    except (OSError, ValueError) as error:
        raise InputError(f"figure '{path}' cannot be written ({error}); choose another folder or name.") from error
    return path


def _orient(node: slicer.vtkMRMLSliceNode, image: VolumeImage, axis: int, index: int, height: int) -> None:
    """Lay the slice node exactly on one slice of the grid, with square pixels in mm."""
    size, spacing = image.size, image.spacing
    directions = image.ijk_to_ras[:3, :3] / spacing
    column, row, right, up = _reading_directions(image, axis)
    wide, high = size[column] * spacing[column], size[row] * spacing[row]  # mm
    pixel = max(high / height, wide / (WIDEST * height))
    width, height = max(1, round(wide / pixel)), max(1, round(high / pixel))
    centre = (np.array(size) - 1) / 2
    centre[axis] = index
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = right * directions[:, column], up * directions[:, row]
    matrix[:3, 2] = directions[:, axis]
    # A slice node places the corner of its first pixel where we want the centre: half a pixel along both sides.
    matrix[:3, 3] = (image.ijk_to_ras @ [*centre, 1])[:3] + matrix[:3, :2] @ [pixel / 2, pixel / 2]
    node.SetSliceResolutionMode(slicer.vtkMRMLSliceNode.SliceResolutionMatch2DView)
    node.SetDimensions(width, height, 1)
    node.SetFieldOfView(width * pixel, height * pixel, spacing[axis])
    node.GetSliceToRAS().DeepCopy(to_vtk(matrix))
    node.UpdateMatrices()


def _reading_directions(image: VolumeImage, axis: int) -> tuple[int, int, int, int]:
    """(column axis, row axis, sign towards the right of the picture, sign towards its top)."""
    directions, nearest = image.ijk_to_ras[:3, :3], image.anatomical_axes
    column, row = sorted((index for index in range(3) if index != axis), key=lambda index: nearest[index])
    right = -1 if directions[nearest[column], column] > 0 else 1  # towards L or P, against R or A
    up = 1 if directions[nearest[row], row] > 0 else -1  # towards A or S
    return column, row, right, up


def sides_of(image: VolumeImage, axis: int) -> tuple[str, str, str, str]:
    """What lies at the left, right, top and bottom of a :func:`slice_picture`: R, L, A, P, S or I each."""
    column, row, _right, _up = _reading_directions(image, axis)
    across, down = (("R", "L"), ("A", "P"), ("S", "I")), image.anatomical_axes
    return (*across[down[column]], *across[down[row]])


def mm_per_pixel(image: VolumeImage, axis: int, picture: np.ndarray) -> float:
    """Size of a pixel of a :func:`slice_picture` of ``image``."""
    column, _row, _right, _up = _reading_directions(image, axis)
    return image.size[column] * image.spacing[column] / picture.shape[1]


def _show_segments(
    scene: slicer.vtkMRMLScene,
    view: slicer.vtkMRMLSliceCompositeNode,
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLVolumeNode,
) -> None:
    """Show the visible segments with their colours through the label layer of a view."""
    segmentation_node.CreateDefaultDisplayNodes()
    visible = vtkStringArray()
    segmentation_node.GetDisplayNode().GetVisibleSegmentIDs(visible)
    if visible.GetNumberOfValues() == 0:
        return  # an empty list would mean all segments to the export
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", VIEW_NAME)
    slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(
        segmentation_node, visible, labels, volume_node
    )
    view.SetLabelVolumeID(labels.GetID())


def _blend(logic: slicer.vtkMRMLSliceLogic) -> np.ndarray:
    """``[H, W, 3]`` uint8: what the slice view shows, on black."""
    logic.UpdatePipeline()
    blend = logic.GetBlend()
    blend.Update()
    rgba = image_array(blend.GetOutput())[0, ::-1].astype(np.uint16)  # VTK's first row is the lowest
    alpha = rgba[..., 3:] if rgba.shape[-1] == 4 else 255
    return ((rgba[..., :3] * alpha + 127) // 255).astype(np.uint8)


@contextmanager
def _window(node: slicer.vtkMRMLVolumeNode, window: tuple[float, float] | None) -> Iterator[None]:
    """Show a scalar volume with ``window`` for the time of the block."""
    display = node.GetDisplayNode()
    if window is None or not isinstance(display, slicer.vtkMRMLScalarVolumeDisplayNode):
        yield
        return
    before = display.GetAutoWindowLevel(), display.GetWindow(), display.GetLevel()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*window)
    try:
        yield
    finally:
        display.SetWindowLevel(*before[1:])
        display.SetAutoWindowLevel(before[0])


def _bar(colours: np.ndarray, height: int) -> np.ndarray:
    """``[height, BAR_WIDTH, 3]`` uint8, the highest colour on top."""
    rows = np.linspace(len(colours) - 1, 0, height).round().astype(int)
    return np.repeat(np.asarray(colours, dtype=np.uint8)[rows][:, None], BAR_WIDTH, axis=1)


def _write_numbers(draw: ImageDraw.ImageDraw, left: int, height: int, colour_bar: ColourBar) -> None:
    _, low, high, label = colour_bar
    _text(draw, (left, TITLE_HEIGHT + 4), label, COLOUR_BAR_ROOM)
    top, bottom = 2 * TITLE_HEIGHT, height + TITLE_HEIGHT - 1
    for step in range(5):
        value = low + (high - low) * step / 4
        y = bottom - (bottom - top) * step / 4
        draw.line([(left + BAR_WIDTH, y), (left + BAR_WIDTH + 5, y)], fill="black")
        draw_text(draw, (left + BAR_WIDTH + 9, y), f"{value:.4g}", 13, anchor="lm")


def _text(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, room: int) -> None:
    """Write ``text``, smaller where it would not fit into ``room`` pixels."""
    size = next((size for size in range(16, 8, -1) if text_width(draw, text, size) <= room), 9)
    draw_text(draw, place, text, size)
