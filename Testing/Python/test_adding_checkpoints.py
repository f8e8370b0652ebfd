"""Adding checkpoints of one's own: what is taken, what is refused and why, and that nothing half done remains."""

from __future__ import annotations

import functools
import hashlib
import http.server
import pickle
import shutil
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.checkpoints import adding, catalogue, downloading
from MedSegAttentionLib.checkpoints.adding import add_checkpoint, remove_checkpoint
from MedSegAttentionLib.checkpoints.catalogue import choose_checkpoint, find_checkpoint, list_checkpoints
from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.data.errors import Cancelled, CheckpointError
from MedSegAttentionLib.data.volume import VolumeImage
from small_checkpoint import read_card_values, write_card, write_checkpoint

ID = "prostate-small-net"


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch) -> Path:
    """The user's folder, not made yet."""
    monkeypatch.setenv(catalogue.USER_FOLDER_VARIABLE, str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("written") / ID, id=ID)
    (folder / "LICENSE").write_text("for tests")
    (folder / "docs").mkdir()
    (folder / "docs" / "README.md").write_text("for tests")
    (folder / "configs" / "inference.json").write_text('{"run": ["$print(1)"]}')
    return folder


@pytest.fixture
def a_checkpoint(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "source" / ID))


def zipped(folder: Path, inside: str = "", extra: dict[str | zipfile.ZipInfo, bytes] | None = None) -> Path:
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as writing:
        for path in sorted(folder.rglob("*")):
            writing.write(path, inside + path.relative_to(folder).as_posix())
        for name, content in (extra or {}).items():
            writing.writestr(name, content)
    return archive


def refused(source: str | Path, own: Path, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        add_checkpoint(source)
    for word in words:
        assert word in str(caught.value)
    assert ".adding-" not in str(caught.value)  # a folder that the user never saw
    assert not own.exists() or list(own.iterdir()) == []


def test_a_folder_is_added_and_found_by_id(a_checkpoint, own):
    assert add_checkpoint(a_checkpoint).id == ID
    assert find_checkpoint(ID) == own / ID
    assert ID in [card.id for card in list_checkpoints()]
    assert load_checkpoint(own / ID).card.weights_sha256 == read_card_values(a_checkpoint)["weights_sha256"]
    files = {path.relative_to(own / ID).as_posix() for path in (own / ID).rglob("*") if path.is_file()}
    assert files == {"configs/metadata.json", "models/model.safetensors", "docs/README.md", "LICENSE"}
    assert [path.name for path in own.iterdir()] == [ID]


@pytest.mark.parametrize("inside", ["", "prostate-small-net/", "a/b/"])
def test_a_zip_is_added_wherever_in_it_the_checkpoint_lies(a_checkpoint, own, inside):
    litter = {"__MACOSX/._x": b"", f"{inside}.DS_Store": b""}
    assert add_checkpoint(zipped(a_checkpoint, inside, litter)).id == ID
    assert (own / ID / "LICENSE").read_text() == "for tests"


@pytest.mark.parametrize("name", ["..\\evil", "C:\\evil", "\\evil"])
def test_a_backslash_leads_nowhere_else(a_checkpoint, own, name):
    entry = zipfile.ZipInfo("x")
    entry.filename = name
    refused(zipped(a_checkpoint, extra={entry: b""}), own, "another place")


@pytest.mark.parametrize(("also_in_docs", "kept"), [(True, "for tests"), (False, "of the repository")])
def test_a_readme_of_a_repository_is_no_hindrance(also_in_docs, kept, a_checkpoint, own):
    for name in ("README.md", ".gitattributes"):
        (a_checkpoint / name).write_text("of the repository")
    if not also_in_docs:
        (a_checkpoint / "docs" / "README.md").unlink()
    add_checkpoint(a_checkpoint)
    assert (own / ID / "docs" / "README.md").read_text() == kept
    assert not (own / ID / "README.md").exists()


def test_a_task_keeps_the_checkpoint_that_ships(a_checkpoint):
    add_checkpoint(a_checkpoint)
    volume = VolumeImage(np.zeros((1, 8, 8), np.float32), np.eye(4))
    assert choose_checkpoint("prostate", volume).parent == catalogue.SHIPPED
    assert choose_checkpoint("prostate", volume, ID).name == ID


def test_one_that_is_there_already_is_not_replaced(a_checkpoint, own):
    add_checkpoint(a_checkpoint)
    with pytest.raises(CheckpointError, match=r"already in.*remove it first"):
        add_checkpoint(a_checkpoint)
    assert [path.name for path in own.iterdir()] == [ID]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "../evil"}, ["../evil", "TASK-NETWORK"]),
        ({"id": "Prostate-Net"}, ["small letters"]),
        ({"id": "brain-net", "task": "spine"}, ["brain-net", "'spine'", "the task that its card names"]),
        ({"id": "Brain-net", "task": "Brain"}, ["Brain", "small letters"]),
        ({"id": "prostate-klo-net"}, ["ships with the extension", "another ID"]),
        ({"weights_sha256": "0" * 64}, [f"{ID}/models/model.safetensors", "damaged or altered"]),
        ({"labels": []}, ["not a valid checkpoint card", "labels"]),
        ({"limits": "none"}, ["limits", "expected list"]),
        ({"training_data": ["x"]}, ["training_data"]),
        ({"title": {"$": "x"}}, ["title", "expected str"]),
    ],
    ids=str,
)
def test_a_card_against_the_rules_is_refused(a_checkpoint, own, changes, words):
    write_card(a_checkpoint, read_card_values(a_checkpoint) | changes)
    refused(a_checkpoint, own, *words)


