"""Nodes and scenes to disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import slicer

from ..data.errors import InputError


def save_node(node: slicer.vtkMRMLStorableNode, path: str | Path) -> Path:
    """Write one node, compressed: a segmentation as ``.seg.nrrd``, a volume as ``.nrrd``. The node keeps its own file.

    Returns:
        The absolute path written.

    Raises:
        InputError: missing or unwritable folder, or a file type the node cannot take.
    """
    path = _writable(path)
    storage = node.CreateDefaultStorageNode()
    storage.UnRegister(None)  # made with a reference of its own, which Python's wrapper does not take over
    # Added to the scene only while it writes, so that a later "save scene" does not overwrite this copy.
    scene = node.GetScene()
    scene.AddNode(storage)
    try:
        storage.SetUseCompression(True)
        if not storage.GetSupportedFileExtension(path.name, False, True):
            raise InputError(
                f"'{node.GetName()}' cannot be written as '{path.name}'; expected a name ending in .seg.nrrd for a "
                "segmentation, .nrrd for a volume."
            )
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent, ignore_cleanup_errors=True) as folder:
            whole = Path(folder) / path.name  # so that a full disk costs no earlier file
            storage.SetFileName(str(whole))
            if not storage.WriteData(node) or not whole.is_file():
                raise InputError(f"'{node.GetName()}' could not be written to '{path}'; is there room on the disk?")
            whole.replace(path)
    except OSError as error:
        raise InputError(
            f"'{node.GetName()}' could not be written to '{path}' ({error.strerror}); is there room on the disk, and "
            "is no other program using that file?"
        ) from error
    finally:
        scene.RemoveNode(storage)
    return path


def save_scene(scene: slicer.vtkMRMLScene, path: str | Path) -> Path:
    """Write the whole scene as one ``.mrb`` file that Slicer opens.

    Returns:
        The absolute path written.

    Raises:
        InputError: missing or unwritable folder, or a name that does not end in ``.mrb``.
    """
    path = _writable(path)
    if path.suffix.lower() != ".mrb":
        raise InputError(f"scene file '{path.name}' has another type; expected a name ending in .mrb.")
    if not scene.WriteToMRB(str(path), None) or not path.is_file():
        raise InputError(f"the scene could not be written to '{path}'; check for room on the disk, and try again.")
    return path


def _writable(path: str | Path) -> Path:
    path = Path(path).absolute()
    if not path.parent.is_dir():
        raise InputError(f"folder '{path.parent}' does not exist; expected an existing folder. Create it first.")
    try:
        existed = path.exists()
        path.open("ab").close()
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror}); choose another folder or name.") from error
    if not existed:
        path.unlink()
    return path
