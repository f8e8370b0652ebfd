"""A picture or volume with the place of its voxels in the patient."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from .dicom_source import DicomSource
from .errors import InputError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
"""Files of these names hold pictures: what they say about spacing is the resolution of a print, not of the patient."""
AXIS_NAMES = "ijk"
"""Index axes of a volume: columns, rows, slices as it is stored."""
COLOURS_BESIDE_ALPHA = {2: 1, 4: 3}
"""Channels of an image with an alpha channel -> channels without it."""
ORTHOGONAL = 1e-4
"""Largest cosine between two grid axes that counts as a right angle."""


def largest_cosine(ijk_to_ras: np.ndarray) -> float:
    """Of two axes of a grid: 0 where all are at right angles, and for a matrix that has no axes."""
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    if not np.isfinite(ijk_to_ras).all() or not spacing.all():
        return 0.0
    axes = ijk_to_ras[:3, :3] / spacing
    return float(np.abs(axes.T @ axes - np.eye(3)).max())


def check_for_nifti(name: str, ijk_to_ras: np.ndarray) -> None:
    """Raise :class:`InputError` for a sheared grid, which readers of NIfTI would straighten without a word."""
    if largest_cosine(ijk_to_ras) > ORTHOGONAL:
        raise InputError(
            f"'{name}' lies on a sheared grid (its axes are not at right angles), which NIfTI readers do not keep; "
            "expected right angles. Write .seg.nrrd alone instead."
        )


@dataclass(frozen=True)
class VolumeImage:
    """Voxels and their geometry.

    Attributes:
        array: ``[K, J, I]`` for one channel or ``[K, J, I, C]``; k is the slowest index, as in
            ``slicer.util.arrayFromVolume``. A picture has K = 1.
        ijk_to_ras: ``[4, 4]`` float64; maps (i, j, k, 1) to RAS in mm.
        name: what the user calls it; used in messages and file names.
        modality: DICOM Modality (``"CT"``, ``"MR"`` ...), or None when unknown.
        has_scale: whether distances are those of the patient; those of a picture file are of a print, or nothing.
        notes: what the reader settled, a sentence each; told with the result.
        doubts: what the file leaves open and may make a result wrong, a sentence each; a run stops unless forced.
        source: the DICOM instances it was read from, or None.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray
    name: str = "volume"
    modality: str | None = None
    has_scale: bool = True
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    source: DicomSource | None = None

    def __post_init__(self) -> None:
        if self.array.ndim not in (3, 4) or 0 in self.array.shape:
            raise InputError(
                f"'{self.name}' has an array of shape {list(self.array.shape)}; expected a non-empty volume [K, J, I] "
                "or [K, J, I, channels]. Choose one 3-D volume or one picture (one frame of a 4-D series)."
            )
        if self.array.dtype.kind not in "buif":
            raise InputError(
                f"'{self.name}' has voxels of type {self.array.dtype}; expected integers or real numbers. Take its "
                "magnitude or one of its parts first."
            )
        matrix = self.ijk_to_ras
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-12:
            raise InputError(
                f"'{self.name}' has no usable geometry: its IJK-to-RAS matrix must be 4 x 4, of finite numbers and "
                f"invertible, got {np.asarray(matrix).tolist()}. Load the image again, or set its spacing and "
                "directions."
            )

    @property
    def channels(self) -> int:
        """Number of components of a voxel."""
        return 1 if self.array.ndim == 3 else self.array.shape[3]

    @property
    def size(self) -> tuple[int, int, int]:
        """Number of voxels along (i, j, k)."""
        k, j, i = self.array.shape[:3]
        return i, j, k

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along (i, j, k), mm."""
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def anatomical_axes(self) -> tuple[int, int, int]:
        """For index axes i, j, k the RAS axis (0, 1, 2) each runs along: every one once, closest in total."""
        along = self.ijk_to_ras[:3, :3] / np.asarray(self.spacing)
        return max(permutations(range(3)), key=lambda order: sum(abs(along[order[n], n]) for n in range(3)))

    @property
    def smallest(self) -> float:
        """The smallest value of a voxel that is not NaN."""
        return float(np.fmin.reduce(self.array, axis=None))

    @property
    def is_constant(self) -> bool:
        """Whether all voxels have one value."""
        first = self.array[(0,) * self.array.ndim]
        return bool((self.array[0] == first).all() and (self.array == first).all())  # mostly the first slice tells

    def without_alpha(self) -> VolumeImage:
        """The same image without an alpha channel; itself where it has none."""
        kept = COLOURS_BESIDE_ALPHA.get(self.channels)
        if kept is None:
            return self
        return replace(self, array=self.array[..., 0] if kept == 1 else self.array[..., :kept])

    def without_scale(self) -> VolumeImage:
        """The same image with pixels of 1 mm, which stand for nothing."""
        matrix = self.ijk_to_ras.copy()
        matrix[:3, :3] /= self.spacing
        return replace(self, ijk_to_ras=matrix, has_scale=False)

    def sha256(self) -> str:
        """Hash of voxels, their type and their place: equal for the same image whatever its file or name."""
        digest = hashlib.sha256(f"{self.array.dtype.str} {self.array.shape}".encode())
        digest.update(np.ascontiguousarray(self.ijk_to_ras, np.float64))
        for plane in self.array:
            digest.update(np.ascontiguousarray(plane))
        return digest.hexdigest()

    def check_values(self) -> None:
        """Raise :class:`InputError` when a voxel is NaN or infinite."""
        if np.issubdtype(self.array.dtype, np.floating) and not np.isfinite(self.array).all():
            bad = int(np.count_nonzero(~np.isfinite(self.array)))
            raise InputError(
                f"'{self.name}' has {bad} voxels that are NaN or infinite; expected finite numbers. Replace them first "
                "(for instance with the background value) and run again."
            )
