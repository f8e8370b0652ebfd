"""``segment``: image files in; segmentation, attention maps, picture and provenance files out."""

from __future__ import annotations

import argparse
import logging
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from os.path import realpath
from pathlib import Path
from threading import Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..checkpoints.catalogue import check_task
from ..data.case import FileChoice
from ..data.dicom_source import IDENTIFYING
from ..data.errors import UsageError
from ..files.cases import ImageSource, pseudonymous
from ..files.lists import is_list
from ..files.reading import stem_of
from ..files.unpacking import unpacked
from ..inference.settings import ATTENTION_GRIDS, DEVICES, RunSettings
from ..output.image_case import image_case
from ..runner.batch import run_batch
from ..runner.once import run_once
from ..runner.one_case import Outcome, Request, earlier_record, segment_case
from ..runner.summary import SUMMARY_FILE, renew_row
from .choosing import chosen_images, chosen_of_many
from .cohort import add_cluster_options, cluster_choice, make_job, segment_on_cluster, tell_failures, tell_plan
from .slice_log import SliceLog

if TYPE_CHECKING:
    from ..data.result import VolumeResult
    from ..runner.batch import BatchProgress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """Files of one finished case, and the seconds each stage took."""

    files: tuple[Path, ...]
    seconds: dict[str, float]


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add ``segment`` to the command line."""
    parser = commands.add_parser("segment", help="segment an image, a DICOM series folder, or a folder of images")
    parser.add_argument(
        "input",
        type=Path,
        nargs="+",
        metavar="INPUT",
        help="NRRD, NIfTI, MHA, PNG, JPG, TIFF; a DICOM file, series, study (however nested) or DICOMDIR; a folder of "
        "those; a zip file of any of them; or a .txt (a path a line) or .csv (column path) list of all these. More "
        "than one image writes summary.csv too and skips what is there already",
    )
    parser.add_argument(
        "--series",
        default="all",
        metavar="auto|UID|NUMBER|all",
        help="of a DICOM study: all series that the checkpoint takes (the default), the one that fits it best (auto), "
        "or this one; see inspect",
    )
    parser.add_argument(
        "--task", help="what to segment: prostate, skin, polyp, abdomen, or the task of a checkpoint that you added"
    )
    parser.add_argument("--checkpoint", help="checkpoint ID or folder, instead of the task's own choice")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--batch-size", type=int, metavar="N", help="slices at once (default: by device)")
    parser.add_argument("--attention", default="all", metavar="NAME,...|none", help="attention maps to write (all)")
    parser.add_argument("--attention-grid", choices=ATTENTION_GRIDS, default="native")
    parser.add_argument("--axis", choices=("auto", "i", "j", "k"), default="auto", help="index axis of the slices")
    parser.add_argument(
        "--flips", action="store_true", help="average over mirror images of each slice, where the checkpoint allows it"
    )
    parser.add_argument(
        "--nifti", action="store_true", help="also write STEM.nii.gz, the label map; STEM.json names it"
    )
    parser.add_argument(
        "--report", action="store_true", help="also write STEM.report.png and .pdf, one page to look at"
    )
    parser.add_argument("--scene", action="store_true", help="also write STEM.mrb, a scene that Slicer opens")
    parser.add_argument(
        "--dicom",
        action="store_true",
        help="also write STEM.seg.dcm, STEM.sr.dcm (measurements) and STEM.MAP.dcm; the image must come from DICOM",
    )
    parser.add_argument(
        "--dicom-seg",
        choices=("binary", "labelmap"),
        help="kind of STEM.seg.dcm: bits for each segment (binary, the default), or label values, which newer readers "
        "know; means --dicom",
    )
    parser.add_argument(
        "--anonymous",
        action="store_true",
        help="leave out of file names, STEM.json and summary.csv what tells whose images they are",
    )
    parser.add_argument("--force", action="store_true", help="run although the image is not what the checkpoint takes")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results of other images and tasks that are there under the same name; of a folder, segment also "
        "what is there already",
    )
    add_cluster_options(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and from three cases how long it would take"
    )
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
        test_time_flips=arguments.flips,
    )
    if arguments.task is not None:
        check_task(arguments.task)
    elif arguments.checkpoint is None:
        raise UsageError("neither --task nor --checkpoint was given; expected one of them; see checkpoints list.")
    if arguments.anonymous:
        logger.info("left out as identifying: names of images, %s", ", ".join(IDENTIFYING))
    dicom = arguments.dicom_seg or ("binary" if arguments.dicom else "")
    files = FileChoice(arguments.nifti, arguments.report, arguments.scene, dicom)
    if dicom and arguments.anonymous:
        raise UsageError("--dicom writes the patient into its objects, as the standard asks; leave out --anonymous.")
    choice = {"task": arguments.task, "checkpoint": arguments.checkpoint, "settings": settings, "files": files}
    choice["anonymous"] = arguments.anonymous
    where = cluster_choice(arguments)
    with ExitStack() as stack:
        images, several = _images(arguments, stack)
        if not several:
            _report(segment_file(images, arguments.output, overwrite=arguments.overwrite, **choice))
            return 0
        for path in arguments.input:
            if realpath(arguments.output) == realpath(path):
                raise UsageError(f"--output is the folder of the images, '{path}'; expected another folder.")
        images = pseudonymous(images) if arguments.anonymous else images
        if arguments.dry_run:
            return tell_plan(images, make_job(arguments, choice), where)
        if where:
            outcomes = segment_on_cluster(images, make_job(arguments, choice), where, arguments.debug)
        else:
            outcomes = _segment_all(images, arguments.output, choice, arguments.overwrite, arguments.debug)
        return _tell_end(outcomes, len(images), arguments.output)


def _images(arguments: argparse.Namespace, stack: ExitStack) -> tuple[Any, bool]:
    """What to segment: images that are a batch, or one image or path that is not."""
    which = (arguments.series, arguments.task, arguments.checkpoint, arguments.force)
    path = arguments.input[0]
    if len(arguments.input) > 1 or is_list(path) or arguments.cluster or arguments.dry_run:
        arguments.input = [path.absolute() for path in arguments.input]  # workers have another current folder
        return chosen_of_many(arguments.input, *which, stack), True
    place = stack.enter_context(unpacked(path))
    inputs, several = chosen_images(place, *which)
    return (inputs, True) if several else (inputs[0] if inputs else place, False)


def segment_file(
    source: str | Path | ImageSource,
    output: str | Path,
    *,
    task: str | None = None,
    checkpoint: str | Path | None = None,
    settings: RunSettings = RunSettings(),  # noqa: B008 - frozen
    files: FileChoice = FileChoice(),  # noqa: B008 - frozen
    anonymous: bool = False,
    overwrite: bool = False,
) -> Written:
    """Segment one file or DICOM series and write STEM.seg.nrrd, STEM.MAP.nrrd, STEM.png and STEM.json.

    Args:
        source: image file, or folder of one DICOM series; or one that was found in a study.
        output: folder of the results; made when missing. A failed run leaves nothing in it.
        task: see :func:`~..runner.in_process.run`.
        checkpoint: likewise.
        settings: likewise.
        files: what to write besides.
        anonymous: leave out what tells whose image it is; see :func:`~..files.cases.pseudonymous`.
        overwrite: replace a result for another image or task that is there under the same name.

    Raises:
        MedSegAttentionError: see :mod:`~..data.errors`.
    """
    begin = perf_counter()
    image = source if isinstance(source, ImageSource) else ImageSource(Path(source), stem_of(Path(source)))
    output = Path(output)
    image = pseudonymous([image])[0] if anonymous else image
    volume = image.read()
    seconds = {"read": perf_counter() - begin}
    case = image_case(image.name, image.stem, lambda: volume, files)
    request = Request(run_once, task, checkpoint, settings, anonymous)
    request.check(case.read())
    if not overwrite:
        earlier_record(case, request, output)
    # From here on PyTorch and MRML are needed; what is refused was refused before.
    Thread(target=import_module, args=("MedSegAttentionLib.output.case_files",), daemon=True).start()
    record = segment_case(case, request, output, seconds=seconds, on_slice=SliceLog())
    renew_row(output / SUMMARY_FILE, Outcome(case.name, "segmented", record, stem=case.stem).row())
    return Written(tuple(output / name for name in (*record["files"], f"{case.stem}.json")), record["seconds"])


def _run(*arguments: Any, **options: Any) -> VolumeResult:
    from ..runner.in_process import run

    return run(*arguments, **options)


def _segment_all(
    images: list[ImageSource], output: Path, choice: dict[str, Any], overwrite: bool, debug: bool
) -> list[Outcome]:
    cases = [image_case(image.name, image.stem, image.read, choice["files"]) for image in images]
    request = Request(_run, choice["task"], choice["checkpoint"], choice["settings"], choice["anonymous"])
    return run_batch(cases, request, output, overwrite=overwrite, on_progress=partial(_log_progress, debug, SliceLog()))


def _tell_end(outcomes: list[Outcome], count: int, output: Path) -> int:
    counts = [sum(outcome.status == status for outcome in outcomes) for status in ("segmented", "skipped")]
    tell_failures(outcomes)
    words = "%d of %d segmented, %d skipped (there already); see %s"
    logger.info(words, counts[0], count, counts[1], output / SUMMARY_FILE)
    return 0 if sum(counts) == count else 1


def attention_choice(text: str) -> bool | tuple[str, ...]:
    """``all``, ``none`` or ``NAME,...`` of a command line, as :class:`~..inference.settings.RunSettings` takes it."""
    if text in ("all", "none"):
        return text == "all"
    return tuple(name.strip() for name in text.split(","))


def _log_progress(debug: bool, log_slices: SliceLog, progress: BatchProgress) -> None:
    if progress.slices:
        log_slices(progress.slices)
    elif progress.outcome is None:
        logger.info("case %d of %d: %s", progress.index + 1, progress.count, progress.case)
    elif progress.outcome.error:
        error = progress.outcome.error
        logger.error("%s: %s", progress.case, " ".join(str(error).split()), exc_info=error if debug else None)
    else:
        logger.info("%s: %s", progress.case, progress.outcome.status)


def _report(written: Written) -> None:
    for path in written.files:
        logger.info("wrote %s", path)
    logger.info("seconds: %s", ", ".join(f"{stage} {value:.2f}" for stage, value in written.seconds.items()))
