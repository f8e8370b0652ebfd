"""``prepare``: each official layout, built small, becomes a folder that ``train`` and ``evaluate`` read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

import official_layouts as layouts
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.data.errors import InputError, UsageError
from MedSegAttentionTraining.data.cases import read_case, read_folder
from MedSegAttentionTraining.data.preparation.pictures import sequence_of
from MedSegAttentionTraining.data.preparation.sources import SOURCES
from MedSegAttentionTraining.data.preparation.uw_madison import decode_runs
from MedSegAttentionTraining.data.preparation.writing import FINDERS, prepare

DOCS = Path(__file__).resolve().parents[2] / "Resources" / "docs" / "data.md"
COUNTS = {
    "promise12": {"test": 1, "train": 4},
    "prostatex": {"test": 1, "train": 2},
    "prostate158": {"test": 1, "train": 2, "validation": 1},
    "isic2017": {"test": 2, "train": 2, "validation": 2},
    "isic2018": {"test": 1, "train": 4},
    "ph2": {"test": 2},
    "kvasir-seg": {"test": 1, "train": 4},
    "btcv": {"test": 2, "train": 1},
    "chaos": {"test": 1, "train": 2},
    "chaos-t1dual": {"test": 2, "train": 4},
}


def prepared(tmp_path: Path, dataset: str, **how: float) -> Path:
    source = tmp_path / "download"
    if not source.is_dir():
        layouts.LAYOUTS[dataset](source)
    out = tmp_path / "data" / dataset
    prepare(dataset, source, out, **how)
    return out


def splits(out: Path) -> list[dict[str, str]]:
    with open(out / "splits.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def masks_of(out: Path, classes: list[str]) -> dict[str, np.ndarray]:
    data = read_folder(out)
    return {case.name: read_case(data, case, classes)[1] for case in data.cases}


def test_every_data_set_has_a_layout_a_finder_and_a_test():
    assert set(SOURCES) == set(FINDERS) == set(layouts.LAYOUTS)


@pytest.mark.parametrize("dataset", SOURCES)
def test_the_folder_is_what_training_reads_and_the_split_keeps_units_together(tmp_path, dataset):
    out = prepared(tmp_path, dataset)
    about = SOURCES[dataset]
    rows = splits(out)
    data = read_folder(out)
    assert sorted(case.name for case in data.cases) == sorted(row["case"] for row in rows)
    assert data.spacing_is_real is about.spacing_is_real
    for case in data.cases:
        _, mask = read_case(data, case, sorted(data.labels))
        assert mask.any()
    parts = {}
    for row in rows:
        parts.setdefault(row[about.unit], set()).add(row["split"])
    assert all(len(found) == 1 for found in parts.values())
    test = read_folder(out, "test", out / "splits.csv")
    assert [case.name for case in test.cases] == sorted(row["case"] for row in rows if row["split"] == "test")
    if dataset in COUNTS:
        found = [row["split"] for row in rows]
        assert {part: found.count(part) for part in set(found)} == COUNTS[dataset]
    written = json.loads((out / "dataset.json").read_text())
    assert written["terms"] == about.terms
    assert about.citation in (out / "README.md").read_text()
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("dataset", ["promise12", "btcv", "prostate158"])
def test_voxels_and_their_place_are_those_of_the_download(tmp_path, dataset):
    out = prepared(tmp_path, dataset)
    number = {"promise12": "Case03", "btcv": "btcv_0005", "prostate158": "020"}[dataset]
    original = layouts.a_volume(layouts.grey({"Case03": 3, "btcv_0005": 5, "020": 20}[number]))
    image = sitk.ReadImage(str(out / "images" / f"{number}.nii.gz"))
    labels = sitk.ReadImage(str(out / "labels" / f"{number}.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(original))
    for corner in ((0, 0, 0), (7, 5, 3), (7, 0, 3)):
        place = original.TransformIndexToPhysicalPoint(corner)
        assert image.TransformIndexToPhysicalPoint(corner) == pytest.approx(place, abs=1e-3)
        assert labels.TransformIndexToPhysicalPoint(corner) == pytest.approx(place, abs=1e-3)
    assert labels.GetPixelID() == sitk.sitkUInt8


def test_labels_keep_their_values(tmp_path):
    found = masks_of(prepared(tmp_path, "btcv"), ["pancreas", "right kidney"])["btcv_0005"]
    expected = layouts.a_mask(5, 11) + layouts.a_mask(0, 2)
    assert np.array_equal(found == 1, expected == 11)
    assert np.array_equal(found == 2, expected == 2)


def test_prostate158_zones_make_the_whole_gland(tmp_path):
    out = prepared(tmp_path, "prostate158")
    assert np.array_equal(masks_of(out, ["prostate"])["020"], layouts.a_mask(0))
    zones = masks_of(out, ["central gland", "peripheral zone"])["020"]
    assert zones[1, 1, 2:7].tolist() == [1, 1, 2, 2, 2]
    assert {row["case"]: row["split"] for row in splits(out)} == {
        "020": "train",
        "021": "train",
        "022": "validation",
        "007": "test",
    }


def test_prostatex_is_read_from_nifti_and_from_the_series_the_list_names(tmp_path):
    out = prepared(tmp_path, "prostatex")
    masks = masks_of(out, ["prostate"])
    for number in range(3):
        name = f"ProstateX-000{number}"
        image = sitk.ReadImage(str(out / "images" / f"{name}.nii.gz"))
        assert np.array_equal(sitk.GetArrayFromImage(image), layouts.grey(number))
        assert np.array_equal(masks[name], layouts.a_mask(number)), "masks are stored with rows the other way"
    place = image.TransformIndexToPhysicalPoint((0, 0, 3))
    assert place == pytest.approx((-5.0, 7.5, 49.0), abs=1e-3)


@pytest.mark.parametrize(
    ("dataset", "name", "number"), [("chaos", "chaos_13", 13), ("chaos-t1dual", "chaos_13_out", 14)]
)
def test_chaos_slices_are_stacked_by_place_and_keep_their_masks(tmp_path, dataset, name, number):
    out = prepared(tmp_path, dataset)
    image = sitk.ReadImage(str(out / "images" / f"{name}.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(image), layouts.grey(number))
    assert image.GetSpacing() == pytest.approx(layouts.SPACING)
    assert image.TransformIndexToPhysicalPoint((0, 0, 3)) == pytest.approx((-5.0, 7.5, 49.0), abs=1e-3)
    found = masks_of(out, ["liver", "right kidney", "left kidney", "spleen"])[name]
    assert [found[0, 0, 1], found[1, 1, 2], found[2, 2, 3], found[3, 3, 4]] == [1, 2, 3, 4]
    assert np.count_nonzero(found) == 4, "other grey values are background"


def test_uw_madison_runs_become_overlapping_organs(tmp_path):
    out = prepared(tmp_path, "uw-madison")
    assert {row["case"]: row["patient"] for row in splits(out)}["case2_day5"] == "case2"
    image = sitk.ReadImage(str(out / "images" / "case2_day1.nii.gz"))
    assert image.GetSpacing() == pytest.approx((1.5, 1.63, 3.0))
    assert np.array_equal(sitk.GetArrayFromImage(image), layouts.grey(3).astype(np.uint16) * 20)
    stomach = masks_of(out, ["stomach"])["case2_day1"]
    assert np.flatnonzero(stomach[1]).tolist() == [1, 2, 3, 10, 11]
    assert not stomach[[0, 2, 3]].any()
    assert np.flatnonzero(masks_of(out, ["large bowel"])["case2_day1"][1]).tolist() == [3]


def test_runs_count_from_one_along_the_rows():
    assert decode_runs("1 2 8 1", (2, 4)).tolist() == [[1, 1, 0, 0], [0, 0, 0, 1]]
    for wrong, message in (("1 2 3", "pairs"), ("8 2", "leaves the picture"), ("0 1", "leaves the picture")):
        with pytest.raises(InputError, match=message):
            decode_runs(wrong, (2, 4))


@pytest.mark.parametrize(
    ("dataset", "name", "number"),
    [
        ("isic2017", "ISIC_0000200", 200),
        ("ph2", "IMD437", 437),
        ("kvasir-seg", "cju3", 3),
        ("cvc-clinicdb", "0103", 103),
    ],
)
def test_pictures_keep_their_pixels_and_masks_are_0_and_255(tmp_path, dataset, name, number):
    out = prepared(tmp_path, dataset)
    mask = np.asarray(Image.open(out / "masks" / f"{name}.png"))
    assert np.array_equal(mask, layouts.lesion(number) * np.uint8(255))
    (image,) = (out / "images").glob(f"{name}.*")
    original = next(path for path in (tmp_path / "download").rglob("*") if path.stem in (name, name.lstrip("0")))
    if image.suffix == ".jpg":
        assert image.read_bytes() == original.read_bytes()
    else:
        assert np.array_equal(np.asarray(Image.open(image)), layouts.colour(number))


def test_clinicdb_is_split_by_sequence(tmp_path):
    frames = {1: 1, 25: 1, 26: 2, 67: 3, 68: 4, 78: 4, 79: 5, 126: 6, 384: 19, 408: 19, 409: 20, 592: 29, 612: 29}
    assert {frame: sequence_of(Path(f"{frame}.tif")) for frame in frames} == frames
    with pytest.raises(InputError, match="1 to 612"):
        sequence_of(Path("613.tif"))
    rows = splits(prepared(tmp_path, "cvc-clinicdb", test_share=0.5, seed=1))
    assert {row["sequence"] for row in rows if row["case"] in ("0001", "0025")} == {"sequence 01"}


def test_the_split_follows_the_seed_and_the_share(tmp_path):
    out = prepared(tmp_path, "kvasir-seg", test_share=0.4, seed=3)
    first = splits(out)
    assert [row["split"] for row in first].count("test") == 2
    assert splits(prepared(tmp_path, "kvasir-seg", test_share=0.4, seed=3)) == first
    others = [splits(prepared(tmp_path, "kvasir-seg", test_share=0.4, seed=seed)) for seed in range(4, 8)]
    assert any(other != first for other in others)
    assert {row["split"] for row in splits(prepared(tmp_path, "kvasir-seg", test_share=0))} == {"train"}


def test_a_share_of_ones_own_replaces_the_published_split(tmp_path):
    assert {row["split"] for row in splits(prepared(tmp_path, "isic2017", test_share=0.5))} == {"train", "test"}


def test_a_stopped_conversion_leaves_no_half_case_and_goes_on(tmp_path):
    source, out = tmp_path / "download", tmp_path / "out"
    layouts.promise12(source)
    broken = source / "training" / "Case02_segmentation.raw"
    whole = broken.read_bytes()
    broken.write_bytes(b"")
    with pytest.raises(InputError, match="Case02"):
        prepare("promise12", source, out)
    assert sorted(path.name for path in (out / "images").iterdir()) == ["Case00.nii.gz", "Case01.nii.gz"]
    assert sorted(path.name for path in (out / "labels").iterdir()) == ["Case00.nii.gz", "Case01.nii.gz"]
    with pytest.raises(InputError, match=r"dataset\.json"):
        read_folder(out)
    with pytest.raises(InputError, match="holds something else"):
        prepare("btcv", _made(tmp_path, "btcv"), out)
    kept = (out / "images" / "Case00.nii.gz").stat().st_mtime_ns
    broken.write_bytes(whole)
    prepare("promise12", source, out)
    assert len(read_folder(out).cases) == 5
    assert (out / "images" / "Case00.nii.gz").stat().st_mtime_ns == kept


def _made(tmp_path: Path, dataset: str) -> Path:
    layouts.LAYOUTS[dataset](tmp_path / dataset)
    return tmp_path / dataset


@pytest.mark.parametrize("dataset", SOURCES)
def test_a_wrong_folder_says_what_was_expected(tmp_path, dataset):
    (tmp_path / "download").mkdir()
    (tmp_path / "download" / "readme.txt").write_text("nothing")
    with pytest.raises(InputError) as caught:
        prepare(dataset, tmp_path / "download", tmp_path / "out")
    assert SOURCES[dataset].layout in str(caught.value)
    assert not (tmp_path / "out").exists()


def _remove(pattern: str):
    def change(source: Path) -> None:
        next(iter(sorted(source.rglob(pattern)))).unlink()

    return change


def _mask_of_another_size(source: Path) -> None:
    layouts.picture(source / "Kvasir-SEG" / "masks" / "cju0.jpg", np.zeros((3, 3), np.uint8))


def _mask_elsewhere(source: Path) -> None:
    mask = layouts.a_volume(layouts.a_mask())
    mask.SetOrigin((0.0, 0.0, 0.0))
    layouts.write(source / "RawData" / "Training" / "label" / "label0001.nii.gz", mask)


def _unknown_value(source: Path) -> None:
    layouts.write(
        source / "RawData" / "Training" / "label" / "label0001.nii.gz", layouts.a_volume(layouts.a_mask(0, 99))
    )


@pytest.mark.parametrize(
    ("dataset", "change", "message"),
    [
        ("promise12", _remove("Case00.mhd"), r"has no 'Case00\.mhd'"),
        ("prostate158", _remove("t2.nii.gz"), r"has no 't2\.nii\.gz'"),
        ("prostatex", _remove("image_list.csv"), "names the T2 series of ProstateX-0001"),
        ("isic2017", _remove("*_segmentation.png"), "has no 'ISIC_.*_segmentation.png'"),
        ("ph2", _remove("*_lesion.bmp"), "has no 'IMD002_lesion.bmp'"),
        ("kvasir-seg", _mask_of_another_size, "expected .*, as its image"),
        ("cvc-clinicdb", _remove("Ground Truth/1.tif"), r"has no '1\.tif'"),
        ("btcv", _remove("img0001.nii.gz"), r"has no 'img0001\.nii\.gz'"),
        ("btcv", _mask_elsewhere, "lies .* mm from its image"),
        ("btcv", _unknown_value, r"has the values \[99\]"),
        ("chaos", _remove("T2SPIR/Ground/*.png"), "4 DICOM slices and .* 3 PNG masks"),
        ("uw-madison", _remove("train.csv"), "0 files train.csv"),
        ("uw-madison", _remove("slice_0002*.png"), "is slice 3; expected slice 2"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path, dataset, change, message):
    source = _made(tmp_path, dataset)
    change(source)
    with pytest.raises(InputError, match=message):
        prepare(dataset, source, tmp_path / "out")


def test_what_cannot_work_is_refused(tmp_path):
    source = _made(tmp_path, "kvasir-seg")
    with pytest.raises(UsageError, match="not known"):
        prepare("kvasir", source, tmp_path / "out")
    with pytest.raises(UsageError, match="out of range"):
        prepare("kvasir-seg", source, tmp_path / "out", test_share=20)
    with pytest.raises(InputError, match="lies in the download"):
        prepare("kvasir-seg", source, source / "out")
    with pytest.raises(InputError, match="is no folder"):
        prepare("kvasir-seg", source / "none", tmp_path / "out")


def test_the_command(tmp_path, capsys):
    source, out = _made(tmp_path, "promise12"), tmp_path / "out"
    assert main(["prepare", "promise12", str(source), str(out), "--seed", "5", "--test-share", "0.4"]) == 0
    assert "2 test, 3 train" in capsys.readouterr().out
    assert main(["prepare", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name}: " in listed and about.terms in listed for name, about in SOURCES.items())
    assert main(["prepare", "promise12"]) == 2


def test_the_documentation_names_every_data_set_with_its_terms():
    text = " ".join(DOCS.read_text(encoding="utf-8").split())
    for name, about in SOURCES.items():
        assert f"`{name}`" in text
        for fact in (about.home, about.terms, about.citation):
            assert fact in text, (name, fact)
