"""Random changes of training slices, MONAI transforms throughout."""

from __future__ import annotations

from math import radians

from monai import transforms as mt

KEYS = ("image", "label")


def training_transform(settings: dict, size: int) -> mt.Compose:
    """Transform of ``{"image": [C, size, size] float32, "label": [1, size, size]}``.

    Args:
        settings: ``rotation`` (degrees), ``scale`` (smallest and largest magnification), ``shift`` and ``shear``
            (shares of the canvas), ``flip`` (left-right; ``"both"``: top-bottom too), ``border`` (what moves in from
            outside repeats the edge instead of being 0), ``field_of_view`` (smallest share of the canvas kept; what
            lies outside becomes padding, as in a scan with a small field of view), ``bias_field``, ``gamma``,
            ``brightness``, ``colour`` (brightness of each channel by itself), ``noise``, ``blur`` (strengths). What
            is missing is off.
        size: side of the canvas.
    """
    get = settings.get
    border = bool(get("border"))
    steps: list = []
    if flip := get("flip"):
        steps += [mt.RandFlipd(KEYS, prob=0.5, spatial_axis=axis) for axis in ((0, 1) if flip == "both" else (1,))]
    if scale := get("scale"):
        low, high = scale
        steps.append(
            mt.RandZoomd(
                KEYS,
                prob=0.8,
                min_zoom=low,
                max_zoom=high,
                mode=("bilinear", "nearest"),
                padding_mode="edge" if border else "constant",
            )
        )
    steps.append(
        mt.RandAffined(
            KEYS,
            prob=0.9,
            rotate_range=radians(get("rotation", 0)),
            translate_range=[get("shift", 0) * size] * 2,
            shear_range=[(-get("shear", 0), get("shear", 0))] * 2,
            mode=("bilinear", "nearest"),
            padding_mode="border" if border else "zeros",
        )
    )
    if smallest := get("field_of_view"):
        steps.append(
            mt.RandCoarseDropoutd(
                KEYS,
                holes=1,
                spatial_size=int(smallest * size),
                max_spatial_size=size,
                dropout_holes=False,
                fill_value=0,
                prob=0.3,
            )
        )
    return mt.Compose([*steps, *_intensity_steps(settings)])


def _intensity_steps(settings: dict) -> list:
    get, steps = settings.get, []
    if strength := get("bias_field"):
        steps.append(mt.RandBiasFieldd("image", prob=0.3, degree=2, coeff_range=(0.0, strength)))
    if gamma := get("gamma"):
        steps.append(mt.RandAdjustContrastd("image", prob=0.3, gamma=(1 / gamma, gamma), retain_stats=False))
    if brightness := get("brightness"):
        steps.append(mt.RandScaleIntensityd("image", prob=0.5, factors=brightness))
        steps.append(mt.RandShiftIntensityd("image", prob=0.5, offsets=brightness))
    if colour := get("colour"):
        steps.append(mt.RandScaleIntensityd("image", prob=0.5, factors=colour, channel_wise=True))
    if blur := get("blur"):
        steps.append(mt.RandGaussianSmoothd("image", prob=0.2, sigma_x=(0.3, blur), sigma_y=(0.3, blur)))
    if noise := get("noise"):
        steps.append(mt.RandGaussianNoised("image", prob=0.3, std=noise))
    return steps
