"""Label maps to files, through MONAI's ``SaveImaged``."""

from __future__ import annotations

from typing import Any

from monai.config import NdarrayOrTensor
from monai.data import NibabelWriter


class LabelWriter(NibabelWriter):
    """Writes NIfTI of three dimensions always; MONAI's own cannot write a volume of one slice, as of a picture."""

    def set_data_array(self, data_array: NdarrayOrTensor, *args: Any, **kwargs: Any) -> None:
        """Take labels ``[1, I, J, K]``; how the dimensions are to be arranged is settled."""
        super().set_data_array(data_array[0], channel_dim=None, squeeze_end_dims=False)
