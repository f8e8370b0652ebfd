"""Images for MONAI's pipelines, read as ``segment`` reads them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, PathLike
from monai.data import ImageReader
from monai.transforms import LoadImaged
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from ..data.errors import InputError
from ..data.volume import VolumeImage
from ..files.cases import sources_in
from ..files.names import stem_of
from ..files.reading import read_volume

ABOUT = "medsegattention"
"""Key of the metadata with what a tensor cannot hold, as JSON: a string goes through MONAI's collation unharmed."""
KEPT = ("name", "modality", "has_scale", "notes", "doubts")


def images_in(folder: str | Path, key: str = "image") -> list[dict[str, str]]:
    """The images of a folder, files and DICOM series, as the ``data`` of a MONAI dataset.

    Raises:
        InputError: no folder, no image in it, or two whose results would have one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"dataset_dir '{folder}' is no folder; expected one with images (--dataset_dir FOLDER).")
    paths = [source.path for source in sources_in(folder)]
    if not paths:
        raise InputError(f"dataset_dir '{folder}' holds no image; expected NRRD, NIfTI, MHA, DICOM or picture files.")
    if twice := [stem for stem, count in Counter(map(stem_of, paths)).items() if count > 1]:
        raise InputError(f"'{folder}' holds {len(twice)} name(s) twice, e.g. '{twice[0]}'; rename or move one of them.")
    return [{key: str(path)} for path in paths]


class VolumeReader(ImageReader):
    """Reads what :func:`~..files.reading.read_volume` reads, for :class:`monai.transforms.LoadImage`."""

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Whether it is one path; its content says the rest."""
        return len(ensure_tuple(filename)) == 1

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> VolumeImage:
        """Read one file, or one DICOM series from its folder; raises ``InputError``."""
        paths = ensure_tuple(data)
        if len(paths) != 1:
            raise InputError(
                f"{len(paths)} paths were given for one image; expected a file, or a folder of one series."
            )
        return read_volume(paths[0])

    def get_data(self, img: VolumeImage) -> tuple[np.ndarray, dict[str, Any]]:
        """Voxels ``[I, J, K]`` or ``[I, J, K, C]`` and MONAI's metadata, in RAS."""
        array = img.array.transpose(2, 1, 0, *range(3, img.array.ndim))
        about = {name: getattr(img, name) for name in KEPT} | {"dtype": array.dtype.newbyteorder("=").str}
        meta = {
            MetaKeys.AFFINE: img.ijk_to_ras.copy(),
            MetaKeys.ORIGINAL_AFFINE: img.ijk_to_ras.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.asarray(img.size),
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan") if img.channels == 1 and array.ndim == 3 else -1,
            ABOUT: json.dumps(about),
        }
        return array, meta


class LoadImageVolumed(LoadImaged):
    """MONAI's :class:`~monai.transforms.LoadImaged` with :class:`VolumeReader`.

    It gives a MetaTensor ``[I, J, K]``, of colours ``[I, J, K, C]``, for MONAI's ``EnsureChannelFirstd``. Voxels keep
    their type, as far as PyTorch has it. MONAI Deploy, which has its images in memory, leaves out every transform with
    LoadImage in its name.

    Args:
        keys: of the paths in the data.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys, reader=VolumeReader(), dtype=None, image_only=True)

    def __call__(
        self, data: Mapping[Hashable, Any], reader: ImageReader | None = None
    ) -> dict[Hashable, torch.Tensor | Any]:
        """Read; what :func:`~..files.reading.read_volume` says of an image that it refuses is passed on."""
        # MONAI hides the error of a reader that was not given here behind one about readers to install.
        return super().__call__(data, reader or VolumeReader())


def volume_of(image: torch.Tensor, number: int = 0) -> VolumeImage:
    """The image that a tensor was made of.

    Args:
        image: ``[C, I, J, K]``; a MetaTensor of :class:`LoadImageVolumed`, or of any other reader (then the modality is
            unknown); also a plain tensor, whose voxels then measure 1 mm.
        number: its place in the batch that the metadata are of.
    """
    meta = getattr(image, "meta", {})
    values = image.detach().cpu().numpy()
    array = values.transpose(3, 2, 1, 0)
    array = array[..., 0] if array.shape[-1] == 1 else array
    affine = np.asarray(meta.get(MetaKeys.AFFINE, np.eye(4)), np.float64).reshape(-1, 4, 4)[number]
    told = meta.get(ABOUT, "{}")
    about = json.loads(told if isinstance(told, str) else told[number])
    kept = np.dtype(about.pop("dtype", array.dtype.str))
    about |= {name: tuple(about[name]) for name in ("notes", "doubts") if name in about}
    return VolumeImage(np.ascontiguousarray(array, kept), affine, **about)