def test_a_pickle_is_refused_even_with_the_right_hash(a_checkpoint, own):
    content = pickle.dumps({"weights": [1] * 100})
    (a_checkpoint / "models" / "model.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    write_card(a_checkpoint, read_card_values(a_checkpoint) | {"weights_sha256": digest})
    refused(a_checkpoint, own, "not a safetensors file", "can run code")


@pytest.mark.parametrize("name", ["models/model.pt", "setup.py", "models/__init__.py", "docs/huge.bin"])
def test_a_file_that_no_checkpoint_has_is_refused(a_checkpoint, own, name):
    (a_checkpoint / name).write_bytes(b"x")
    refused(a_checkpoint, own, name, "no part of a checkpoint")
    refused(zipped(a_checkpoint), own, name, "no part of a checkpoint")


def test_a_link_is_refused(a_checkpoint, own):
    weights = a_checkpoint / "models" / "model.safetensors"
    weights.rename(a_checkpoint.parent / "elsewhere")
    weights.symlink_to(a_checkpoint.parent / "elsewhere")
    refused(a_checkpoint, own, "models/model.safetensors", "link")


def linked(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "..\\evil", "C:/evil", "docs/../../evil", linked("docs/link")], ids=str
)
def test_a_zip_that_reaches_elsewhere_is_refused(a_checkpoint, own, name):
    refused(zipped(a_checkpoint, extra={name: b"evil"}), own, "unsafe")
    assert not (own.parent / "evil").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_a_file_twice_is_refused(a_checkpoint, own):
    refused(zipped(a_checkpoint, extra={"LICENSE": b"another"}), own, "LICENSE", "twice")


def test_a_file_that_unpacks_to_too_much_is_refused_whatever_size_it_claims(a_checkpoint, own):
    (a_checkpoint / "LICENSE").write_bytes(b"\0" * 1_000_001)
    archive = zipped(a_checkpoint)
    content = bytearray(archive.read_bytes())
    true_size, small = (1_000_001).to_bytes(4, "little"), (10).to_bytes(4, "little")
    archive.write_bytes(content.replace(true_size, small))
    refused(a_checkpoint, own, "LICENSE", "1 MB")
    refused(archive, own)


def test_damaged_zips_and_other_files_are_refused(a_checkpoint, own, tmp_path):
    archive = zipped(a_checkpoint)
    archive.write_bytes(archive.read_bytes()[:-200])
    refused(archive, own, "not a whole zip file")
    (tmp_path / "weights.pt").write_bytes(b"no zip")
    refused(tmp_path / "weights.pt", own, "not a whole zip file")
    refused(tmp_path / "gone.zip", own, "does not exist")


