"""An organ that the border of the image cuts is told of where its volume is: in record, table, report and result."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk

from command_tools import PHOTOGRAPH
from dicom_studies import a_photograph, change
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.data.findings import border_findings
from MedSegAttentionLib.data.labels import Code, Label
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.files.reading import read_volume
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.runner.in_process import run
from small_checkpoint import write_checkpoint

CODE = Code("SCT", "1", "thing")
LIVER = (Label("liver", 1, (9, 9, 9), CODE, CODE),)
WHOLE = (slice(0, 10), slice(0, 20), slice(0, 30))


def a_block(first: tuple[int, int, int], last: tuple[int, int, int]) -> np.ndarray:
    labels = np.zeros((10, 20, 30), np.uint8)
    labels[tuple(slice(a, b) for a, b in zip(first, last, strict=True))] = 1
    return labels


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [
        ((2, 3, 3), (8, 17, 27), None),
        ((0, 3, 3), (8, 17, 27), "reaches the first slice of the image: its volume is a lower bound."),
        ((2, 3, 3), (10, 17, 30), "reaches the last slice and the right edge of the image"),
        ((0, 0, 0), (10, 5, 5), "the first slice, the last slice, the top edge and the left edge"),
    ],
)
def test_an_organ_at_the_border_is_cut(first, last, told):
    found = border_findings(a_block(first, last), WHOLE, LIVER)
    assert found == {} if told is None else told in found["liver"][0]


def test_a_few_voxels_at_the_border_cut_nothing_and_padding_is_no_border():
    labels = a_block((2, 3, 3), (8, 17, 27))
    labels[0, 5, 5] = 1
    assert border_findings(labels, WHOLE, LIVER) == {}
    inside = (slice(2, 10), slice(0, 20), slice(0, 30))
    assert "the first slice" in border_findings(a_block((2, 3, 3), (8, 17, 27)), inside, LIVER)["liver"][0]
    assert border_findings(np.zeros((10, 20, 30), np.uint8), WHOLE, LIVER) == {}


def test_a_picture_has_an_area_and_no_first_slice():
    labels = a_block((0, 3, 0), (1, 17, 10))[:1]
    found = border_findings(labels, (slice(0, 1), slice(0, 20), slice(0, 30)), LIVER)
    assert found["liver"] == ["reaches the left edge of the image: its area is a lower bound."]


def test_frames_of_a_film_have_no_volume_and_no_first_slice():
    labels = a_block((0, 3, 0), (10, 17, 10))
    found = border_findings(labels, WHOLE, LIVER, has_scale=False)
    assert found["liver"] == ["reaches the left edge of the pictures: its outline is cut there."]
    assert border_findings(a_block((0, 3, 3), (10, 17, 10)), WHOLE, LIVER, has_scale=False) == {}


def test_a_film_from_dicom_says_that_an_outline_is_cut(tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint", **PHOTOGRAPH)
    frames = np.full((4, 40, 50, 3), 10, np.uint8)
    frames[:, 10:30, :20] = 250
    path = a_photograph(tmp_path / "film.dcm", frames[0])
    change(path, NumberOfFrames=4, PixelData=frames.tobytes())
    result = run(read_volume(path), checkpoint=folder, settings=RunSettings(device="cpu"))
    assert result.labels.sum() == 4 * 20 * 20
    assert result.found()[0]["ml"] is None
    assert result.found()[0]["findings"] == ["reaches the left edge of the pictures: its outline is cut there."]


def test_the_result_the_record_and_the_table_tell_it(tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint")
    array = np.random.default_rng(0).random((4, 40, 40)).astype(np.float32) * 0.1
    array[2:, 5:25, 5:25] = 1
    matrix = np.diag([-1.0, -1.0, 3.0, 1.0])
    result = run(VolumeImage(array, matrix, "pelvis"), checkpoint=folder, settings=RunSettings(device="cpu"))
    (told,) = result.found()[0]["findings"]
    assert told == "reaches the last slice of the image: its volume is a lower bound."
    (tmp_path / "in").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "in" / "pelvis.nrrd"))
    words = ["segment", str(tmp_path / "in"), "--checkpoint", str(folder), "--output", str(tmp_path / "out")]
    assert main(words) == 0
    record = json.loads((tmp_path / "out" / "pelvis.json").read_text())
    assert record["segments"][0]["findings"] == [told]
    with open(tmp_path / "out" / "summary.csv", newline="") as file:
        assert next(csv.DictReader(file))["findings"] == f"prostate {told}"
