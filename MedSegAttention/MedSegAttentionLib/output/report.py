"""One page about a result, as a picture: slices, volumes, where it comes from, what it must not be used for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from ..data.card import PROBABILITY
from ..scene.corrections import corrected_slices, redone_slices
from ..scene.label_maps import label_map, reference_volume
from ..scene.measure import SegmentationMeasure, SegmentMeasure, measure
from ..scene.nodes import PROVENANCE_ATTRIBUTE, finished_slices, is_overlay, nodes_of_class, provenance_of
from ..scene.overlays import probability_thresholds
from .lettering import draw_text, text_width
from .pictures import draw_figure, save_picture
from .result_figure import result_panels

if TYPE_CHECKING:
    from PIL import Image

PAGE_WIDTH, PAGE_HEIGHT, EDGE = 1240, 1754, 70
"""A4 at 150 dots an inch."""
PANEL_HEIGHTS = {2: 480, 3: 320}
"""Number of panels -> their height, so that square ones fill the width and the text in the figure is not shrunk."""
MOST_SLICES = 5
"""To look at first, that are named on the page."""
RESEARCH_USE = "For research use only. Not for clinical decisions."
DARK, GREY = "black", "#555555"


def write_report(segmentation_node: slicer.vtkMRMLSegmentationNode, path: str | Path) -> Path:
    """Write one page (A4, 150 dots an inch) about a segmentation.

    Args:
        segmentation_node: of a scene that holds its image; the first attention map of the same run is shown too.
        path: ``.png``, or ``.pdf``.

    Raises:
        InputError: its image is not in the scene, or the file cannot be written.
    """
    volume_node, labels = reference_volume(segmentation_node), label_map(segmentation_node)
    provenance, overlay = provenance_of(segmentation_node), overlay_of(segmentation_node)
    scene = segmentation_node.GetScene()
    height = PANEL_HEIGHTS[2 if overlay is None else 3]
    figure = result_panels(scene, volume_node, segmentation_node, overlay, labels.array, provenance, height)
    page = _Page()
    page.line(f"Segmentation of {volume_node.GetName()}", 34)
    page.line(RESEARCH_USE, 20)
    page.gap(12)
    page.picture(draw_figure(*figure))
    if overlay is not None and overlay.GetDescription():
        page.paragraph(f"{figure[0][-1][0]}: {overlay.GetDescription()}", GREY)
    page.gap(16)
    sizes = measure(segmentation_node)
    page.table(sizes)
    for title, text in _notes(segmentation_node, sizes, provenance):
        page.paragraph(f"{title}: {text}")
    page.gap(16)
    page.line("Provenance", 24)
    for title, text in _origin(provenance):
        page.paragraph(f"{title}: {text}")
    return save_picture(page.image, path)


def overlay_of(segmentation_node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The first attention map of the run that made the segmentation, or None."""
    run = segmentation_node.GetAttribute(PROVENANCE_ATTRIBUTE)
    for node in nodes_of_class(segmentation_node.GetScene(), "vtkMRMLScalarVolumeNode"):
        if run and is_overlay(node) and node.GetAttribute(PROVENANCE_ATTRIBUTE) == run:
            return node
    return None


def _notes(
    node: slicer.vtkMRMLSegmentationNode, sizes: SegmentationMeasure, provenance: dict[str, Any]
) -> list[tuple[str, str]]:
    """What a reader must know before the numbers are believed."""
    notes = [
        ("Not found", ", ".join(sizes.not_found)),
        ("Partial, the run was stopped; finished slices", _finished(node)),
        ("Corrected by hand, slices", _from_one(corrected_slices(node))),
        ("Made anew later, slices", _from_one(redone_slices(node))),
        ("Look first at", _look_first(provenance)),
        ("Probability shown", _thresholds(node)),
        *((item.name, _expected(item)) for item in sizes.segments),
        *(("Warning", text) for text in provenance.get("warnings", [])),
        *((name, text) for name, texts in provenance.get("findings", {}).items() for text in texts),
    ]
    return [(title, text) for title, text in notes if text]


def _look_first(provenance: dict[str, Any]) -> str:
    pairs = zip(provenance.get("look_first", []), provenance.get("look_first_reasons", []), strict=False)
    told = [f"slice {number + 1} ({reason.rstrip('.')})" for number, reason in pairs]
    return "; ".join(told[:MOST_SLICES])


def _thresholds(node: slicer.vtkMRMLSegmentationNode) -> str:
    """From which probability on the maps were shown when the page was written, as the user chose."""
    chosen = probability_thresholds(node).items()
    return ", ".join(f"{name.removeprefix(PROBABILITY).replace('_', ' ')} from {value:.2f}" for name, value in chosen)


def _expected(item: SegmentMeasure) -> str:
    if item.expected_dice is None:
        return ""
    low, high = item.expected_interval
    return f"expected Dice {item.expected_dice:.2f}, probably {low:.2f} to {high:.2f}."


def _from_one(numbers: list[int]) -> str:
    return ", ".join(str(number + 1) for number in numbers)


