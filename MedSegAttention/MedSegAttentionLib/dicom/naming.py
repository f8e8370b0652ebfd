"""What all DICOM objects of a run share: UIDs, series, equipment, algorithm and codes."""

from __future__ import annotations

import json
import logging
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from ..data.errors import DependencyError
from ..data.labels import Code

MANUFACTURER = "MedSegAttention"
PRIVATE_SCHEME = "99MEDSEGATT"
"""Coding scheme of what has no standard code: the attention maps."""
LONGEST = 64
"""Characters of a text element of kind LO."""
DECISIVE = ("axis", "test_time_flips", "slices", "box", "left_out")
"""Settings that change labels; see also :func:`object_uid`."""
SERIES_FACTOR, LARGEST_NUMBER = 100, 2**31 - 1


def derived_uid(*parts: Any) -> str:
    """A UID that is the same for the same parts, in the form of standard part 5, B.2."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps([MANUFACTURER, *parts], default=str)).int}"


def object_uid(provenance: dict[str, Any], instance_uids: Sequence[str], kind: str, *more: Any) -> str:
    """UID of an object: the same for the same instances, checkpoint, settings and version of this program.

    Args:
        provenance: of the result.
        instance_uids: of the source.
        kind: of the object; another one for its series.
        more: settings that concern this kind alone.
    """
    settings = [provenance["settings"].get(name) for name in DECISIVE]
    return derived_uid(kind, provenance["weights_sha256"], provenance["version"], settings, list(instance_uids), *more)


def short(text: str, length: int = LONGEST) -> str:
    """``text`` as it fits into an element, with no character that ends or splits one."""
    clean = " ".join(text.replace("\\", "/").split())
    return clean if len(clean) <= length else f"{clean[: length - 3]}..."


def concept(code: Code) -> Any:
    """A code of the card as highdicom takes it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, short(code.meaning))


def algorithm(provenance: dict[str, Any]) -> dict[str, Any]:
    """Which checkpoint, in which version and with which settings, computed a result."""
    settings = {name: provenance["settings"].get(name) for name in DECISIVE}
    return {
        "name": short(provenance["checkpoint"]),
        "version": short(provenance["checkpoint_version"]),
        "parameters": {
            "program": f"{MANUFACTURER} {provenance['version']}",
            "weights_sha256": provenance["weights_sha256"],
            **{name: json.dumps(value) for name, value in settings.items() if value not in (None, False, [], ())},
        },
    }


def identification(provenance: dict[str, Any]) -> Any:
    """:func:`algorithm` as the sequence that image objects hold."""
    from highdicom import AlgorithmIdentificationSequence
    from pydicom.sr.codedict import codes

    return AlgorithmIdentificationSequence(
        family=codes.DCM.ArtificialIntelligence, source=MANUFACTURER, **algorithm(provenance)
    )


def common(
    header: Any, provenance: dict[str, Any], instance_uids: Sequence[str], kind: str, number: int, *more: Any
) -> dict[str, Any]:
    """What highdicom asks for with every object: UIDs, series and equipment.

    Args:
        header: of the first source instance.
        provenance: of the result.
        instance_uids: of the source.
        kind: ``"SEG"``, ``"SR"`` or the name of a map; stands in the description of the series.
        number: of the series among those of this result, from 1 to 99.
        more: settings that concern this kind alone.
    """
    try:
        source_number = max(0, int(header.get("SeriesNumber") or 0)) * SERIES_FACTOR
    except (TypeError, ValueError):
        source_number = 0
    created = datetime.fromisoformat(provenance["created"]).astimezone()
    return {
        "series_instance_uid": object_uid(provenance, instance_uids, f"{kind} series", *more),
        "sop_instance_uid": object_uid(provenance, instance_uids, kind, *more),
        "series_number": (source_number if source_number + 99 <= LARGEST_NUMBER else 0) + number,
        "instance_number": 1,
        "series_description": short(f"{MANUFACTURER} {kind}: {provenance['checkpoint']}"),
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": short(f"{provenance['checkpoint']} {provenance['checkpoint_version']}"),
        "software_versions": provenance["version"],
        "device_serial_number": provenance["weights_sha256"],
        "content_date": created.date(),
        "content_time": created.time(),
    }


def finish(dataset: Any, uid_parts: Sequence[Any]) -> Any:
    """Make what highdicom draws by chance or by the clock the same for the same result."""
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = dataset.ContentDate, dataset.ContentTime
    dataset.SpecificCharacterSet = "ISO_IR 192"
    if "DimensionOrganizationSequence" in dataset:
        uid = derived_uid("dimensions", *uid_parts)
        for item in (*dataset.DimensionOrganizationSequence, *dataset.get("DimensionIndexSequence", ())):
            item.DimensionOrganizationUID = uid
    return dataset


def require_highdicom() -> None:
    """Raise :class:`DependencyError` where highdicom is not there: inside Slicer it is installed only on wish."""
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            f"writing DICOM needs the Python package highdicom ({error}); install it with 'pip install highdicom' (in "
            "Slicer's Python console: slicer.util.pip_install('highdicom')), or segment without --dicom."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what highdicom and pydicom say of values: their sentences quote the patient's."""
    loggers = [logging.getLogger(name) for name in ("highdicom", "pydicom")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
