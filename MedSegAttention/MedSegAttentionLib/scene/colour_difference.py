"""How different two colours look, also to the colour blind: CIEDE2000 and simulated vision."""

from __future__ import annotations

import numpy as np

VISIONS: dict[str, np.ndarray] = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
"""What linear RGB becomes: Machado, Oliveira and Fernandes (IEEE TVCG 15, 2009), severity 1."""
XYZ_FROM_RGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""sRGB, IEC 61966-2-1, with white D65."""


def lab_of(colours: np.ndarray, vision: str = "usual") -> np.ndarray:
    """CIELAB of sRGB colours as a vision sees them.

    Args:
        colours: ``[..., 3]``, 0 to 255.
        vision: a key of :data:`VISIONS`.

    Returns:
        ``[..., 3]``: L from 0 to 100, a, b.
    """
    srgb = np.asarray(colours, dtype=float) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ VISIONS[vision].T, 0, 1)
    xyz = seen @ XYZ_FROM_RGB.T / XYZ_FROM_RGB.sum(1)
    x, y, z = np.moveaxis(np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def ciede2000(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Colour difference of CIELAB colours; about 1 can just be seen, 20 is told apart at a glance.

    CIE 142-2001, as written by Sharma, Wu and Dalal (Color Res. Appl. 30, 2005).

    Args:
        first: ``[..., 3]``.
        second: ``[..., 3]``, broadcast.

    Returns:
        ``[...]``, 0 or more.
    """
    l1, a1, b1 = np.moveaxis(np.asarray(first, dtype=float), -1, 0)
    l2, a2, b2 = np.moveaxis(np.asarray(second, dtype=float), -1, 0)
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    c1, c2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1, h2 = np.arctan2(b1, stretch * a1) % (2 * np.pi), np.arctan2(b2, stretch * a2) % (2 * np.pi)
    coloured = c1 * c2 > 0
    turn = np.where(coloured, (h2 - h1 + np.pi) % (2 * np.pi) - np.pi, 0)
    mean_h = np.where(coloured, (h1 + turn / 2) % (2 * np.pi), h1 + h2)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * np.cos(mean_h - np.deg2rad(30))
        + 0.24 * np.cos(2 * mean_h)
        + 0.32 * np.cos(3 * mean_h + np.deg2rad(6))
        - 0.20 * np.cos(4 * mean_h - np.deg2rad(63))
    )
    light = (l2 - l1) / (1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2))
    purity = (c2 - c1) / (1 + 0.045 * mean_c)
    hue = 2 * np.sqrt(c1 * c2) * np.sin(turn / 2) / (1 + 0.015 * mean_c * t)
    around = np.deg2rad(30) * np.exp(-(((np.rad2deg(mean_h) - 275) / 25) ** 2))
    rotation = -2 * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7)) * np.sin(2 * around)
    return np.sqrt(light**2 + purity**2 + hue**2 + rotation * purity * hue)


def differences(colours: np.ndarray) -> np.ndarray:
    """``[n, n]``: how different ``[n, 3]`` colours look to those who tell them apart the least."""
    seen = [lab_of(colours, vision) for vision in VISIONS]
    return np.min([ciede2000(lab[:, None], lab[None]) for lab in seen], axis=0)
