"""How long reading takes beside SimpleITK alone: ``python Testing/Python/reading_time.py [ROUNDS]``.

Writes a made CT of 300 slices in several formats to a temporary folder; prints seconds of processor time.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
import SimpleITK as sitk

from MedSegAttentionLib.files.reading import read_volume

SHAPE = (300, 512, 512)


def a_ct() -> sitk.Image:
    """A body with noise in air with noise."""
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]]
    body = np.where((rows - 256) ** 2 + (columns - 256) ** 2 < 180**2, 40, -1000)
    noise = np.random.default_rng(0).normal(0, 15, SHAPE)
    image = sitk.GetImageFromArray((body + noise).astype(np.int16))
    image.SetSpacing((0.7, 0.7, 1.0))
    return image


def write_series(image: sitk.Image, folder: Path) -> None:
    """One DICOM file a slice."""
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(SHAPE[0]):
        one = image[:, :, number : number + 1]
        tags = {"0008|0060": "CT", "0020|000e": "1.2.3", "0008|0018": f"1.2.3.{number + 1}", "0028|0030": "0.7\\0.7"}
        tags |= {"0020|0032": f"0\\0\\{number}", "0020|0037": "1\\0\\0\\0\\1\\0", "0020|0013": str(number)}
        for tag, value in tags.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{number:03}.dcm"))
        writer.Execute(one)


def by_itk(path: Path) -> np.ndarray:
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)) if path.is_dir() else str(path)
    return sitk.GetArrayFromImage(sitk.ReadImage(names))


def seconds(read: Callable[[], object]) -> float:
    begin = process_time()
    read()
    return process_time() - begin


def main(rounds: int) -> None:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        image, paths = a_ct(), []
        for name in ("raw.nii", "gzip.nii.gz", "raw.nrrd", "gzip.nrrd", "raw.mha", "zlib.mha"):
            paths.append(Path(folder) / name)
            sitk.WriteImage(image, str(paths[-1]), useCompression=not name.startswith("raw"))
        paths.append(Path(folder) / "series")
        write_series(image, paths[-1])
        for path in paths:
            pairs = [(seconds(lambda p=path: by_itk(p)), seconds(lambda p=path: read_volume(p))) for _ in range(rounds)]
            itk, ours = (median(column) for column in zip(*pairs, strict=True))
            sys.stdout.write(f"{path.name}: SimpleITK {itk:.2f} s, read_volume {ours:.2f} s, ratio {ours / itk:.2f}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
