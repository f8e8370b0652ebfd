"""``segment``: image files in; segmentation, attention maps, picture and provenance files out."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checkpoints.catalogue import TASKS
from ..data.errors import InputError, UsageError
from ..files.reading import has_series, is_image, read_volume, stem_of
from ..inference.settings import ATTENTION_GRIDS, DEVICES, RunSettings
from ..inference.slicing import AXIS_NAMES

if TYPE_CHECKING:
    from ..data.result import SliceResult, VolumeResult
    from ..data.volume import VolumeImage
    from ..scene.writing import WrittenNodes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """Files of one finished case, and the seconds each stage took."""

    files: tuple[Path, ...]
    seconds: dict[str, float]


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add ``segment`` to the command line."""
    parser = commands.add_parser("segment", help="segment an image, a DICOM series folder, or a folder of images")
    parser.add_argument("input", type=Path, help="NRRD, NIfTI, MHA, PNG, JPG, TIFF; a DICOM series folder; a folder")
    parser.add_argument("--task", choices=TASKS, help="what to segment")
    parser.add_argument("--checkpoint", help="checkpoint ID or folder, instead of the task's own choice")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--batch-size", type=int, metavar="N", help="slices at once (default: by device)")
    parser.add_argument("--attention", default="all", metavar="NAME,...|none", help="attention maps to write (all)")
    parser.add_argument("--attention-grid", choices=ATTENTION_GRIDS, default="native")
    parser.add_argument("--axis", choices=("auto", "i", "j", "k"), default="auto", help="index axis of the slices")
    parser.add_argument("--scene", action="store_true", help="also write STEM.mrb, a scene that Slicer opens")
    parser.add_argument("--force", action="store_true", help="run although the image is not what the checkpoint takes")
    parser.set_defaults(run=run_command)


def run_command(arguments: argparse.Namespace) -> int:
    """Carry out ``segment``; returns the exit status."""
    settings = RunSettings(
        device=arguments.device,
        batch_size=arguments.batch_size,
        attention=attention_choice(arguments.attention),
        attention_grid=arguments.attention_grid,
        axis=arguments.axis,
        force=arguments.force,
    )
    choice = {"task": arguments.task, "checkpoint": arguments.checkpoint, "settings": settings}
    if arguments.task is None and arguments.checkpoint is None:
        raise UsageError(
            f"neither --task nor --checkpoint was given; expected one of them (tasks: {', '.join(TASKS)})."
        )
    inputs = batch_of(arguments.input)
    if inputs is None:
        _report(segment_file(arguments.input, arguments.output, **choice, scene_file=arguments.scene))
        return 0
    if arguments.output.resolve() == arguments.input.resolve():
        raise UsageError(f"--output is the folder of the images, '{arguments.input}'; expected another folder.")
    failed = 0
    for path, stem in inputs.items():
        try:
            _report(segment_file(path, arguments.output, **choice, stem=stem, scene_file=arguments.scene))
        except UsageError:
            raise
        except Exception as error:  # one case must not stop the rest, whatever happens to it
            failed += 1
            logger.error("%s: %s", path.name, error, exc_info=arguments.debug)
    logger.info("%d of %d segmented", len(inputs) - failed, len(inputs))
    return 1 if failed else 0


def batch_of(path: Path) -> dict[Path, str] | None:
    """The cases of a folder of images or of DICOM series folders, each with the stem of its results.

    Returns:
        None for a single input: a file, or the folder of one DICOM series. Images that differ in their suffix alone
        keep it in the stem.
    """
    if not path.is_dir() or has_series(path):
        return None
    found = sorted(child for child in path.iterdir() if is_image(child) or (child.is_dir() and has_series(child)))
    stems = [stem_of(child) for child in found]
    return {
        child: stem if stems.count(stem) == 1 else child.name for child, stem in zip(found, stems, strict=True)
    } or None


def segment_file(
    source: str | Path,
    output: str | Path,
    *,
    task: str | None = None,
    checkpoint: str | Path | None = None,
    settings: RunSettings = RunSettings(),  # noqa: B008 - frozen
    stem: str | None = None,
    scene_file: bool = False,
) -> Written:
    """Segment one file or DICOM series and write STEM.seg.nrrd, STEM.MAP.nrrd, STEM.png and STEM.json.

    Args:
        source: image file, or folder of one DICOM series.
        output: folder of the results; made when missing. A failed run leaves nothing in it.
        task: see :func:`~..runner.in_process.run`.
        checkpoint: likewise.
        settings: likewise.
        stem: of the results; None takes that of the source.
        scene_file: also write STEM.mrb.

    Raises:
        MedSegAttentionError: see :mod:`~..data.errors`.
    """
    source = Path(source)
    stem = stem or stem_of(source)
    watch = _Stopwatch()
    from ..runner.in_process import run
    from ..scene import writing as _  # noqa: F401 - loads MRML, which takes seconds: part of starting, not of writing

    watch.lap("start")
    with _results_in(Path(output)) as folder:
        volume = read_volume(source).without_alpha()
        watch.lap("read")
        result = run(volume, task=task, checkpoint=checkpoint, settings=settings, on_slice=_log_progress)
        watch.seconds |= result.provenance["seconds"]
        watch.lap()
        _write_nodes(volume, result, folder / stem, watch, scene_file)
        provenance = {**result.provenance, "seconds": watch.seconds}
        (folder / f"{stem}.json").write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
        names = sorted(path.name for path in folder.iterdir())
    return Written(tuple(Path(output) / name for name in names), watch.seconds)


