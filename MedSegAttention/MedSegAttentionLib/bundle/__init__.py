"""What MONAI's own tools call for a checkpoint: ``configs/inference.json`` names these parts by import.

The flow is that of ``segment``, in MONAI's words::

    ReadVolumed -> (MetaTensor [C,I,J,K]) -> VolumeInferer -> (labels [1,I,J,K]) -> LargestComponentd -> SaveImaged
    files           preprocessing                           inferer                         postprocessing       MONAI's

Reading, preparation, network and postprocessing are those of the rest of the library, so the labels are the same.
"""

from .inferer import VolumeInferer
from .reading import ReadVolumed, VolumeReader, images_in
from .restoring import network_of
from .transforms import LargestComponentd
from .writing import LabelWriter

__all__ = [
    "LabelWriter",
    "LargestComponentd",
    "ReadVolumed",
    "VolumeInferer",
    "VolumeReader",
    "images_in",
    "network_of",
]
