"""Tiny folders in the layout of each official download, for the tests of ``prepare``."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

SIZE = (4, 6, 8)  # k, j, i
SPACING = (0.5, 0.75, 3.0)


def a_mask(number: int = 0, value: int = 1) -> np.ndarray:
    """``[4, 6, 8]`` uint8, not symmetric, another for each number."""
    mask = np.zeros(SIZE, np.uint8)
    mask[1:3, 1 : 3 + number % 3, 2:7] = value
    return mask


def a_volume(array: np.ndarray, flip_rows: bool = False) -> sitk.Image:
    """``array`` in an oblique place; ``flip_rows`` stores the same voxels with the rows the other way."""
    angle = np.deg2rad(10)
    rotation = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]],
    )
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetDirection(rotation.ravel().tolist())
    image.SetOrigin((-20.5, 12.25, 33.0))
    return sitk.Flip(image, (False, True, False)) if flip_rows else image


def write(path: Path, image: sitk.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def grey(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 900, SIZE, dtype=np.int16)


def picture(path: Path, array: np.ndarray, **how: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **how)


def lesion(number: int) -> np.ndarray:
    """``[10, 12]`` bool."""
    mask = np.zeros((10, 12), bool)
    mask[2:8, 3 : 6 + number % 5] = True
    return mask


def colour(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (10, 12, 3), dtype=np.uint8)


def table(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def promise12(top: Path) -> None:
    for number in range(5):
        write(top / "training" / f"Case{number:02d}.mhd", a_volume(grey(number)))
        write(top / "training" / f"Case{number:02d}_segmentation.mhd", a_volume(a_mask(number)))
    write(top / "test" / "Case05.mhd", a_volume(grey(5)))


def prostate158(top: Path) -> None:
    zones = a_mask(0, 2)
    zones[1, 1, 2:4] = 1
    label = sitk.Cast(a_volume(zones), sitk.sitkFloat64) * 0.9999999998
    for part, numbers in {"train": (20, 21, 22), "test": (7,)}.items():
        for number in numbers:
            write(top / f"prostate158_{part}" / part / f"{number:03d}" / "t2.nii.gz", a_volume(grey(number)))
            write(top / f"prostate158_{part}" / part / f"{number:03d}" / "t2_anatomy_reader1.nii.gz", label)
    table(top / "prostate158_train" / "train.csv", ("ID", "t2"), [(20, "x"), (21, "x")])
    table(top / "prostate158_train" / "valid.csv", ("ID", "t2"), [("022", "x")])
    table(top / "prostate158_test" / "test.csv", ("ID", "t2"), [("7", "x")])


def btcv(top: Path) -> None:
    for number in (1, 5, 35):
        write(top / "RawData" / "Training" / "img" / f"img{number:04d}.nii.gz", a_volume(grey(number)))
        label = a_volume(a_mask(number, 11) + a_mask(0, 2))
        write(top / "RawData" / "Training" / "label" / f"label{number:04d}.nii.gz", label)


def series(folder: Path, array: np.ndarray, names: Iterable[str], number: int, one_series: bool) -> None:
    """Write slices as DICOM; without ``one_series`` each is a series of its own, as in CHAOS."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k, (values, name) in enumerate(zip(array, names, strict=True)):
        image = sitk.GetImageFromArray(values[None])
        image.SetSpacing(SPACING)
        place = (-5.0, 7.5, 40.0 + SPACING[2] * k)
        image.SetOrigin(place)
        uid = f"1.2.826.0.1.3680043.2.1125.{number}"
        for tag, value in {
            "0008|0018": f"{uid}.9.{k}",
            "0008|0060": "MR",
            "0020|000d": uid,
            "0020|000e": f"{uid}.1" if one_series else f"{uid}.1.{k}",
            "0020|0011": str(number),
            "0020|0032": "\\".join(f"{mm:g}" for mm in place),
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / name))
        writer.Execute(image)


