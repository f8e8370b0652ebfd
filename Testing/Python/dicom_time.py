"""How long DICOM in and out takes, and how large it is: ``python Testing/Python/dicom_time.py [ROUNDS]``.

Writes a made CT of 300 slices as a series and eight organs in it as results, to a temporary folder; prints seconds by
the clock, and what dcmqi reads back. Where Orthanc is installed, also how long it takes to and from an archive.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import SimpleITK as sitk

from dicom_studies import a_study_series
from MedSegAttentionLib.archive.contents import Query
from MedSegAttentionLib.archive.dimse import DimseArchive
from MedSegAttentionLib.archive.fetching import fetch
from MedSegAttentionLib.archive.sending import dicom_files, send
from MedSegAttentionLib.archive.web import WebArchive
from MedSegAttentionLib.checkpoints.card_file import read_card
from MedSegAttentionLib.checkpoints.catalogue import SHIPPED
from MedSegAttentionLib.data.result import AttentionVolume, VolumeResult
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.dicom.objects import check_for_dicom, write_objects
from MedSegAttentionLib.files.reading import read_volume
from MedSegAttentionLib.files.study import find_series
from orthanc import PROGRAM, Orthanc

SHAPE = (300, 512, 512)
TOKENS = 16
IJK_TO_RAS = np.diag([-0.7, -0.7, 1.0, 1.0])


def a_result(volume: VolumeImage) -> VolumeResult:
    """An ellipsoid for each organ of the card for CT, and its maps on their own grid."""
    card = read_card(SHIPPED / "abdomen-ct-klo-net")
    labels = np.zeros(SHAPE, np.uint8)
    k, j, i = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    for label in card.labels:
        at, radius = 40 + 30 * label.value, 12 + 4 * label.value
        labels[((k - at) / 2) ** 2 + (j - at - 80) ** 2 + (i - 256) ** 2 < radius**2] = label.value
    coarse = volume.ijk_to_ras @ np.diag([SHAPE[2] / TOKENS, SHAPE[1] / TOKENS, 1, 1])
    generator = np.random.default_rng(0)
    maps = {
        item.name: AttentionVolume(item, generator.random((SHAPE[0], TOKENS, TOKENS), np.float32), coarse)
        for item in card.attention
    }
    provenance = {
        "version": "0.1.0",
        "created": "2026-01-01T00:00:00+00:00",
        "task": card.task,
        "checkpoint": card.id,
        "checkpoint_version": card.version,
        "weights_sha256": card.weights_sha256,
        "settings": {"axis": "auto", "attention_grid": "native"},
        "has_scale": True,
        "display_window": [0, 1],
    }
    return VolumeResult(volume.name, labels, volume.ijk_to_ras, card.labels, maps, provenance)


def seconds(what: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        begin = perf_counter()
        what()
        taken.append(perf_counter() - begin)
    return median(taken)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def to_and_from(series: Path, folder: Path) -> None:
    """The series to an Orthanc on this computer and back."""
    (folder / "orthanc").mkdir()
    server = Orthanc(folder / "orthanc").start()
    try:
        for archive in (DimseArchive("127.0.0.1", server.port, "ORTHANC"), WebArchive(server.web)):
            name, files = type(archive).__name__, dicom_files([series])
            begin = perf_counter()
            send(archive, files, again=True)
            sent = perf_counter() - begin
            listed = archive.find(Query(study="1.2.826.0.1.99"))
            begin = perf_counter()
            fetch(archive, listed, folder / name)
            say(f"{name}: {len(files)} instances sent in {sent:.1f} s, fetched in {perf_counter() - begin:.1f} s")
    finally:
        server.stop()


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        noise = np.random.default_rng(0).normal(0, 15, SHAPE).astype(np.int16)
        a_study_series(folder / "series", noise, IJK_TO_RAS)
        say(f"the series listed (inspect): {seconds(lambda: find_series(folder / 'series'), rounds):.2f} s")
        say(f"read: {seconds(lambda: read_volume(folder / 'series'), rounds):.2f} s")
        volume = read_volume(folder / "series")
        say(f"checked before the run: {seconds(lambda: check_for_dicom(volume), rounds):.2f} s")
        result = a_result(volume)
        for kind in ("binary", "labelmap"):
            stem = folder / kind
            taken = seconds(lambda stem=stem, kind=kind: write_objects(volume, result, stem, kind), rounds)
            sizes = {path.name.split(".", 1)[1]: path.stat().st_size / 1e6 for path in sorted(folder.glob(f"{kind}.*"))}
            say(
                f"{kind}: all written in {taken:.2f} s; " + ", ".join(f"{n} {size:.2f} MB" for n, size in sizes.items())
            )
            words = ["segimage2itkimage", "--inputDICOM", f"{stem}.seg.dcm", "--outputDirectory", name, "-t", "nrrd"]
            words += ["-p", kind, "--mergeSegments"]
            begin = perf_counter()
            subprocess.run([Path(sys.executable).parent / words[0], *words[1:]], check=True, capture_output=True)
            taken, found = perf_counter() - begin, sitk.ReadImage(str(folder / f"{kind}-1.nrrd"))
            values = np.bincount(sitk.GetArrayFromImage(found).ravel(), minlength=9)[1:9]
            same = (values == np.bincount(result.labels.ravel(), minlength=9)[1:9]).all()
            say(f"{kind}: read by dcmqi in {taken:.2f} s, {'the same' if same else 'OTHER'} voxels of each organ")
        if PROGRAM:
            to_and_from(folder / "series", folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
