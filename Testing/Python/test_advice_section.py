"""Advice about how an image is cut, and the button that follows it; on real MRML."""

from __future__ import annotations

import numpy as np
import pytest

from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.scene.volumes import add_volume

pytest_plugins = ["slicer_double.fixtures"]


def a_series(scene, name: str, spacing: tuple[float, float, float], at: float = 0.0):
    """A cube of 60 mm with its corner at ``at``, on all three axes."""
    size = [round(60 / step) for step in spacing]
    matrix = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    matrix[:3, 3] = [60 + at, 60 + at, at]
    return add_volume(scene, VolumeImage(np.zeros(size[::-1], np.int16), matrix, name, "MR"))


@pytest.fixture
def sagittal(a_scene):
    return a_series(a_scene, "t2_tse_sag", (4.0, 1.0, 1.0))


def test_a_sagittal_series_is_better_replaced_by_the_axial_one(open_module, a_scene, sagittal):
    a_series(a_scene, "of another region", (1.0, 1.0, 4.0), at=500)
    axial = a_series(a_scene, "t2_tse_tra", (1.0, 1.0, 4.0))
    widget = open_module()
    ui = widget.ui
    ui.inputVolumeSelector.setCurrentNode(sagittal)
    assert not ui.adviceWidget.isHidden()
    assert "'t2_tse_sag' was acquired along axis i" in ui.adviceLabel.text
    assert "axis 'i'" not in ui.adviceLabel.text  # sagittal slices are what the network never saw
    assert ui.adviceButton.text == "Use t2_tse_tra"
    ui.adviceButton.click()
    assert widget.logic.getParameterNode().inputVolume is axial
    assert ui.adviceWidget.isHidden()


def test_without_a_better_series_there_is_advice_and_no_button(open_module, sagittal):
    ui = open_module().ui
    assert "was acquired along axis i" in ui.adviceLabel.text
    assert ui.adviceButton.isHidden()


@pytest.mark.parametrize("axis", [1, 2])
def test_an_axis_that_the_network_does_not_know_is_advised_against(open_module, sagittal, axis):
    """Also that along which the image was acquired."""
    widget = open_module()
    ui = widget.ui
    ui.axisComboBox.setCurrentIndex(axis)
    assert "trained on axial slices, along axis k; it may find little" in ui.adviceLabel.text
    assert ui.adviceButton.text == "Cut automatically"
    ui.adviceButton.click()
    assert ui.axisComboBox.currentText == "Automatic"
    assert "was acquired along axis i" in ui.adviceLabel.text


def test_an_image_in_order_gets_no_advice(open_module, a_volume_node):
    ui = open_module().ui
    assert ui.adviceWidget.isHidden()
    ui.axisComboBox.setCurrentIndex(3)  # k: the right one
    assert ui.adviceWidget.isHidden()
    ui.inputVolumeSelector.setCurrentNode(None)
    assert ui.adviceWidget.isHidden()
