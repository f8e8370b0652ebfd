"""Series of one study, as an archive exports them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from conftest import geometry
from dicom_studies import a_study_series

ARRAY = np.full((10, 24, 28), 100, np.int16)
ARRAY[2:6, 5:12, 5:15] = 700
AXIAL, SAGITTAL = geometry("plain"), geometry("permuted")
T2 = {"SeriesDescription": "t2_tse_tra", "EchoTime": 101, "RepetitionTime": 4000}
T1 = {"SeriesDescription": "ax fl3d", "EchoTime": 2.3, "RepetitionTime": 5}


def mr(folder: Path, number: int, array: np.ndarray = ARRAY, place: np.ndarray = AXIAL, **values) -> list[Path]:
    uid = f"1.2.826.0.1.7.{number}"
    return a_study_series(folder, array, place, "MR", uid, SeriesNumber=number, **values)


def uids(folder: Path) -> set[str]:
    return {json.loads(path.read_text())["series_instance_uid"][-1] for path in folder.glob("*.json")}
