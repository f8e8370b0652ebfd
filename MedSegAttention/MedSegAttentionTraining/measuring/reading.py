"""How long reading takes beside SimpleITK alone, and how much of it the checks that a file is whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
import SimpleITK as sitk

from MedSegAttentionLib.files.dicom import series_in
from MedSegAttentionLib.files.dicom_voxels import check_whole
from MedSegAttentionLib.files.gzipped import gzip
from MedSegAttentionLib.files.reading import read_volume

try:  # the one that reading takes
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

SIDE = 512
FILES = {
    "raw.nii": "NIfTI",
    "gzip.nii.gz": "NIfTI, compressed",
    "raw.nrrd": "NRRD",
    "gzip.nrrd": "NRRD, compressed",
    "raw.mha": "MetaImage",
    "zlib.mha": "MetaImage, compressed",
    "series": "DICOM series",
}


def reading_table(slices: int = 300, side: int = SIDE, rounds: int = 5) -> str:
    """A Markdown table of a made CT in several formats: seconds of processor time, medians of rounds in turn.

    Args:
        slices: of the CT.
        side: pixels of a side of a slice, 16 bits each.
        rounds: how often each file is read.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    lines = [
        f"{slices} slices of {side} x {side} pixels, processor time, median of {rounds} rounds in turn.",
        "",
        "| file | SimpleITK | here | ratio | checks that it is whole | their share |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        image = _a_ct(slices, side)
        for name, title in FILES.items():
            path = Path(folder) / name
            _write(image, path)
            lines.append(f"| {title} | {_row(path, rounds)} |")
    return "\n".join(lines)


def _row(path: Path, rounds: int) -> str:
    calls = {"itk": lambda: _by_itk(path), "here": lambda: read_volume(path)}
    if checks := _checks_of(path):
        calls["checks"] = checks
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(_seconds(path, call))
    seconds = {name: median(values) for name, values in taken.items()}
    cells = [f"{seconds['itk']:.2f} s", f"{seconds['here']:.2f} s", f"{seconds['here'] / seconds['itk']:.2f}"]
    share = [f"{seconds['checks']:.3f} s", f"{seconds['checks'] / seconds['here']:.1%}"] if checks else ["-", "-"]
    return " | ".join([*cells, *share])


def _checks_of(path: Path) -> Callable[[], object] | None:
    """What reading does only to know that a file is whole; None where a library does it together with the reading."""
    if path.is_dir():
        files = series_in(path)[0].files
        return lambda: [check_whole(file) for file in files]
    if path.name.endswith(".nii.gz"):
        content = gzip.decompress(path.read_bytes())
        return lambda: crc32(content)
    if path.suffix == ".nii":
        return lambda: path.stat().st_size
    return None


def _seconds(path: Path, call: Callable[[], object]) -> float:
    if path.is_dir():
        os.utime(next(path.iterdir()))  # what is remembered of the headers of a folder that did not change is not used
    begin = process_time()
    call()
    return process_time() - begin


def _by_itk(path: Path) -> np.ndarray:
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)) if path.is_dir() else str(path)
    return sitk.GetArrayFromImage(sitk.ReadImage(names))


def _a_ct(slices: int, side: int) -> sitk.Image:
    """A body with noise in air with noise."""
    rows, columns = np.mgrid[:side, :side] - side // 2
    body = np.where(rows**2 + columns**2 < (0.35 * side) ** 2, 40, -1000)
    rng, array = np.random.default_rng(0), np.empty((slices, side, side), np.int16)
    for plane in array:
        plane[:] = body + rng.normal(0, 15, body.shape)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.7, 1.0))
    return image


def _write(image: sitk.Image, path: Path) -> None:
    if path.name != "series":
        sitk.WriteImage(image, str(path), useCompression=not path.name.startswith("raw"))
        return
    path.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(image.GetSize()[2]):
        one = image[:, :, number : number + 1]
        tags = {"0008|0060": "CT", "0020|000e": "1.2.3", "0008|0018": f"1.2.3.{number + 1}", "0028|0030": "0.7\\0.7"}
        tags |= {"0020|0032": f"0\\0\\{number}", "0020|0037": "1\\0\\0\\0\\1\\0", "0020|0013": str(number)}
        for tag, value in tags.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(path / f"{number:03}.dcm"))
        writer.Execute(one)
