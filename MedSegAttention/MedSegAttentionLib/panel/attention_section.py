"""The attention section: which map lies over the image, and how it looks."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from ..scene import overlay_display
from ..scene.colours import overlay_colours
from ..scene.overlays import (
    hide_overlays,
    overlay_opacity,
    overlays_of,
    set_overlay_opacity,
    show_overlay,
    shown_overlay,
    slice_views,
)
from ..scene.segmentation import source_volume
from .section import Section, fill, silent


class AttentionSection(Section):
    """Connects the upper widgets of ``Attention.ui`` with the overlay that the slice views show.

    It keeps nothing itself: slice views and display nodes do, so that scenes, Slicer's own modules and this section
    always agree.
    """

    def __init__(self, ui: Any) -> None:
        """Args: ui: the widgets by name."""
        super().__init__(ui)
        self._controls = (
            ui.opacitySlider,
            ui.attentionColorsComboBox,
            ui.fixedWindowCheckBox,
            ui.windowPercentileSlider,
            ui.thresholdSlider,
            ui.legendCheckBox,
        )
        self._connect(ui.attentionMapComboBox, "currentIndexChanged(int)", self._onMap)
        self._connect(ui.opacitySlider, "valueChanged(double)", self._onOpacity)
        self._connect(ui.attentionColorsComboBox, "currentIndexChanged(int)", self._onColors)
        self._connect(ui.fixedWindowCheckBox, "toggled(bool)", self._onWindow)
        self._connect(ui.windowPercentileSlider, "valuesChanged(double,double)", self._onWindow)
        self._connect(ui.thresholdSlider, "valueChanged(double)", self._onThreshold)
        self._connect(ui.legendCheckBox, "toggled(bool)", self._onLegend)

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        scene = slicer.mrmlScene
        if self._parameters and scene.IsBatchProcessing():  # half a scene; the end of it calls again
            return
        overlays = self._overlays()
        shown = shown_overlay(scene) if self._parameters else None
        node = shown if shown in overlays else None
        entries = [(_("None"), ""), *((item.GetName(), item.GetID()) for item in overlays)]
        fill(self._ui.attentionMapComboBox, entries if overlays else [], node.GetID() if node else "")
        self._ui.attentionMapComboBox.enabled = bool(overlays)
        with silent(*self._controls):
            self._show(node)
        self._watch(*self._observations(node))

    def _show(self, node: Any) -> None:
        """Let the controls say how ``node`` looks; without one they cannot be used."""
        ui = self._ui
        for control in self._controls:
            control.enabled = node is not None
        ui.windowLabel.text = ""
        ui.attentionMeaningLabel.text = (
            _("No attention map of this image is shown.") if node is None else _meaning(node)
        )
        if node is None:
            return
        ui.opacitySlider.value = overlay_opacity(slicer.mrmlScene, node)
        colours = node.GetDisplayNode().GetColorNode()
        offered = overlay_colours(slicer.mrmlScene)
        offered += [colours] if colours and colours not in offered else []
        entries = [(item.GetName(), item.GetID()) for item in offered]
        fill(ui.attentionColorsComboBox, entries, colours.GetID() if colours else "")
        self._showWindow(node)
        lowest, highest = overlay_display.map_range(node)[0], overlay_display.largest_value(node)
        ui.thresholdSlider.decimals = 2 if highest - lowest >= 1 else 4  # rows of attention end at 1/8 or far below
        ui.thresholdSlider.minimum, ui.thresholdSlider.maximum = lowest, highest
        ui.thresholdSlider.singleStep = (highest - lowest) / 100  # after the range: CTK refuses a step beyond it
        ui.thresholdSlider.value = node.GetDisplayNode().GetLowerThreshold()
        legend = overlay_display.legend(node)
        ui.legendCheckBox.checked = legend is not None and bool(legend.GetVisibility())

    def _showWindow(self, node: Any) -> None:
        ui = self._ui
        fixed, percentiles = overlay_display.is_window_fixed(node), overlay_display.window_percentiles(node)
        ui.fixedWindowCheckBox.checked = fixed
        ui.windowPercentileSlider.enabled = not fixed
        low, high = (f"{round(value, 3):g}" for value in overlay_display.window(node))
        if fixed:
            text = _("Colours from {low} to {high}, the same for every image.")
        elif percentiles:
            ui.windowPercentileSlider.setValues(*percentiles)
            text = _("Colours from {low} to {high}: stretched to this map, not comparable with others.")
        else:
            text = _("Colours from {low} to {high}: set by hand, not comparable with others.")
        ui.windowLabel.text = text.format(low=low, high=high)

    def _observations(self, node: Any) -> list[tuple[Any, Any, Any]]:
        if not self._parameters:
            return []
        scene, modified = slicer.mrmlScene, vtk.vtkCommand.ModifiedEvent
        looks = [node.GetDisplayNode(), overlay_display.legend(node)] if node else []
        return [
            *((scene, event, self._update) for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent)),
            *((scene, event, self._update) for event in (scene.EndImportEvent, scene.EndBatchProcessEvent)),
            *((item, modified, self._update) for item in (*slice_views(scene), node, *looks) if item is not None),
        ]

    def _volume(self) -> Any:
        """The image of the chosen result, or else the input."""
        result = self._parameters.result
        return source_volume(result) if result else self._parameters.inputVolume

    def _overlays(self) -> list[Any]:
        if not self._parameters:
            return []
        return overlays_of(slicer.mrmlScene, self._volume(), self._parameters.result)

    def _shown(self) -> Any:
        """The overlay that the controls are about, or None."""
        node = shown_overlay(slicer.mrmlScene)
        return node if node in self._overlays() else None

    def _onMap(self, index: int) -> None:
        if not self._parameters:
            return
        node = slicer.mrmlScene.GetNodeByID(self._ui.attentionMapComboBox.itemData(index) or "")
        if node is None:
            hide_overlays(slicer.mrmlScene)
        else:
            show_overlay(slicer.mrmlScene, node, self._volume(), self._ui.opacitySlider.value)

    def _onOpacity(self, opacity: float) -> None:
        if node := self._shown():
            set_overlay_opacity(slicer.mrmlScene, node, opacity)

    def _onColors(self, index: int) -> None:
        colours = slicer.mrmlScene.GetNodeByID(self._ui.attentionColorsComboBox.itemData(index) or "")
        node = self._shown()
        if node and colours:
            overlay_display.set_colours(node, colours)

    def _onWindow(self, *_values: Any) -> None:
        """The fixed window was chosen or left, or other percentiles were."""
        slider = self._ui.windowPercentileSlider
        node = self._shown()
        if node and self._ui.fixedWindowCheckBox.checked:
            overlay_display.set_fixed_window(node)
        elif node:
            overlay_display.set_percentile_window(node, slider.minimumValue, slider.maximumValue)

    def _onThreshold(self, lowest: float) -> None:
        if node := self._shown():
            overlay_display.set_threshold(node, lowest)

    def _onLegend(self, shown: bool) -> None:
        if node := self._shown():
            overlay_display.show_legend(node, shown)


def _meaning(node: Any) -> str:
    return node.GetDescription() or _("The checkpoint does not say what this map means.")