def on_series(array: np.ndarray) -> sitk.Image:
    """``array`` where :func:`series` puts its slices."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin((-5.0, 7.5, 40.0))
    return image


def prostatex(top: Path) -> None:
    """Patient 0 as NIfTI, patients 1 and 2 as DICOM with a second series; masks stored with rows the other way."""
    masks = top / "Files" / "prostate"
    table(masks / "image_list.csv", ("T2",), [(f"ProstateX-000{n}_t2_tse_tra_{4 + n}",) for n in range(3)])
    write(masks / "Images" / "ProstateX-0000_t2_tse_tra_4.nii.gz", a_volume(grey(0)))
    write(masks / "mask_prostate" / "ProstateX-0000.nii.gz", a_volume(a_mask(0), flip_rows=True))
    for n in (1, 2):
        study = top / "PROSTATEx" / f"ProstateX-000{n}" / "07-07-2011-study"
        names = [f"1-{k:02d}.dcm" for k in range(4)]
        series(study / f"{4 + n}.000000-t2tsetra-00702", grey(n), names, 4 + n, one_series=True)
        series(study / "3.000000-t2tsesag-00703", grey(n + 10), names, 3, one_series=True)
        mask = sitk.Flip(on_series(a_mask(n)), (False, True, False))
        write(masks / "mask_prostate" / f"ProstateX-000{n}.nii.gz", mask)


def chaos(top: Path) -> None:
    """File names run from the head down, positions from the feet up, as in many of the patients."""
    organs = np.zeros(SIZE, np.uint8)
    organs[0, 0, 1], organs[1, 1, 2], organs[2, 2, 3], organs[3, 3, 4], organs[3, 0, 0] = 63, 126, 189, 252, 20
    for patient in (1, 13, 20):
        for sequence, folders in {"T2SPIR": [""], "T1DUAL": ["InPhase", "OutPhase"]}.items():
            here = top / "Train_Sets" / "MR" / str(patient) / sequence
            for phase, folder in enumerate(folders):
                names = [f"IMG-0004-{2 * (4 - k) + phase:05d}.dcm" for k in range(4)]
                series(here / "DICOM_anon" / folder, grey(patient + phase), names, patient, one_series=False)
            for k in range(4):
                picture(here / "Ground" / f"IMG-0004-{2 * (4 - k):05d}.png", organs[k])
    series(
        top / "Test_Sets" / "MR" / "2" / "T2SPIR" / "DICOM_anon",
        grey(2),
        ["a.dcm", "b.dcm", "c.dcm", "d.dcm"],
        2,
        False,
    )


def isic2017(top: Path) -> None:
    for part, first in {"Training": 0, "Validation": 100, "Test_v2": 200}.items():
        for number in range(first, first + 2):
            name = f"ISIC_{number:07d}"
            data = top / f"ISIC-2017_{part}_Data" / f"ISIC-2017_{part}_Data"
            picture(data / f"{name}.jpg", colour(number))
            picture(data / f"{name}_superpixels.png", colour(number))
            mask = top / f"ISIC-2017_{part}_Part1_GroundTruth" / f"{name}_segmentation.png"
            picture(mask, lesion(number).astype(np.uint8) * 255)


def isic2018(top: Path) -> None:
    for number in range(5):
        name = f"ISIC_{number:07d}"
        picture(top / "ISIC2018_Task1-2_Training_Input" / f"{name}.jpg", colour(number))
        mask = top / "ISIC2018_Task1_Training_GroundTruth" / f"{name}_segmentation.png"
        picture(mask, lesion(number).astype(np.uint8) * 255)


def ph2(top: Path) -> None:
    for number in (2, 437):
        name = f"IMD{number:03d}"
        folder = top / "PH2Dataset" / "PH2 Dataset images" / name
        picture(folder / f"{name}_Dermoscopic_Image" / f"{name}.bmp", colour(number))
        picture(folder / f"{name}_lesion" / f"{name}_lesion.bmp", lesion(number))  # one bit, as published


def kvasir_seg(top: Path) -> None:
    for number in range(5):
        picture(top / "Kvasir-SEG" / "images" / f"cju{number}.jpg", colour(number))
        mask = np.repeat(lesion(number)[..., None].astype(np.uint8) * 255, 3, axis=2)
        picture(top / "Kvasir-SEG" / "masks" / f"cju{number}.jpg", mask, quality=95)


def cvc_clinicdb(top: Path) -> None:
    for number in (1, 25, 26, 68, 103, 104, 384, 385, 612):
        picture(top / "CVC-ClinicDB" / "Original" / f"{number}.tif", colour(number))
        mask = lesion(number).astype(np.uint8) * 255
        picture(top / "CVC-ClinicDB" / "Ground Truth" / f"{number}.tif", mask)


def uw_madison(top: Path) -> None:
    rows = []
    for case, day in ((2, 1), (2, 5), (7, 0), (9, 3)):
        name = f"case{case}_day{day}"
        for number in range(1, 5):
            array = grey(case + day)[number - 1].astype(np.uint16) * 20
            scans = top / "train" / f"case{case}" / name / "scans"
            picture(scans / f"slice_{number:04d}_8_6_1.50_1.63.png", array)
            runs = {"stomach": "2 3 11 2", "large_bowel": "4 1"} if number == 2 else {}
            for organ in ("large_bowel", "small_bowel", "stomach"):
                rows.append((f"{name}_slice_{number:04d}", organ, runs.get(organ, "")))
    table(top / "train.csv", ("id", "class", "segmentation"), rows)
    picture(
        top / "test" / "case5" / "case5_day1" / "scans" / "slice_0001_8_6_1.50_1.50.png", grey(5)[0].astype(np.uint16)
    )


LAYOUTS = {
    "promise12": promise12,
    "prostatex": prostatex,
    "prostate158": prostate158,
    "isic2017": isic2017,
    "isic2018": isic2018,
    "ph2": ph2,
    "kvasir-seg": kvasir_seg,
    "cvc-clinicdb": cvc_clinicdb,
    "btcv": btcv,
    "chaos": chaos,
    "chaos-t1dual": chaos,
    "uw-madison": uw_madison,
}
