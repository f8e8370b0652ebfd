"""Folders of images and masks: classes, unions, splits, and what is said when something is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionTraining.data.cases import read_case, read_folder

LABELS = {"background": 0, "Liver": 1, "kidneys": [2, 3], "spleen": 4}


def _write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.75, 3.0))
    SimpleITK.WriteImage(image, str(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three cases of [2, 3, 5] voxels, their masks holding the values 0 to 4."""
    folder = tmp_path / "abdomen" / "small"
    mask = np.arange(30, dtype=np.uint8).reshape(2, 3, 5) % 5
    for name in ("a", "b", "c"):
        _write(folder / "images" / f"{name}.nii.gz", np.arange(30, dtype=np.int16).reshape(2, 3, 5))
        _write(folder / "labels" / f"{name}.nii.gz", mask)
    (folder / "dataset.json").write_text(json.dumps({"labels": LABELS, "spacing_is_real": False}))
    return folder


def _splits(folder: Path) -> Path:
    path = folder.parent / "splits.csv"
    rows = ["abdomen/small,a,train", "abdomen/small,b,test", "abdomen/small,c,train", "other/small,c,test"]
    path.write_text("\n".join(["dataset,case,split", *rows]) + "\n")
    return path


def test_a_folder_lists_its_cases_and_classes(folder):
    data = read_folder(folder)
    assert [case.name for case in data.cases] == ["a", "b", "c"]
    assert data.labels == {"liver": (1,), "kidneys": (2, 3), "spleen": (4,)}
    assert data.spacing_is_real is False


def test_spacing_counts_as_real_unless_it_is_denied(folder):
    (folder / "dataset.json").write_text(json.dumps({"labels": LABELS}))
    assert read_folder(folder).spacing_is_real is True


def test_a_list_of_values_is_one_class(folder):
    data = read_folder(folder)
    image, mask = read_case(data, data.cases[0], ["Kidneys", "liver"])
    assert image.spacing == pytest.approx((0.5, 0.75, 3.0))
    assert mask.dtype == np.uint8
    assert mask[0, 0].tolist() == [0, 2, 1, 1, 0]


def test_the_split_is_that_of_the_table_and_of_this_data_set(folder):
    splits = _splits(folder)
    assert [case.name for case in read_folder(folder, "train", splits).cases] == ["a", "c"]
    assert [case.name for case in read_folder(folder, "test", splits).cases] == ["b"]


def test_a_split_needs_its_table_and_a_case(folder):
    with pytest.raises(InputError, match="needs --splits"):
        read_folder(folder, "test")
    with pytest.raises(InputError, match=r"no case of split 'validation'.*splits are \['test', 'train'\]"):
        read_folder(folder, "validation", _splits(folder))
    with pytest.raises(InputError, match=r"data sets are \['abdomen/small', 'other/small'\].*folder's path ends"):
        read_folder(folder.rename(folder.parent / "renamed"), "train", _splits(folder))


def test_a_table_of_splits_without_its_columns_is_refused(folder):
    path = _splits(folder)
    path.write_text(path.read_text().replace("dataset,", "data,"))
    with pytest.raises(InputError, match=r"lacks the columns \['dataset'\]"):
        read_folder(folder, "train", path)


def test_masks_whose_values_the_description_does_not_know_are_refused(folder):
    for name in ("a", "b"):
        _write(folder / "labels" / f"{name}.nii.gz", np.full((2, 3, 5), 255, np.uint8))
    data = read_folder(folder)
    with pytest.raises(InputError, match=r"labels/b.nii.gz' hold the values \[255\]"):  # though case c has known ones
        read_case(data, data.cases[1], ["liver"])
    _write(folder / "labels" / "c.nii.gz", np.zeros((2, 3, 5), np.uint8))
    with pytest.raises(InputError, match=r"hold the values \[255\].*knows \[1, 2, 3, 4\]"):
        read_folder(folder).check_values()
    for name in ("a", "b"):
        _write(folder / "labels" / f"{name}.nii.gz", np.zeros((2, 3, 5), np.uint8))
    read_folder(folder).check_values()  # nothing to find is no mistake


def test_alpha_is_left_out(tmp_path):
    picture = SimpleITK.GetImageFromArray(np.full((4, 6, 4), 9, np.uint8), isVector=True)
    for sub in ("images", "masks"):
        (tmp_path / sub).mkdir()
    SimpleITK.WriteImage(picture, str(tmp_path / "images" / "p.png"))
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((4, 6), np.uint8)), str(tmp_path / "masks" / "p.png"))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"polyp": 255}}))
    data = read_folder(tmp_path)
    assert read_case(data, data.cases[0], ["polyp"])[0].array.shape == (1, 4, 6, 3)


def test_a_missing_mask_is_named(folder):
    (folder / "labels" / "b.nii.gz").unlink()
    with pytest.raises(InputError, match=r"b\.nii\.gz' has no mask"):
        read_folder(folder)


def test_a_mask_of_another_size_is_refused(folder):
    _write(folder / "labels" / "b.nii.gz", np.zeros((2, 3, 4), np.uint8))
    data = read_folder(folder)
    with pytest.raises(InputError, match=r"\[2, 3, 4\].*\[2, 3, 5\]"):
        read_case(data, data.cases[1], ["liver"])


def test_a_folder_without_its_description_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"dataset\.json"):
        read_folder(tmp_path)


def test_pictures_come_with_masks_as_pictures(tmp_path):
    _write(tmp_path / "images" / "p.png", np.zeros((4, 6), np.uint8))
    mask = np.zeros((4, 6), np.uint8)
    mask[1, 2] = 255
    _write(tmp_path / "masks" / "p.png", mask)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "polyp": 255}}))
    data = read_folder(tmp_path)
    image, found = read_case(data, data.cases[0], ["polyp"])
    assert image.array.shape == found.shape == (1, 4, 6)
    assert (found.sum(), found[0, 1, 2]) == (1, 1)
