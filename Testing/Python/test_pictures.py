"""Pictures whose headers and data do not fit together, and what is no picture whatever its name."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.files.reading import read_volume

PICTURE = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
ROWS = b"".join(b"\0" + row.tobytes() for row in PICTURE)


def chunk(name: bytes, data: bytes, wrong: int = 0) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + (zlib.crc32(name + data) ^ wrong).to_bytes(4, "big")


def a_png(path: Path, rows: bytes = ROWS, wrong: int = 0) -> Path:
    header = struct.pack(">IIBBBBB", 80, 60, 8, 2, 0, 0, 0)
    data = zlib.compress(rows)
    halves = chunk(b"IDAT", data[:999]) + chunk(b"IDAT", data[999:], wrong)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + halves + chunk(b"IEND", b""))
    return path


def test_a_png_of_several_parts_is_read(tmp_path):
    np.testing.assert_array_equal(read_volume(a_png(tmp_path / "a.png")).array[0], PICTURE)
    np.testing.assert_array_equal(read_volume(a_png(tmp_path / "b.png", ROWS + b"\0\0\0")).array[0], PICTURE)


def test_a_png_whose_data_have_another_checksum_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a.png' is cut short or damaged \(the checksum of its data is another"):
        read_volume(a_png(tmp_path / "a.png", wrong=1))


def test_a_png_with_more_rows_than_its_header_says_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a.png' is cut short or damaged \(it has more rows than its header says"):
        read_volume(a_png(tmp_path / "a.png", ROWS + ROWS[: 3 * 80 + 1]))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_a_bmp_with_more_rows_than_its_header_says_is_refused(mode, tmp_path):
    path = tmp_path / "a.bmp"
    Image.fromarray(PICTURE).convert(mode).save(path)
    content = path.read_bytes()
    path.write_bytes(content + b"\0\0")  # as some programs write it
    assert read_volume(path).array.shape[1:3] == (60, 80)
    path.write_bytes(content[:22] + (59).to_bytes(4, "little") + content[26:])
    with pytest.raises(InputError, match=r"a.bmp' is cut short or damaged \(it has more rows than its header says"):
        read_volume(path)


@pytest.mark.parametrize("kind", ["ICO", "EPS", "TGA", "PCX", "ICNS", "PDF"])
def test_what_is_another_kind_of_file_is_no_picture_whatever_its_name(kind, tmp_path):
    """An icon has several sizes, of which Pillow takes one; an EPS is a program."""
    content = io.BytesIO()
    Image.fromarray(PICTURE).save(content, format=kind)
    (tmp_path / "a.png").write_bytes(content.getvalue())
    with pytest.raises(InputError, match=r"a.png' could not be read as an image \(it does not begin like a picture"):
        read_volume(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM"])
def test_a_picture_of_another_kind_than_its_name_says_is_read(kind, tmp_path):
    grey = np.repeat(PICTURE[..., :1], 3, 2)
    with io.BytesIO() as content:
        Image.fromarray(grey).save(content, format=kind, **({"lossless": True} if kind == "WEBP" else {}))
        (tmp_path / "a.jpg").write_bytes(content.getvalue())
    array = read_volume(tmp_path / "a.jpg").array[0]
    np.testing.assert_array_equal(array if array.ndim == 3 else np.stack([array] * 3, -1), grey)
