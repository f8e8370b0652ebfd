"""Sample images for the tutorial: Slicer's own test data, listed once more under this module's name.

Nothing is downloaded before a user clicks one of them in the Sample Data module, which checks the SHA-256.
"""

from __future__ import annotations

import importlib

CATEGORY = "MedSegAttention"
HOST = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
SAMPLES = (
    (
        "Prostate MR",
        "MRProstate",
        "Case10-MR.nrrd",
        "4843cdc9ea5d7bcce61650d1492ce01035727c892019339dca726380496896aa",
    ),
    (
        "Abdominal CT",
        "Panoramix-cropped",
        "Panoramix-cropped.nrrd",
        "146af87511520c500a3706b7b2bfb545f40d5d04dd180be3a7a2c6940e447433",
    ),
)
"""Title, node name, file name, SHA-256."""


def register_samples() -> None:
    """List the samples in Slicer's Sample Data module; does nothing in a Slicer without that module."""
    try:
        sample_data = importlib.import_module("SampleData")
    except ImportError:  # Slicer can be built without it
        return
    for title, node_name, file_name, checksum in SAMPLES:
        sample_data.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=title,
            uris=HOST + checksum,
            fileNames=file_name,
            nodeNames=node_name,
            checksums=f"SHA256:{checksum}",
        )
