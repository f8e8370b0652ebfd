"""DICOM objects of results: whole, true and readable by other people's programs (dicom3tools, dcmqi, highdicom)."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from command_tools import PHOTOGRAPH, labels, names, one_line
from conftest import geometry
from dicom_studies import a_photograph, a_study_series, an_enhanced_series, change
from MedSegAttentionLib.__main__ import main
from sitk_tools import matrix_of
from small_checkpoint import MAPS, write_checkpoint
from test_trust import QUALITY

pytest_plugins = ["command_fixtures"]

PROGRAMS = Path(sys.executable).parent
ARRAY = np.full((5, 40, 48), 100, np.int16)
ARRAY[1:4, 10:20, 15:30], ARRAY[2, 25:32, 5:12] = 400, 600
PICTURE = np.full((50, 70, 3), 20, np.uint8)
PICTURE[10:30, 20:60] = 240
ORGANS = {
    "quality": QUALITY,
    "activation": "softmax",
    "task": "abdomen",
    "id": "abdomen-klo-net",
    "intensity": {"method": "window", "low": 0, "high": 1000},
    "labels": [
        {"name": name, "colour": colour, "codes": {"category": ["SCT", "123037004", "Anatomical Structure"], **codes}}
        for name, colour, codes in (
            ("liver", [221, 130, 101], {"type": ["SCT", "10200004", "Liver"]}),
            (
                "left kidney",
                [185, 102, 83],
                {"type": ["SCT", "64033007", "Kidney"], "type_modifier": ["SCT", "7771000", "Left"]},
            ),
            ("spleen", [157, 108, 162], {"type": ["SCT", "78961009", "Spleen"]}),
        )
    ],
}
"""The third one is nowhere."""
LESION = {
    "labels": [
        {
            "name": "skin lesion",
            "colour": [200, 90, 90],
            "codes": {
                "category": ["SCT", "49755003", "Morphologically Altered Structure"],
                "type": ["SCT", "52988006", "Lesion"],
                "region": ["SCT", "39937001", "Skin"],
            },
        }
    ]
}
MR_SCAN = {"ScanningSequence": "SE", "SequenceVariant": "NONE", "ScanOptions": "", "MRAcquisitionType": "2D"}
MR_SCAN |= {"EchoTime": 90, "RepetitionTime": 4000, "EchoTrainLength": 1}


def sheared() -> np.ndarray:
    matrix = geometry("flipped")
    matrix[1, 2] = 0.5
    return matrix


SOURCES = {
    "ct": lambda folder: a_study_series(folder, ARRAY, geometry("flipped")),
    "tilted": lambda folder: a_study_series(folder, ARRAY, sheared(), uid="1.2.826.0.1.99.8"),
    "mr": lambda folder: a_study_series(folder, ARRAY, geometry("oblique"), "MR", "1.2.826.0.1.99.9", **MR_SCAN),
    "enhanced": lambda folder: an_enhanced_series(folder / "e.dcm", ARRAY, geometry("oblique"), [3, 1, 0, 2, 4]),
    "frames": lambda folder: an_enhanced_series(folder / "e.dcm", ARRAY, geometry("flipped"), [0, 2, 1, 4, 3], True),
    "photograph": lambda folder: a_photograph(folder / "e.dcm", PICTURE, "XC"),
    "endoscopy": lambda folder: a_photograph(folder / "e.dcm", PICTURE, "ES"),
    "dermoscopy": lambda folder: a_photograph(folder / "e.dcm", PICTURE, "DMS"),
}
VOLUMES = ("ct", "tilted", "mr", "enhanced", "frames")
PICTURES = ("photograph", "endoscopy", "dermoscopy")


@dataclass(frozen=True)
class Written:
    source: Path
    folder: Path

    def path(self, ending: str) -> Path:
        return self.folder / f"{self.source.name}{ending}"

    def dataset(self, ending: str) -> pydicom.Dataset:
        return pydicom.dcmread(self.path(ending))

    @property
    def record(self) -> dict:
        return json.loads(self.path(".json").read_text())


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    made = {name: write_checkpoint(folder / name, **ORGANS, modality=name) for name in ("CT", "MR")}
    made["picture"] = write_checkpoint(folder / "picture", **PHOTOGRAPH, **LESION)
    return made


@pytest.fixture(scope="module")
def written(tmp_path_factory, checkpoints):
    """``written(KIND, SEG)`` segments a source and gives its files; each once."""
    done: dict[tuple[str, str], Written] = {}

    def run(kind: str, seg: str = "binary") -> Written:
        if (kind, seg) not in done:
            folder = tmp_path_factory.mktemp(kind)
            SOURCES[kind](folder / "case")
            name = {"ct": "CT", "tilted": "CT"}.get(kind, "picture" if kind in PICTURES else "MR")
            words = ["segment", str(folder / "case"), "--checkpoint", str(checkpoints[name]), "--device", "cpu"]
            words += ["--output", str(folder / "out"), "--dicom-seg", seg, "--force"]
            assert main(words) == 0
            done[kind, seg] = Written(folder / "case", folder / "out")
        return done[kind, seg]

    return run


def program(name: str, *words: object) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAMS / name, *map(str, words)], capture_output=True, text=True, check=False)


def complaints(path: Path) -> list[str]:
    done = program("dciodvfy", path)
    lines = (done.stdout + done.stderr).splitlines()
    assert lines, "dciodvfy said nothing at all"
    return [line for line in lines if line.startswith("Error")]


UNKNOWN_LABELMAP = "Shall not be present for Referenced SOP Class that is not segmentation"
"""Of a report on a label map: dicom3tools of 2026 does not count Label Map Segmentation among the segmentations."""


@pytest.mark.parametrize("seg", ["binary", "labelmap"])
@pytest.mark.parametrize("kind", SOURCES)
def test_dicom3tools_finds_no_error(kind, seg, written):
    result = written(kind, seg)
    objects = sorted(result.folder.glob("*.dcm"))
    maps = [] if kind in PICTURES else [f"case.{name}.dcm" for name in ("uncertainty", *MAPS)]
    assert [path.name for path in objects] == sorted(["case.seg.dcm", "case.sr.dcm", *maps])
    found = {path.name: complaints(path) for path in objects}
    if seg == "labelmap":
        found["case.sr.dcm"] = [line for line in found["case.sr.dcm"] if UNKNOWN_LABELMAP not in line]
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_dicom3tools_finds_the_errors_that_are_there(written, tmp_path):
    broken = tmp_path / "broken.dcm"
    dataset = written("ct").dataset(".seg.dcm")
    del dataset.SegmentSequence
    dataset.save_as(broken)
    assert any("SegmentSequence" in line for line in complaints(broken))


def on_the_grid_of(reference: sitk.Image, found: sitk.Image) -> np.ndarray:
    """Values of ``found``, which holds some slices of the grid of ``reference``, with 0 elsewhere."""
    array = np.zeros(sitk.GetArrayFromImage(reference).shape, sitk.GetArrayFromImage(found).dtype)
    np.testing.assert_allclose(found.GetSpacing(), reference.GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(found.GetDirection(), reference.GetDirection(), atol=1e-5)
    first = reference.TransformPhysicalPointToContinuousIndex(found.GetOrigin())
    start = np.rint(first).astype(int)
    np.testing.assert_allclose(first, start, atol=1e-3)
    i, j, k = start
    values = sitk.GetArrayFromImage(found)
    array[k : k + values.shape[0], j : j + values.shape[1], i : i + values.shape[2]] = values
    return array


@pytest.mark.parametrize("seg", ["binary", "labelmap"])
@pytest.mark.parametrize("kind", [kind for kind in VOLUMES if kind != "tilted"])
def test_dcmqi_reads_the_same_labels(kind, seg, written, tmp_path):
    result = written(kind, seg)
    words = ["--outputDirectory", tmp_path, "-t", "nii", "-p", "a", "--mergeSegments"]
    done = program("segimage2itkimage", "--inputDICOM", result.path(".seg.dcm"), *words)
    assert done.returncode == 0, done.stderr
    reference = sitk.ReadImage(str(result.path(".seg.nrrd")))
    found = on_the_grid_of(reference, sitk.ReadImage(str(tmp_path / "a-1.nii.gz")))
    np.testing.assert_array_equal(found, sitk.GetArrayFromImage(reference))
    assert set(np.unique(found)) == {0, 1, 2}
    segments = [
        item for group in json.loads((tmp_path / "a-meta.json").read_text())["segmentAttributes"] for item in group
    ]
    assert [item["SegmentLabel"] for item in segments][:2] == ["liver", "left kidney"]
    assert segments[1]["SegmentedPropertyTypeCodeSequence"]["CodeValue"] == "64033007"
    assert segments[1]["SegmentedPropertyTypeModifierCodeSequence"]["CodeValue"] == "7771000"
    assert np.abs(np.subtract(segments[0]["recommendedDisplayRGBValue"], [221, 130, 101])).max() <= 1
    assert {item["SegmentAlgorithmType"] for item in segments} == {"AUTOMATIC"}


@pytest.mark.parametrize("seg", ["binary", "labelmap"])
@pytest.mark.parametrize("kind", ["tilted", *PICTURES])
def test_highdicom_reads_the_same_labels_where_dcmqi_cannot(kind, seg, written):
    """A sheared stack is none for ITK, and a photograph has no place: both have their own frames all the same."""
    result = written(kind, seg)
    segmentation = highdicom.seg.segread(result.path(".seg.dcm"))
    files = [pydicom.dcmread(path) for path in sorted(result.source.iterdir())]
    files.sort(key=lambda file: file.get("ImagePositionPatient", [0, 0, 0])[2])
    found = segmentation.get_pixels_by_source_instance(
        [file.SOPInstanceUID for file in files],
        combine_segments=True,
        ignore_spatial_locations=kind in PICTURES,
        assert_missing_frames_are_empty=True,
    )
    wanted = labels(result.path(".seg.nrrd"))
    np.testing.assert_array_equal(found.squeeze(), wanted.squeeze())
    assert found.any()


@pytest.mark.parametrize("kind", [kind for kind in VOLUMES if kind != "tilted"])
def test_dcmqi_reads_the_same_maps(kind, written, tmp_path):
    result = written(kind)
    for name in ("uncertainty", *MAPS):
        done = program(
            "paramap2itkimage", "--inputDICOM", result.path(f".{name}.dcm"), "--outputDirectory", tmp_path, "-t", "nrrd"
        )
        assert done.returncode == 0, done.stderr
        found, wanted = sitk.ReadImage(str(tmp_path / "pmap.nrrd")), sitk.ReadImage(str(result.path(f".{name}.nrrd")))
        array = sitk.GetArrayFromImage(found)
        step = matrix_of(wanted)[:3, 2] @ matrix_of(found)[:3, 2]
        wanted_array = sitk.GetArrayFromImage(wanted)[:: 1 if step > 0 else -1]
        np.testing.assert_array_equal(array, wanted_array)
        assert np.ptp(array) > 0
        meta = json.loads((tmp_path / "meta.json").read_text())
        assert meta["QuantityValueCode"]["CodeValue"] == name
        assert meta["MeasurementUnitsCode"]["CodeValue"] == "1"
        np.testing.assert_allclose(sorted(map(abs, found.GetSpacing())), sorted(wanted.GetSpacing()), rtol=1e-5)
        middle = [(size - 1) / 2 for size in found.GetSize()]
        np.testing.assert_allclose(
            found.TransformContinuousIndexToPhysicalPoint(middle),
            wanted.TransformContinuousIndexToPhysicalPoint(middle),
            atol=1e-3,
        )


@pytest.mark.parametrize("seg", ["binary", "labelmap"])
@pytest.mark.parametrize("kind", VOLUMES)
def test_dcmqi_reads_the_same_measurements(kind, seg, written, tmp_path):
    result = written(kind, seg)
    done = program("tid1500reader", "--inputDICOM", result.path(".sr.dcm"), "--outputMetadata", tmp_path / "a.json")
    assert done.returncode == 0, done.stderr
    report, record = json.loads((tmp_path / "a.json").read_text()), result.record
    array = labels(result.path(".seg.nrrd"))
    assert [group["TrackingIdentifier"] for group in report["Measurements"]] == ["liver", "left kidney", "spleen"]
    for group, item in zip(report["Measurements"], record["segments"], strict=True):
        volume, slices, *expected = (float(entry["value"]) for entry in group["measurementItems"])
        assert expected == ([] if item["value"] == 3 else [item["expected_dice"], *item["expected_dice_interval"]])
        assert volume == item["ml"]
        assert slices == (array == item["value"]).any(axis=(1, 2)).sum()
        assert group["ReferencedSegment"] == item["value"]
        assert group["segmentationSOPInstanceUID"] == result.dataset(".seg.dcm").SOPInstanceUID
        assert group["measurementAlgorithmIdentification"]["AlgorithmName"] == record["checkpoint"]
        assert group["measurementAlgorithmIdentification"]["AlgorithmVersion"] == record["checkpoint_version"]
    assert [float(group["measurementItems"][0]["value"]) > 0 for group in report["Measurements"]] == [True, True, False]


def test_a_photograph_has_an_area_and_no_map(written, capfd):
    result = written("photograph")
    report = highdicom.sr.srread(result.path(".sr.dcm"))
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    area, slices = group.get_measurements()
    assert area.value == (labels(result.path(".seg.nrrd")) > 0).sum()
    assert (area.unit.value, slices.value) == ("{pixels}", 1)
    assert group.finding_sites[0].value.value == "39937001"
    segment = result.dataset(".seg.dcm").SegmentSequence[0]
    assert segment.AnatomicRegionSequence[0].CodeValue == "39937001"
    assert result.path(f".{MAPS[0]}.nrrd").is_file()


@pytest.mark.parametrize("kind", SOURCES)
def test_patient_study_and_images_are_those_of_the_source(kind, written):
    result = written(kind)
    files = [pydicom.dcmread(path) for path in sorted(result.source.iterdir())]
    for path in sorted(result.folder.glob("*.dcm")):
        dataset = pydicom.dcmread(path)
        for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyID", "AccessionNumber"):
            assert str(dataset[name].value) == str(files[0][name].value)
        assert dataset.get("FrameOfReferenceUID") == (
            None if "sr" in path.name else files[0].get("FrameOfReferenceUID")
        )
        assert dataset.SeriesInstanceUID != files[0].SeriesInstanceUID
        assert dataset.SeriesNumber // 100 == files[0].SeriesNumber
        assert "klo-net" in dataset.SeriesDescription
        text = path.read_bytes()
        assert all(file.SOPInstanceUID.encode() in text for file in files)


def test_another_run_gives_the_same_objects_and_other_settings_give_others(written, checkpoints, tmp_path):
    first = written("mr")
    words = ["segment", str(first.source), "--checkpoint", str(checkpoints["MR"]), "--device", "cpu", "--dicom"]
    assert main([*words, "--output", str(tmp_path / "again")]) == 0
    assert main([*words, "--output", str(tmp_path / "axis"), "--axis", "j"]) == 0
    again = {path.name: pydicom.dcmread(path) for path in (tmp_path / "again").glob("*.dcm")}
    axis = {path.name: pydicom.dcmread(path) for path in (tmp_path / "axis").glob("*.dcm")}
    assert set(again) == {path.name for path in first.folder.glob("*.dcm")} == set(axis)
    uids = set()
    for name, dataset in again.items():
        before = pydicom.dcmread(first.folder / name)
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
            assert dataset[keyword].value == before[keyword].value != axis[name][keyword].value
            uids |= {dataset[keyword].value, axis[name][keyword].value}
    assert len(uids) == 4 * len(again)
    assert {name: found for name in axis if (found := complaints(tmp_path / "axis" / name))} == {}
    assert all(len(uid) <= 64 for uid in uids)


def test_nothing_found_is_a_segmentation_too(checkpoints, tmp_path):
    a_study_series(tmp_path / "case", ARRAY * 0, geometry("flipped"))
    words = ["segment", str(tmp_path / "case"), "--checkpoint", str(checkpoints["CT"]), "--output", str(tmp_path / "o")]
    assert main([*words, "--dicom", "--force", "--attention", "none"]) == 0
    assert [complaints(path) for path in (tmp_path / "o").glob("*.dcm")] == [[], []]
    assert not highdicom.seg.segread(tmp_path / "o" / "case.seg.dcm").pixel_array.any()


def run_on(source: Path, checkpoint: Path, tmp_path: Path, *options: str) -> int:
    where = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), "--device", "cpu"]
    return main(["segment", str(source), *where, "--dicom", "--attention", "none", *options])


def test_what_is_no_dicom_is_refused_before_the_run(segment, a_case, tmp_path, capfd):
    assert segment(a_case, "--dicom") == 1
    out, err = capfd.readouterr()
    assert out == ""
    one_line(err, "was not read from DICOM", "--dicom")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change_of", "words"),
    [
        ({"StudyInstanceUID": None}, "without StudyInstanceUID"),
        ({"SOPInstanceUID": "1.2.3"}, "several DICOM files with one SOPInstanceUID"),
    ],
)
def test_what_no_object_can_refer_to_is_refused_before_the_run(change_of, words, checkpoints, tmp_path, capfd):
    for path in a_study_series(tmp_path / "case", ARRAY, geometry("flipped")):
        change(path, **change_of)
    assert run_on(tmp_path / "case", checkpoints["CT"], tmp_path) == 1
    out, err = capfd.readouterr()
    assert out == ""
    one_line(err, words)


@pytest.mark.filterwarnings("ignore:Invalid value for VR", "ignore:The value for the data element")
def test_headers_that_were_cut_are_completed(checkpoints, tmp_path, capfd):
    """What anonymisers leave: no study ID, an empty frame of reference, dates and a sex that are none."""
    empty = {"StudyID": None, "AccessionNumber": None, "FrameOfReferenceUID": None, "PatientSex": "unknown"}
    dates = {"PatientBirthDate": "removed", "StudyTime": "later", "SeriesNumber": None, "PatientName": "A=B=C=D^E"}
    for number, path in enumerate(a_study_series(tmp_path / "case", ARRAY, geometry("oblique"))):
        turned = [f"{value + 1e-7 * number:.12g}" for value in pydicom.dcmread(path).ImageOrientationPatient]
        change(path, **empty, **dates, ImageOrientationPatient=turned)
    assert run_on(tmp_path / "case", checkpoints["CT"], tmp_path) == 0
    dataset = pydicom.dcmread(tmp_path / "out" / "case.seg.dcm")
    assert (dataset.StudyID, dataset.PatientBirthDate, dataset.PatientSex) == ("", "", "")
    assert dataset.FrameOfReferenceUID.startswith("2.25.")
    assert complaints(tmp_path / "out" / "case.seg.dcm") == []
    captured = capfd.readouterr()
    assert "A=B" not in captured.out + captured.err


def test_names_of_any_script_stay(tmp_path):
    two = {"labels": [{**ORGANS["labels"][0], "name": "печень / 肝臓"}]}
    checkpoint = write_checkpoint(tmp_path / "c", modality="CT", intensity=ORGANS["intensity"], **two)
    for path in a_study_series(tmp_path / "case", ARRAY, geometry("flipped")):
        change(path, SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎")
    assert run_on(tmp_path / "case", checkpoint, tmp_path) == 0
    dataset = pydicom.dcmread(tmp_path / "out" / "case.seg.dcm")
    assert str(dataset.PatientName) == "Yamada^Tarou=山田^太郎"
    assert dataset.SegmentSequence[0].SegmentLabel == "печень / 肝臓"
    assert complaints(tmp_path / "out" / "case.seg.dcm") == []


def test_frames_without_a_place_are_refused(checkpoints, tmp_path, capfd):
    path = a_photograph(tmp_path / "video.dcm", PICTURE)
    change(path, NumberOfFrames=2, PixelData=np.stack([PICTURE, PICTURE]).tobytes())
    assert run_on(path, checkpoints["picture"], tmp_path) == 1
    one_line(capfd.readouterr().err, "2 frames and no place", "without --dicom")


def test_a_full_disk_is_told_and_leaves_nothing(checkpoints, tmp_path, monkeypatch, capfd):
    a_study_series(tmp_path / "case", ARRAY, geometry("flipped"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pydicom.Dataset, "save_as", full)
    assert run_on(tmp_path / "case", checkpoints["CT"], tmp_path) == 1
    one_line(capfd.readouterr().err, "case.seg.dcm' could not be written (No space left on device)")
    assert not (tmp_path / "out").exists()


def test_a_batch_writes_objects_and_adds_them_to_results_that_lack_them(checkpoints, tmp_path):
    for number in range(2):
        a_study_series(tmp_path / "cases" / f"p{number}", ARRAY, geometry("flipped"), uid=f"1.2.826.0.1.99.4{number}")
    words = ["segment", str(tmp_path / "cases"), "--checkpoint", str(checkpoints["CT"]), "--attention", "none"]
    words += ["--output", str(tmp_path / "out")]
    assert main(words) == 0
    assert main([*words, "--dicom"]) == 0
    files = names(tmp_path / "out")
    assert [name for name in files if name.endswith(".dcm")] == ["p0.seg.dcm", "p0.sr.dcm", "p1.seg.dcm", "p1.sr.dcm"]
    assert "p0.seg.dcm" in json.loads((tmp_path / "out" / "p0.json").read_text())["files"]
    before = (tmp_path / "out" / "p0.sr.dcm").stat().st_mtime_ns
    for again in ([*words, "--dicom"], words):
        assert main(again) == 0
        assert (tmp_path / "out" / "p0.sr.dcm").stat().st_mtime_ns == before
    assert main([*words, "--dicom-seg", "labelmap"]) == 0
    assert pydicom.dcmread(tmp_path / "out" / "p0.seg.dcm").SegmentationType == "LABELMAP"


def test_without_highdicom_the_error_says_what_to_install(checkpoints, tmp_path, monkeypatch, capfd):
    a_study_series(tmp_path / "case", ARRAY, geometry("flipped"))
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert run_on(tmp_path / "case", checkpoints["CT"], tmp_path) == 1
    one_line(capfd.readouterr().err, "pip install highdicom", "without --dicom")
