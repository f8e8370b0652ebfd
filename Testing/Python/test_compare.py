"""Two segmentations compared: figures that can be worked out by hand, files of all kinds, the command."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from command_tools import one_line
from conftest import DIRECTIONS, a_result_on, an_image, geometry
from dicom_studies import a_study_series
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.data.comparison import ONLY_FIRST, ONLY_SECOND, OTHER_CLASS, NamedLabels
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.files.segmentations import read_segmentation
from MedSegAttentionLib.inference.agreement import compare
from MedSegAttentionLib.output.exports import export_segmentation
from MedSegAttentionLib.scene.segmentation import write_segmentation
from MedSegAttentionLib.scene.volumes import add_volume
from sitk_tools import to_sitk
from small_checkpoint import write_checkpoint

pytest_plugins = ["command_fixtures"]
VALUES = {"liver": 1, "spleen": 2}


def a_block(start: int, kind: str = "anisotropic") -> NamedLabels:
    """4 x 4 x 4 voxels of liver, from i = ``start`` on."""
    array = np.zeros((9, 20, 24), np.uint8)
    array[2:6, 5:9, start : start + 4] = 1
    return NamedLabels(f"block {start}", array, geometry(kind), dict(VALUES))


def test_figures_of_shifted_blocks_are_those_worked_out_by_hand():
    found = compare(a_block(4), a_block(6))
    liver, spleen = found.classes
    voxel_ml = 0.5 * 0.8 * 6.0 / 1000
    assert (liver.dice, liver.size_a, liver.size_b) == (0.5, pytest.approx(64 * voxel_ml), pytest.approx(64 * voxel_ml))
    assert liver.hd95 == pytest.approx(1.0)  # two voxels of 0.5 mm along i
    assert 0 < liver.mean_distance < 1.0
    assert (spleen.dice, spleen.hd95, spleen.mean_distance) == (1.0, None, None)  # nothing to find, nothing found
    assert found.mean_dice == 0.75
    assert (found.distance_unit, found.size_unit, found.axis, found.slice_count) == ("mm", "mL", 2, 9)
    assert [(item.number, item.differing, item.dice) for item in found.slices] == [(n, 16, 0.5) for n in range(2, 6)]
    counts = [int((found.disagreement == value).sum()) for value in (ONLY_FIRST, ONLY_SECOND, OTHER_CLASS)]
    assert counts == [32, 32, 0]


def test_slices_are_ordered_by_how_much_of_them_differs():
    first, second = a_block(4), a_block(4)
    second.array[3, 5:9, 4:7] = 2
    second.array[7, 0, 0] = 1
    found = compare(first, second)
    assert [(item.number, item.differing) for item in found.slices] == [(3, 12), (7, 1)]
    assert found.slices[1].dice == 0
    assert int((found.disagreement == OTHER_CLASS).sum()) == 12


def test_classes_are_matched_by_name_and_a_single_one_by_being_alone():
    first, second = a_block(4), a_block(4)
    found = compare(first, replace(second, values={"Liver": 1, "aorta": 2}))
    assert [item.name for item in found.classes] == ["liver"]
    assert (found.only_a, found.only_b) == (("spleen",), ("aorta",))
    alone = compare(replace(first, values={"prostate": 1}), replace(second, values={"Segment_1": 1}))
    assert [(item.name, item.dice) for item in alone.classes] == [("prostate", 1.0)]
    with pytest.raises(InputError, match="no class in common"):
        compare(first, replace(second, values={"aorta": 1}))


def test_other_grids_of_one_place_are_compared_there():
    """Flipped, permuted and cut off: the same voxels of the patient agree whole."""
    whole = a_block(4)
    flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped[0, 3] = 23
    second = replace(whole, array=whole.array[:, :, ::-1], ijk_to_ras=whole.ijk_to_ras @ flipped)
    assert compare(whole, second).classes[0].dice == 1
    cut = np.eye(4)
    cut[:3, 3] = [2, 3, 2]
    part = replace(whole, array=whole.array[2:4, 3:12, 2:12], ijk_to_ras=whole.ijk_to_ras @ cut)
    for pair in ((whole, part), (part, whole)):  # what lies beyond the smaller grid counts either way
        assert compare(*pair).classes[0].dice == pytest.approx(2 * 32 / (64 + 32))
    far = replace(whole, ijk_to_ras=whole.ijk_to_ras + np.pad([[500.0]], ((0, 3), (3, 0))))
    with pytest.raises(InputError, match="no place in common"):
        compare(whole, far)


def test_a_picture_is_measured_in_pixels():
    array = np.zeros((1, 20, 24), np.uint8)
    array[0, 5:10, 5:10] = 1
    first = NamedLabels("a", array, np.eye(4), {"polyp": 1}, has_scale=False)
    (polyp,) = compare(first, replace(first, array=np.roll(array, 1, 2))).classes
    assert (polyp.hd95, polyp.size_a) == (1.0, 25)
    assert compare(first, first).as_json()["per_class"]["polyp"]["ml_a"] is None


@pytest.mark.parametrize("kind", list(DIRECTIONS))
def test_what_the_module_writes_is_read_with_its_names(a_scene, kind, tmp_path):
    image = an_image(kind)
    result = a_result_on(image)
    node = write_segmentation(a_scene, result, add_volume(a_scene, image))
    for name in ("a.seg.nrrd", "b.nii.gz"):
        export_segmentation(node, tmp_path / name)
    found = compare(read_segmentation(tmp_path / "a.seg.nrrd"), read_segmentation(tmp_path / "b.nii.gz"))
    assert {item.name: item.dice for item in found.classes} == {"liver": 1.0, "left kidney": 1.0, "polyp": 1.0}
    voxel = abs(np.linalg.det(image.ijk_to_ras[:3, :3])) / 1000
    assert found.classes[0].size_a == pytest.approx(int((result.labels == 1).sum()) * voxel)


def write(path, labels: NamedLabels, named: bool = True):
    sitk.WriteImage(to_sitk(labels.array, labels.ijk_to_ras), str(path))
    if named:
        segments = [{"name": name, "value": value} for name, value in labels.values.items()]
        path.with_name(f"{path.name.split('.')[0]}.json").write_text(json.dumps({"segments": segments}))
    return path


def test_label_maps_without_names_and_with_large_numbers_are_read(tmp_path):
    array = np.where(a_block(4).array > 0, 1000, 0).astype(np.int16)
    array[0, 0, 0] = 7
    sitk.WriteImage(to_sitk(array, geometry("plain")), str(tmp_path / "x.nrrd"))
    read = read_segmentation(tmp_path / "x.nrrd")
    assert read.values == {"label 7": 1, "label 1000": 2}
    assert int((read.array == 2).sum()) == 64
    sitk.WriteImage(to_sitk(array / 3.0, geometry("plain")), str(tmp_path / "y.nrrd"))
    with pytest.raises(InputError, match="no label map"):
        read_segmentation(tmp_path / "y.nrrd")


def test_the_command_says_and_writes_how_well_two_files_agree(tmp_path, capfd):
    a, b = write(tmp_path / "a.nii.gz", a_block(4)), write(tmp_path / "b.nii.gz", a_block(6))
    told, table = tmp_path / "told.json", tmp_path / "told.csv"
    assert main(["compare", str(a), str(b), "--json", str(told), "--csv", str(table)]) == 0
    shown = capfd.readouterr().out
    assert "mean Dice 0.750" in shown
    assert "slices that differ most, of 9: 3 (16 voxels)" in shown
    figures = json.loads(told.read_text())
    assert figures["mean"] == {"dice": 0.75}
    assert set(figures["per_class"]["liver"]) >= {"dice", "hd95", "ml_a", "ml_b"}
    assert figures["per_class"]["liver"]["hd95"] == pytest.approx(1.0, abs=1e-4)
    assert figures["per_class"]["spleen"]["hd95"] is None
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1][:3] == ["liver", "0.5000", "1.00"]
    assert rows[4:6] == [["slice", "differing voxels", "dice"], ["3", "16", "0.5000"]]


def test_the_command_says_in_one_line_what_is_wrong(tmp_path, capfd):
    a = write(tmp_path / "a.nii.gz", a_block(4))
    assert main(["compare", str(a), str(tmp_path / "missing.nii")]) == 1
    one_line(capfd.readouterr().err, "missing.nii", "does not exist")
    (tmp_path / "bad.seg.nrrd").write_bytes(b"NRRD0004\n")
    assert main(["compare", str(tmp_path / "bad.seg.nrrd"), str(a)]) == 1
    one_line(capfd.readouterr().err, "bad.seg.nrrd", "is cut short or damaged (its header is not whole)")
    assert main(["compare", str(a), str(a), "--json", str(tmp_path / "no" / "x.json")]) == 1
    one_line(capfd.readouterr().err, "cannot be written")


def test_dicom_segmentations_are_compared_with_their_own_nrrd(tmp_path, capfd):
    rng = np.random.default_rng(0)
    array = rng.integers(-100, 200, (5, 24, 30)).astype(np.int16)
    a_study_series(tmp_path / "case", array, geometry("flipped"))
    checkpoint = write_checkpoint(tmp_path / "checkpoint", modality="CT")
    words = ["segment", str(tmp_path / "case"), "--checkpoint", str(checkpoint), "--device", "cpu", "--force"]
    assert main([*words, "--output", str(tmp_path / "out"), "--dicom"]) == 0
    pair = [str(tmp_path / "out" / f"case{ending}") for ending in (".seg.nrrd", ".seg.dcm")]
    for a, b in (pair, pair[::-1]):
        assert main(["compare", a, b, "--json", str(tmp_path / "told.json")]) == 0
        figures = json.loads((tmp_path / "told.json").read_text())
        assert [item["dice"] for item in figures["per_class"].values()] == [1.0] * len(figures["per_class"])
        assert all(item["ml_a"] > 0 for item in figures["per_class"].values())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda head, voxels: (head, voxels[:-3]), "is cut short or damaged"),
        (lambda head, voxels: (head, voxels + b"more"), "4 bytes follow the end of its compressed voxels"),
        (lambda head, voxels: (head.replace(b"_Layer:=0", b"_Layer:=7"), voxels), "segment 0 is in no layer"),
        (lambda head, voxels: (head.replace(b"_LabelValue:=1", b"_LabelValue:=x"), voxels), "segment 0 is in no layer"),
    ],
    ids=["cut", "surplus", "another layer", "no value"],
)
def test_a_segmentation_that_is_not_whole_is_refused(change, told, tmp_path):
    head = (
        b"NRRD0004\ntype: uchar\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 3 2\nspace directions: (1,0,0) "
        b"(0,1,0) (0,0,1)\nkinds: domain domain domain\nencoding: gzip\nspace origin: (0,0,0)\nSegment0_ID:=a\n"
        b"Segment0_Name:=liver\nSegment0_Layer:=0\nSegment0_LabelValue:=1\n\n"
    )
    voxels = gzip.compress(bytes([0, 1] * 12))
    path = tmp_path / "a.seg.nrrd"
    path.write_bytes(head + voxels)
    assert (read_segmentation(path).array == 1).sum() == 12
    path.write_bytes(b"".join(change(head, voxels)))
    with pytest.raises(InputError, match=rf"a.seg.nrrd' .*{told}"):
        read_segmentation(path)
