"""Many volumes one after another, and sequences frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import slicer

from ..data.case import FileChoice
from ..data.errors import Cancelled, InputError
from ..data.result import RunProgress, VolumeResult
from ..data.volume import VolumeImage
from ..output.case_files import node_cases, scene_cases
from ..output.image_case import image_case
from ..runner.batch import BatchProgress, run_batch
from ..runner.one_case import Outcome, Request
from ..scene.sequences import frame_images, sequence_of, write_sequences
from ..scene.volumes import input_volumes
from .runs import RunLogic, check_on_cancel, run_settings


@dataclass(frozen=True)
class SequenceResult:
    """What a run over a sequence left in the scene.

    Attributes:
        browserNode: ``vtkMRMLSequenceBrowserNode`` that plays everything together.
        segmentationSequenceNode: ``vtkMRMLSequenceNode``, one segmentation a frame.
        attentionSequenceNodes: map name -> ``vtkMRMLSequenceNode``, one volume a frame.
        provenance: of each segmented frame, in their order; the first ones alone after a cancel that kept them.
    """

    browserNode: Any
    segmentationSequenceNode: Any
    attentionSequenceNodes: dict[str, Any]
    provenance: list[dict[str, Any]]


class BatchLogic(RunLogic):
    """Part of ``MedSegAttentionLogic``."""

    def segmentBatch(
        self,
        volumes: str | Path | Sequence[Any] | None = None,
        output: str | Path | None = None,
        task: str = "prostate",
        checkpoint: str | Path | None = None,
        device: str = "auto",
        attention: bool | tuple[str, ...] = True,
        *,
        nifti: bool = False,
        report: bool = False,
        overwrite: bool = False,
        progressCallback: Callable[[BatchProgress], None] | None = None,
        isCancelled: Callable[[], bool] | None = None,
        whileWaiting: Callable[[], None] | None = None,
        **options: Any,
    ) -> list[Outcome]:
        """Segment many volumes one after another; one that fails does not stop the rest.

        Args:
            volumes: None for all of the scene, a list of volume nodes, or a folder of images or DICOM series.
            output: folder of the result files and of ``summary.csv``; a result that is there already is skipped. None
                puts the results into the scene, which works for volumes of the scene.
            task: as in :meth:`segment`.
            checkpoint: likewise.
            device: likewise.
            attention: likewise.
            nifti: also write STEM.nii.gz.
            report: also write STEM.report.png.
            overwrite: segment also what is there already, and replace results of other images of the same name.
            progressCallback: called before and after each volume and with each finished slice.
            isCancelled: asked before each volume and after each slice; what is finished stays.
            whileWaiting: called all the time while inference runs in a worker process; None runs it in this one.
            **options: ``attentionGrid``, ``axis``, ``batchSize``, ``force``, ``testTimeFlips`` of :meth:`segment`.

        Returns:
            How each volume ended; ``Outcome.error`` says why one failed.

        Raises:
            MedSegAttentionError: nothing to segment, or an option that can never work.
        """
        request = self._request(task, checkpoint, device, attention, whileWaiting, **options)
        choice, scene = FileChoice(nifti, report), slicer.mrmlScene
        if isinstance(volumes, (str, Path)):
            from MedSegAttentionLib.files.cases import sources_in

            if not Path(volumes).is_dir():
                raise InputError(f"'{volumes}' is no folder; expected one of images or DICOM series.")
            if not output or Path(output).resolve() == Path(volumes).resolve():
                raise InputError(f"output '{output or ''}' cannot take results of '{volumes}'; give another folder.")
            cases = [image_case(image.name, image.stem, image.read, choice) for image in sources_in(Path(volumes))]
        else:
            nodes = input_volumes(scene) if volumes is None else list(volumes)
            cases = node_cases(scene, nodes, choice) if output else scene_cases(scene, nodes)
        if not cases:
            raise InputError(f"nothing to segment in {volumes or 'the scene'}; expected at least one image.")
        return run_batch(
            [replace(case, read=_underWaitCursor(case.read), save=_underWaitCursor(case.save)) for case in cases],
            request,
            Path(output) if output else None,
            overwrite=overwrite,
            on_progress=progressCallback,
            is_cancelled=isCancelled,
        )

    def segmentSequence(
        self,
        sequenceNode: Any,
        task: str = "polyp",
        checkpoint: str | Path | None = None,
        device: str = "auto",
        attention: bool | tuple[str, ...] = True,
        *,
        progressCallback: Callable[[BatchProgress], None] | None = None,
        isCancelled: Callable[[], bool] | None = None,
        onCancel: str = "discard",
        whileWaiting: Callable[[], None] | None = None,
        show: bool = True,
        **options: Any,
    ) -> SequenceResult:
        """Segment a sequence of volumes or pictures frame by frame; the results play with it.

        Args:
            sequenceNode: ``vtkMRMLSequenceNode``, or the volume that shows its frames; without a sequence browser it
                gets one.
            task: as in :meth:`segment`.
            checkpoint: likewise.
            device: likewise.
            attention: likewise.
            progressCallback: called with each finished slice.
            isCancelled: asked after each slice.
            onCancel: ``discard`` raises ``Cancelled``; ``keep`` does so while no frame is finished, and else keeps the
                finished frames.
            show: show frames and first attention map in the slice views.
            whileWaiting: as in :meth:`segmentBatch`.
            **options: likewise.

        Raises:
            MedSegAttentionError: see :meth:`segment`; the scene is then as it was. What is known about a frame
                beforehand is told before the first is segmented. Frames of one value stop nothing, unless all are.
        """
        check_on_cancel(onCancel)
        request = self._request(task, checkpoint, device, attention, whileWaiting, **options)
        sequenceNode = sequence_of(sequenceNode)
        frames, results = frame_images(sequenceNode), []
        with slicer.util.WaitCursor():  # some milliseconds a frame
            for frame in [frame for frame in frames if not frame.is_constant] or frames[:1]:
                request.check(frame)
        for number, frame in enumerate(frames):

            def tell(finished: RunProgress, name: str = frame.name, index: int = number) -> None:
                if progressCallback:
                    progressCallback(BatchProgress(name, index, len(frames), finished))

            try:
                results.append(_frameResult(request, frame, on_slice=tell, is_cancelled=isCancelled))
            except Cancelled:
                if onCancel == "discard" or not results:
                    raise
                break
        written = _underWaitCursor(write_sequences)(slicer.mrmlScene, sequenceNode, results, show=show)
        provenance = [result.provenance for result in results]
        return SequenceResult(written.browser, written.segmentation, written.attention, provenance)

    def _request(
        self,
        task: str | None,
        checkpoint: str | Path | None,
        device: str,
        attention: bool | tuple[str, ...],
        whileWaiting: Callable[[], None] | None,
        **options: Any,
    ) -> Request:
        """The choices of :meth:`segment` as the runner takes them."""
        settings = run_settings(device, attention, **options)
        if whileWaiting is None:
            return Request(self._inference().run, task, checkpoint, settings)
        run = partial(self._backgroundRunner().run, while_waiting=whileWaiting)
        return Request(run, task, checkpoint, settings)


def _frameResult(request: Request, frame: VolumeImage, **callbacks: Any) -> VolumeResult:
    """The result of one frame; in a blank one, as cameras write between pictures, nothing is found, with a warning."""
    if not frame.is_constant:
        return request.result(frame, **callbacks)
    forced = replace(request, settings=replace(request.settings, force=True))
    result = forced.result(frame, **callbacks)
    settings = result.provenance["settings"] | {"force": request.settings.force}
    return replace(result, provenance=result.provenance | {"settings": settings})


def _underWaitCursor(work: Callable[..., Any]) -> Callable[..., Any]:
    """``work``, which blocks Slicer for a moment, with the cursor that says so."""

    def waited(*arguments: Any, **options: Any) -> Any:
        with slicer.util.WaitCursor():
            return work(*arguments, **options)

    return waited