def _finished(node: slicer.vtkMRMLSegmentationNode) -> str:
    """Numbers of the finished slices of a partial result, from 1."""
    stretches = finished_slices(node)
    return ", ".join(f"{a + 1} to {b + 1}" if a < b else f"{a + 1}" for a, b in stretches)


def _origin(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    if not provenance:
        return [("Unknown", "this segmentation was not made by MedSegAttention.")]
    versions = provenance.get("versions", {})
    entries = [
        ("Checkpoint", f"{provenance.get('checkpoint', '')} version {provenance.get('checkpoint_version', '?')}"),
        ("SHA-256 of its weights", provenance.get("weights_sha256", "")),
        ("Software", f"MedSegAttention {provenance.get('version', '?')}"),
        ("With", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Created", provenance.get("created", "")),
        ("Device", " ".join(str(provenance.get(key, "")) for key in ("device", "precision")).strip()),
        ("Slices along axis", provenance.get("slice_axis", "")),
        ("Settings", _settings_in_words(provenance.get("settings", {}))),
        ("Seconds", ", ".join(f"{name} {value:.2f}" for name, value in provenance.get("seconds", {}).items())),
    ]
    return [(title, text) for title, text in entries if text]


def _settings_in_words(settings: dict[str, Any]) -> str:
    """What the user chose other than what the settings are by themselves."""
    get, words = settings.get, []
    if get("device", "auto") != "auto":
        words.append(f"device {get('device')} asked for")
    if get("batch_size"):
        words.append(f"{get('batch_size')} slice(s) at once")
    if get("attention", True) is not True:
        words.append(f"attention maps: {', '.join(get('attention') or ()) or 'none'}")
    if get("attention_grid") == "input":
        words.append("attention maps on the grid of the image")
    if get("axis", "auto") != "auto":
        words.append(f"slices along axis {get('axis')} asked for")
    if get("force"):
        words.append("run although the image may be unlike those the checkpoint was trained on")
    if get("test_time_flips"):
        words.append("averaged over mirror images")
    return "; ".join(words) if words or not settings else "none changed"


class _Page:
    """A white page that is filled from top to bottom; what no longer fits is left out, and the page says so."""

    def __init__(self) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (PAGE_WIDTH, PAGE_HEIGHT), "white")
        self._draw = ImageDraw.Draw(self.image)
        self._top = EDGE
        self._full = False

    def gap(self, pixels: int) -> None:
        self._top += pixels

    def line(self, text: str, size: int, colour: str = DARK) -> None:
        """One line; longer text is written smaller."""
        room = PAGE_WIDTH - 2 * EDGE
        while size > 10 and text_width(self._draw, text, size) > room:
            size -= 1
        if self._takes(size):
            draw_text(self._draw, (EDGE, self._top), text, size, colour)
            self._top += round(1.45 * size)

    def paragraph(self, text: str, colour: str = DARK, size: int = 18) -> None:
        """Text broken into lines."""
        room, line = PAGE_WIDTH - 2 * EDGE, ""
        for word in text.split():
            longer = f"{line} {word}".strip()
            if line and text_width(self._draw, longer, size) > room:
                self.line(line, size, colour)
                longer = word
            line = longer
        self.line(line, size, colour)

    def picture(self, picture: Image.Image) -> None:
        """At its own size, or smaller where it is wider than the page."""
        scale = min((PAGE_WIDTH - 2 * EDGE) / picture.width, 1)
        scaled = picture.resize((round(picture.width * scale), round(picture.height * scale)))
        self.image.paste(scaled, (EDGE, self._top))
        self._top += scaled.height + 8

    def table(self, sizes: SegmentationMeasure) -> None:
        """Name, size, voxels and slices of each segment, with its colour."""
        columns = (EDGE + 40, EDGE + 480, EDGE + 700, EDGE + 900)
        self._row(columns, ("Structure", f"Size, {sizes.unit}", "Voxels", f"Slices of {sizes.slice_count}"), GREY)
        for segment in sizes.segments:
            top, side = self._top, 22
            size = f"{segment.size:.2f}" if sizes.unit == "mL" else f"{segment.size:.0f}"
            if self._row(columns, (segment.name, size, f"{segment.voxels:,}", str(segment.slices)), DARK):
                self._draw.rectangle((EDGE, top + 2, EDGE + side, top + side), fill=segment.colour)

    def _row(self, columns: tuple[int, ...], texts: tuple[str, ...], colour: str) -> bool:
        if not self._takes(20):
            return False
        for left, text in zip(columns, texts, strict=True):
            draw_text(self._draw, (left, self._top), text, 20, colour)
        self._top += 30
        return True

    def _takes(self, size: int) -> bool:
        """Whether a line still fits above the lower edge, where there is always room to say that one does not."""
        if self._full:
            return False
        if self._top + 1.45 * size > PAGE_HEIGHT - EDGE:
            self._full = True
            rest = "(the rest is in the provenance of the result)"
            draw_text(self._draw, (EDGE, PAGE_HEIGHT - EDGE + 8), rest, 18, GREY)
        return not self._full
