"""A study, and what segments it; used with ``pytest_plugins = ["command_fixtures", "study_fixtures"]``."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage, SecondaryCaptureImageStorage, SegmentationStorage

from dicom_studies import a_study_series, change
from MedSegAttentionLib.__main__ import main
from small_checkpoint import write_checkpoint
from study_tools import ARRAY, AXIAL, SAGITTAL, T1, T2, mr


@pytest.fixture
def study(tmp_path) -> Path:
    """A prostate study as it comes on a disc: a localizer, four series of images and what goes with them."""
    folder = tmp_path / "study"
    for path in mr(folder / "A" / "1", 1, ARRAY[:3], SeriesDescription="loc"):
        change(path, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    mr(folder / "A" / "2", 2, place=SAGITTAL, **T2 | {"SeriesDescription": "t2_tse_sag"})
    mr(folder / "A" / "3", 3, **T2)
    mr(folder / "B" / "4", 4, SeriesDescription="ep2d_diff_ADC")
    mr(folder / "B" / "5", 5, **T1)
    (other,) = mr(folder / "B" / "6", 6, ARRAY[:1], SeriesDescription="screen")
    change(other, SOPClassUID=SecondaryCaptureImageStorage, ImagePositionPatient=None)
    for number, (kind, modality) in enumerate(
        ((SegmentationStorage, "SEG"), (GrayscaleSoftcopyPresentationStateStorage, "PR")), start=7
    ):
        (path,) = mr(folder / "B" / str(number), number, ARRAY[:1], SeriesDescription="")
        change(path, SOPClassUID=kind, Modality=modality)
    ct = a_study_series(folder / "C", ARRAY, AXIAL, "CT", "1.2.826.0.1.7.9", SeriesNumber=9, SeriesDescription="CT")
    assert len(ct) == 10
    (folder / "README.txt").write_text("of the disc")
    return folder


@pytest.fixture(scope="module")
def t2_checkpoint(tmp_path_factory) -> Path:
    intensity = {"method": "window", "low": 0, "high": 1000}
    return write_checkpoint(tmp_path_factory.mktemp("t2"), title="Prostate, T2 MRI", intensity=intensity)


@pytest.fixture
def run(t2_checkpoint, tmp_path):
    def segment(source: Path, *options: str, checkpoint: Path = t2_checkpoint) -> int:
        words = ["segment", str(source), "--checkpoint", str(checkpoint), "--output", str(tmp_path / "out")]
        return main([*words, "--device", "cpu", "--attention", "none", *options])

    return segment
