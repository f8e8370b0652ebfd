"""``segment`` of one image, from file to files."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from command_tools import PHOTOGRAPH, a_series, bright, labels, names, one_line, same_place
from conftest import geometry
from sitk_tools import to_sitk
from small_checkpoint import MAPS, two_classes, write_checkpoint

pytest_plugins = ["command_fixtures"]


@pytest.mark.parametrize("kind", ["oblique", "permuted"])
def test_a_volume_gives_segmentation_maps_picture_and_provenance(kind, segment, tmp_path, capfd):
    image = bright(kind)
    sitk.WriteImage(image, str(tmp_path / "case.nrrd"))
    assert segment(tmp_path / "case.nrrd", "--task", "prostate", "--scene", maps="all") == 0
    out, err = capfd.readouterr()
    folder = tmp_path / "out"
    maps = ("uncertainty", *MAPS)
    files = ["case.json", "case.mrb", "case.png", "case.seg.nrrd", *(f"case.{name}.nrrd" for name in maps)]
    assert names(folder) == sorted(files)
    assert all(str(folder / name) in out for name in files)
    assert err == ""
    found, wanted = labels(folder / "case.seg.nrrd") > 0, sitk.GetArrayFromImage(image) > 0.25
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.95  # its edge may move by half a pixel
    same_place(folder / "case.seg.nrrd", image)
    for name in MAPS:
        read = sitk.ReadImage(str(folder / f"case.{name}.nrrd"))
        values = sitk.GetArrayFromImage(read)
        assert read.GetPixelID() == sitk.sitkFloat32
        assert values.min() >= 0
        assert values.max() <= 1
        assert values.any()
    assert np.ptp(np.asarray(Image.open(folder / "case.png").convert("L"))) > 50
    provenance = json.loads((folder / "case.json").read_text())
    assert provenance["checkpoint"] == "prostate-klo-net"
    assert {"start", "read", "network", "nodes", "files"} <= set(provenance["seconds"])
    with zipfile.ZipFile(folder / "case.mrb") as archive:
        assert any(name.endswith(".mrml") for name in archive.namelist())


def test_maps_on_the_input_grid_have_its_geometry(segment, a_case, tmp_path):
    assert segment(a_case, "--attention-grid", "input", maps="tau_stage4,k_bottleneck") == 0
    for name in ("tau_stage4", "k_bottleneck"):
        same_place(tmp_path / "out" / f"case.{name}.nrrd", sitk.ReadImage(str(a_case)))
    assert "case.tau_bottleneck.nrrd" not in names(tmp_path / "out")


def test_several_classes_are_told_apart(segment, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "two", **two_classes())
    array = np.full((2, 40, 40), 0.1, np.float32)
    array[:, 5:15, 5:15], array[:, 20:30, 20:30] = 0.4, 0.9
    sitk.WriteImage(to_sitk(array, geometry("flipped")), str(tmp_path / "case.nii.gz"))
    assert segment(tmp_path / "case.nii.gz", checkpoint=checkpoint) == 0
    found = labels(tmp_path / "out" / "case.seg.nrrd")
    header = sitk.ReadImage(str(tmp_path / "out" / "case.seg.nrrd"))
    by_name = {
        header.GetMetaData(f"Segment{n}_Name"): int(header.GetMetaData(f"Segment{n}_LabelValue")) for n in (0, 1)
    }
    np.testing.assert_array_equal(found == by_name["liver"], array == np.float32(0.4))
    np.testing.assert_array_equal(found == by_name["spleen"], array == np.float32(0.9))


def test_a_segmentation_with_nothing_found_still_lies_on_the_input(segment, tmp_path):
    image = bright() * 0.2
    sitk.WriteImage(image, str(tmp_path / "case.nrrd"))
    assert segment(tmp_path / "case.nrrd") == 0
    assert not labels(tmp_path / "out" / "case.seg.nrrd").any()
    same_place(tmp_path / "out" / "case.seg.nrrd", image)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_photograph_is_segmented(suffix, segment, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "skin", **PHOTOGRAPH)
    picture = np.full((50, 70, 3), 20, np.uint8)
    picture[10:30, 20:60] = 240
    Image.fromarray(picture).save(tmp_path / f"mole{suffix}")
    assert segment(tmp_path / f"mole{suffix}", "--task", "skin", checkpoint=checkpoint, maps="tau_stage4") == 0
    found = labels(tmp_path / "out" / "mole.seg.nrrd").reshape(50, 70) > 0
    assert (found & (picture[..., 0] > 128)).sum() * 2 / (found.sum() + 800) > 0.95


def test_an_alpha_channel_changes_neither_result_nor_picture(segment, tmp_path, capfd):
    checkpoint = write_checkpoint(tmp_path / "skin", **PHOTOGRAPH)
    picture = np.full((50, 70, 4), 20, np.uint8)
    picture[10:30, 20:60] = 240
    picture[..., 3] = 255
    for name, values in (("plain", picture[..., :3]), ("alpha", picture)):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
        assert segment(tmp_path / f"{name}.png", checkpoint=checkpoint) == 0
    plain, alpha = (np.asarray(Image.open(tmp_path / "out" / f"{name}.png")) for name in ("plain", "alpha"))
    assert capfd.readouterr().err == ""
    np.testing.assert_array_equal(alpha, plain)


def test_a_dicom_series_folder_is_one_volume(segment, ct, tmp_path):
    array = a_series(tmp_path / "series")
    assert segment(tmp_path / "series", checkpoint=ct) == 0
    assert names(tmp_path / "out") == ["series.json", "series.png", "series.seg.nrrd"]
    np.testing.assert_array_equal(labels(tmp_path / "out" / "series.seg.nrrd") > 0, array > 250)


def test_the_series_of_the_folder_one_stands_in_is_named_after_it(segment, ct, tmp_path, monkeypatch):
    a_series(tmp_path / "series")
    monkeypatch.chdir(tmp_path / "series")
    assert segment(".", checkpoint=ct) == 0
    assert names(tmp_path / "out") == ["series.json", "series.png", "series.seg.nrrd"]


def test_what_force_overrides_is_said_and_kept(segment, tmp_path, capfd):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 40, 40), np.float32)), str(tmp_path / "flat.nrrd"))
    assert segment(tmp_path / "flat.nrrd") == 1
    one_line(capfd.readouterr().err, "the same value, 0, everywhere", "run anyway (force)")
    assert segment(tmp_path / "flat.nrrd", "--force") == 0
    assert "the same value" in json.loads((tmp_path / "out" / "flat.json").read_text())["warnings"][0]
    assert "the same value" in capfd.readouterr().err


def test_a_volume_acquired_along_another_axis_is_warned_about_where_the_user_looks(segment, tmp_path, capfd):
    image = bright("plain")
    image.SetSpacing((5.0, 1.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / "case.nrrd"))
    assert segment(tmp_path / "case.nrrd") == 0
    assert "acquired along axis i" in json.loads((tmp_path / "out" / "case.json").read_text())["warnings"][0]
    assert "acquired along axis i" in capfd.readouterr().err


def test_flips_are_refused_where_the_card_has_none(segment, a_case, tmp_path, capfd):
    assert segment(a_case, "--flips") == 1
    one_line(capfd.readouterr().err, "not trained on mirror images")
    assert names(tmp_path / "out") == []
    allowed = write_checkpoint(tmp_path / "allowed", flips=["horizontal"])
    assert segment(a_case, "--flips", checkpoint=allowed) == 0
    assert json.loads((tmp_path / "out" / "case.json").read_text())["settings"]["test_time_flips"] is True


def test_an_axis_can_be_chosen(segment, a_case, tmp_path):
    assert segment(a_case, "--axis", "j", "--batch-size", "3") == 0
    provenance = json.loads((tmp_path / "out" / "case.json").read_text())
    assert provenance["slice_axis"] == "j"
    assert provenance["slices"] == [40, 40]