def test_a_zip_without_its_beginning_is_refused_as_such(a_checkpoint, own):
    archive = zipped(a_checkpoint)
    archive.write_bytes(archive.read_bytes()[100:])
    refused(archive, own, "not a whole zip file")


def test_a_card_of_endless_brackets_is_refused(a_checkpoint, own):
    (a_checkpoint / "configs" / "metadata.json").write_text("[" * 100_000)
    refused(a_checkpoint, own, "not a valid checkpoint card (RecursionError")


def test_one_flipped_byte_in_a_zip_is_refused(a_checkpoint, own):
    archive = zipped(a_checkpoint)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    refused(archive, own)


def test_two_checkpoints_in_one_folder_and_none_are_refused(a_checkpoint, own):
    shutil.copytree(a_checkpoint, a_checkpoint.parent / "second")
    refused(a_checkpoint.parent, own, "holds 2 checkpoints")
    refused(a_checkpoint / "docs", own, "holds 0 checkpoints")


def test_a_wrong_folder_is_noticed_early(a_checkpoint, own, monkeypatch):
    monkeypatch.setattr(adding, "MOST_FILES", 3)
    refused(a_checkpoint, own, "more than 3 files")


def test_a_check_of_the_caller_refuses_before_it_lands(a_checkpoint, own):
    write_card(a_checkpoint, read_card_values(a_checkpoint) | {"network": "no-net"})
    with pytest.raises(CheckpointError, match="no installed package has an entry point 'no-net'"):
        add_checkpoint(a_checkpoint, check=load_checkpoint)
    assert list(own.iterdir()) == []


def test_a_folder_that_cannot_be_made_says_so(a_checkpoint, own):
    own.write_text("a file")
    with pytest.raises(CheckpointError, match=r"could not be added.*MEDSEGATTENTION_CHECKPOINTS"):
        add_checkpoint(a_checkpoint)


def test_a_full_disk_leaves_nothing(a_checkpoint, own, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adding, "_copy", full)
    refused(a_checkpoint, own, "No space left on device")


