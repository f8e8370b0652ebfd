"""What MONAI's own tools call for a checkpoint: ``configs/inference.json`` names these parts by import.

The flow is that of ``segment``, in MONAI's words::

    preprocessing                          inferer            postprocessing
    LoadImageVolumed, EnsureChannelFirstd  VolumeInferer      LargestComponentd, SaveImaged with LabelWriter
    path -> MetaTensor [C,I,J,K]           -> labels          -> labels [1,I,J,K] -> NIfTI

Reading, preparation, network and postprocessing are those of the rest of the library, so the labels are the same.
"""

from .inferer import VolumeInferer
from .reading import LoadImageVolumed, VolumeReader, images_in
from .restoring import network_of
from .transforms import LargestComponentd
from .writing import LabelWriter

__all__ = [
    "LabelWriter",
    "LargestComponentd",
    "LoadImageVolumed",
    "VolumeInferer",
    "VolumeReader",
    "images_in",
    "network_of",
]
