"""What has a name and is no file that can be read: it is told, nothing waits for it, and the rest goes on."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from conftest import geometry
from dicom_studies import a_study_series
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.files.cases import sources_in
from MedSegAttentionLib.files.reading import read_volume

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
VOLUME = np.random.default_rng(0).integers(-1000, 900, (4, 20, 24)).astype(np.int16)


@needs_pipes
@pytest.mark.parametrize("name", ["a", "a.nrrd", "a.mha", "a.nii", "a.nii.gz", "a.png", "a.dcm", "a.zip", "a.csv"])
def test_a_pipe_is_refused_and_not_waited_for(name, tmp_path, capsys):
    os.mkfifo(tmp_path / name)
    words = ["segment", str(tmp_path / name), "--task", "skin", "--output", str(tmp_path / "out")]
    assert main(words) == 1
    assert f"{name}' is no file but a pipe, a socket or a device; expected" in capsys.readouterr().err
    assert main([*words, "--anonymous"]) == 1
    assert "' is no file but a pipe, a socket or a device; expected" in capsys.readouterr().err


@needs_pipes
def test_sockets_and_devices_are_refused(tmp_path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "a.png"))
        with pytest.raises(InputError, match="is no file but a pipe, a socket or a device"):
            read_volume(tmp_path / "a.png")
    (tmp_path / "endless.nii").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is no file but a pipe, a socket or a device"):
        read_volume(tmp_path / "endless.nii")


def test_links_that_lead_nowhere_or_in_a_circle_are_told(tmp_path, capsys):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    for name in ("gone.png", "a.png"):
        assert main(["segment", str(tmp_path / name), "--task", "skin", "--output", str(tmp_path / "out")]) == 1
        assert f"{name}' is a link that leads nowhere; expected an image file" in capsys.readouterr().err


@needs_pipes
def test_a_folder_with_such_things_gives_the_images_that_it_has(tmp_path):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "good.png")
    a_study_series(tmp_path / "series", VOLUME, geometry("plain"))
    for name in ("pipe", "pipe.png", "pipe.dcm", "DICOMDIR", "series/pipe.dcm"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "itself").symlink_to(tmp_path)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "a folder.png").mkdir()
    assert [source.stem for source in sources_in(tmp_path)] == ["good", "series"]
    np.testing.assert_array_equal(read_volume(tmp_path / "series").array, VOLUME)


def forbid(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """As if ``path`` might not be read, which who runs the tests may be allowed whatever its mode."""

    def denied(real):
        def checked(place, *rest, **options):
            if Path(os.fspath(place)) == path:
                raise PermissionError(13, "Permission denied", str(place))
            return real(place, *rest, **options)

        return checked

    monkeypatch.setattr(os, "scandir", denied(os.scandir))
    monkeypatch.setattr("builtins.open", denied(open))
    monkeypatch.setattr("io.open", denied(open))


@pytest.mark.parametrize("name", ["a.png", "a.nrrd", "a.nii", "a.mha", "a.mhd", "a.dcm"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(name, tmp_path, monkeypatch):
    path = tmp_path / name
    if name == "a.png":
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(path)
    elif name == "a.dcm":
        a_study_series(tmp_path, VOLUME[:1], geometry("plain"))[0].rename(path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(VOLUME), str(path))
    forbid(monkeypatch, path.with_suffix(".raw") if name == "a.mhd" else path)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\); expected a file that opens"):
        read_volume(path)


def test_a_slice_that_may_not_be_read_is_not_left_out(tmp_path, monkeypatch):
    files = a_study_series(tmp_path / "series", VOLUME, geometry("plain"))
    forbid(monkeypatch, files[2])
    with pytest.raises(InputError, match=rf"{files[2].name}' cannot be read \(Permission denied\)"):
        read_volume(tmp_path / "series")


def test_a_folder_that_may_not_be_looked_into_is_told(tmp_path, monkeypatch, caplog):
    a_study_series(tmp_path / "a", VOLUME, geometry("plain"))
    a_study_series(tmp_path / "b", VOLUME, geometry("plain"), uid="1.2.3.4")
    forbid(monkeypatch, tmp_path / "b")
    assert [source.stem for source in sources_in(tmp_path)] == ["a"]
    assert f"folder '{tmp_path / 'b'}' cannot be looked into (Permission denied): what it holds is left" in caplog.text