def test_remove_takes_the_users_own_alone(a_checkpoint, own):
    add_checkpoint(a_checkpoint)
    remove_checkpoint(ID)
    assert list(own.iterdir()) == []
    with pytest.raises(CheckpointError, match="nothing was removed"):
        remove_checkpoint(ID)
    with pytest.raises(CheckpointError, match="ships with the extension"):
        remove_checkpoint("prostate-klo-net")
    (own.parent / "precious").mkdir()
    with pytest.raises(CheckpointError, match="nothing was removed"):
        remove_checkpoint("../precious")
    assert (own.parent / "precious").is_dir()


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/MedSegAttention/Checkpoints"),
        ("linux", {}, "/home/u/.local/share/MedSegAttention/Checkpoints"),
        ("darwin", {}, "/home/u/Library/Application Support/MedSegAttention/Checkpoints"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/MedSegAttention/Checkpoints"),
        ("linux", {"MEDSEGATTENTION_CHECKPOINTS": "/mine"}, "/mine"),
    ],
)
def test_the_users_folder_by_platform(monkeypatch, platform, variables, expected):
    for name in ("MEDSEGATTENTION_CHECKPOINTS", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(catalogue.sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/u"))
    assert catalogue.user_folder() == Path(expected)


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves the zip; ``/short.zip`` breaks off, ``/endless.zip`` tells no length,
    ``/elsewhere.zip`` sends the user to another host."""

    def do_GET(self) -> None:
        if self.path == "/elsewhere.zip":
            self.send_response(302)
            self.send_header("Location", "http://example.com/x.zip")
            self.end_headers()
        elif self.path == "/endless.zip":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"0" * 5000)
        elif self.path == "/short.zip":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"PK")
        else:
            super().do_GET()

    def log_message(self, *_arguments: object) -> None:
        """Stay silent."""


@pytest.fixture
def serve(monkeypatch) -> Iterator[Callable[[Path], str]]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(folder: Path) -> str:
        handler = functools.partial(Server, directory=str(folder))
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_download_is_added_and_its_bytes_are_told(a_checkpoint, own, serve):
    archive, seen = zipped(a_checkpoint), []
    address = serve(archive.parent)
    add_checkpoint(f"{address}/{archive.name}", on_bytes=lambda done, total: seen.append((done, total)))
    assert find_checkpoint(ID) == own / ID
    size = archive.stat().st_size
    assert seen[-1] == (size, size)
    assert [path.name for path in own.iterdir()] == [ID]


def test_a_file_address_is_added(a_checkpoint, own):
    add_checkpoint(zipped(a_checkpoint).as_uri())
    assert (own / ID).is_dir()


def test_a_download_can_be_stopped(a_checkpoint, own, serve):
    def stop(_done: int, _total: int | None) -> None:
        raise Cancelled("stopped by the user.")

    archive = zipped(a_checkpoint)
    with pytest.raises(Cancelled):
        add_checkpoint(f"{serve(archive.parent)}/{archive.name}", on_bytes=stop)
    assert list(own.iterdir()) == []


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("none.zip", ["404", "Check the address"]),
        ("short.zip", ["ended after 2 of 1000 bytes", "browser"]),
        ("elsewhere.zip", ["http://example.com/x.zip", "https://"]),
    ],
)
def test_a_network_that_fails_says_how(own, serve, tmp_path, page, words):
    refused(f"{serve(tmp_path)}/{page}", own, *words)


def test_a_server_that_is_not_there_says_so(own, serve, tmp_path):
    refused("http://127.0.0.1:9/x.zip", own, "Connection refused", "HTTPS_PROXY", "add the file")


@pytest.mark.parametrize("url", ["http://example.com/x.zip", "ftp://example.com/x.zip", "https://[x/y.zip"])
def test_an_address_that_is_not_safe_is_refused(own, url):
    refused(url, own, url)


def test_a_download_over_the_limit_is_stopped(tmp_path, serve):
    (tmp_path / "big.zip").write_bytes(b"\0" * 5000)
    address = f"{serve(tmp_path)}/big.zip"
    with pytest.raises(CheckpointError, match="at most"):
        downloading.download(address, tmp_path / "target", 4000)
    with pytest.raises(CheckpointError, match="was stopped"):
        downloading.download(address.replace("big", "endless"), tmp_path / "target", 4999)
    assert (tmp_path / "target").stat().st_size < 4999


def test_the_command_line_adds_lists_and_removes(a_checkpoint, own, capfd):
    assert main(["checkpoints", "add", str(a_checkpoint)]) == 0
    assert main(["checkpoints", "list"]) == 0
    out = capfd.readouterr().out
    assert f"{ID}, version 1.0, was added to {own}" in out
    assert "licence: none" in out
    assert f"{ID}  MR, version 1.0, added by you" in out
    versions = {card.id: card.version for card in list_checkpoints()}
    assert f"prostate-klo-net  MR, version {versions['prostate-klo-net']}: " in out
    assert f"prostate-klo-lite  MR, version {versions['prostate-klo-lite']}, default of its task: " in out
    assert main(["checkpoints", "verify", ID]) == 0
    assert main(["checkpoints", "remove", ID]) == 0
    assert main(["checkpoints", "remove", ID]) == 1
    assert "nothing was removed" in capfd.readouterr().err


def test_a_zip_with_backslashes_and_a_readme_is_a_checkpoint_too(a_checkpoint, own):
    """As some programs on Windows pack a folder, and as people describe what they pass on."""
    archive = a_checkpoint.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as writing:
        for path in sorted(path for path in a_checkpoint.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo("x")
            entry.filename = "mine\\" + "\\".join(path.relative_to(a_checkpoint).parts)  # ZipInfo would mend it
            writing.writestr(entry, path.read_bytes())
        writing.writestr("mine/README.md", b"read me")
    card = add_checkpoint(str(archive))
    assert (own / card.id / "models" / "model.safetensors").is_file()
    assert not (own / card.id / "README.md").exists()