@contextmanager
def _results_in(output: Path) -> Iterator[Path]:
    """A folder beside the results; when all went well what it holds moves over, otherwise nothing is left."""
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=output))
    except OSError as error:
        raise InputError(f"'{output}' cannot be written to ({error.strerror}); choose another folder.") from error
    try:
        yield workshop
        files = sorted(workshop.iterdir())
        if taken := [path.name for path in files if (output / path.name).is_dir()]:
            raise InputError(f"'{output / taken[0]}' is a folder where a result must go; choose another --output.")
        for path in files:
            path.replace(output / path.name)
        workshop.rmdir()
    except BaseException:
        shutil.rmtree(workshop, ignore_errors=True)
        for folder in made:
            folder.rmdir()
        raise


class _Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begin = perf_counter()

    def lap(self, stage: str | None = None) -> None:
        """Book the time since the last call under ``stage``, or forget it."""
        now = perf_counter()
        if stage:
            self.seconds[stage] = round(now - self._begin, 4)
        self._begin = now


def _write_nodes(volume: VolumeImage, result: VolumeResult, stem: Path, watch: _Stopwatch, scene_file: bool) -> None:
    from ..scene.application import headless_scene
    from ..scene.files import save_node, save_scene
    from ..scene.volumes import add_volume
    from ..scene.writing import write_result

    scene = headless_scene()
    volume_node = add_volume(scene, volume)
    nodes = write_result(scene, result, volume_node)
    watch.lap("nodes")
    save_node(nodes.segmentation, stem.with_name(f"{stem.name}.seg.nrrd"))
    for name, node in nodes.attention.items():
        save_node(node, stem.with_name(f"{stem.name}.{name}.nrrd"))
    _write_picture(scene, volume_node, nodes, result, stem.with_name(f"{stem.name}.png"))
    if scene_file:
        save_scene(scene, stem.with_name(f"{stem.name}.mrb"))
    watch.lap("files")


def _write_picture(scene: Any, volume_node: Any, nodes: WrittenNodes, result: VolumeResult, path: Path) -> None:
    """Image, segments and the first tau map of the slice that shows most, side by side."""
    from ..scene.colours import colour_map
    from ..scene.pictures import slice_picture, write_figure

    axis = AXIS_NAMES.index(result.provenance["slice_axis"])
    index = best_slice(result.labels, axis)
    window = result.provenance["display_window"]
    draw = partial(slice_picture, scene, volume_node, index, axis=axis, window=window and tuple(window))
    panels = [(f"slice {index}", draw()), ("segments", draw(segmentation_node=nodes.segmentation))]
    colour_bar = None
    if shown := next(iter(result.attention.values()), None):
        overlay = nodes.attention[shown.map.name]
        panels.append((shown.map.title, draw(overlay_node=overlay)))
        colour_bar = (colour_map(), *shown.map.range, shown.map.title)
    write_figure(path, panels, colour_bar)


def best_slice(labels: np.ndarray, axis: int) -> int:
    """Number of the slice with most of the largest class; the middle one where nothing was found.

    Args:
        labels: ``[K, J, I]``.
        axis: index axis (0 = i, 1 = j, 2 = k) the slices are stacked along.
    """
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    if not len(values):
        return labels.shape[2 - axis] // 2
    largest = labels == values[counts.argmax()]
    return int(largest.sum(axis=tuple({0, 1, 2} - {2 - axis})).argmax())


def attention_choice(text: str) -> bool | tuple[str, ...]:
    """``all``, ``none`` or ``NAME,...`` of a command line, as :class:`~..inference.settings.RunSettings` takes it."""
    if text in ("all", "none"):
        return text == "all"
    return tuple(name.strip() for name in text.split(","))


def _log_progress(finished: SliceResult) -> None:
    if (finished.index + 1) % 10 == 0 or finished.index + 1 == finished.count:
        logger.info("slice %d of %d", finished.index + 1, finished.count)


def _report(written: Written) -> None:
    for path in written.files:
        logger.info("wrote %s", path)
    logger.info("seconds: %s", ", ".join(f"{stage} {value:.2f}" for stage, value in written.seconds.items()))
