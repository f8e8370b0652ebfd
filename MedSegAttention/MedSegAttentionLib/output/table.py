"""The sizes of a result as a table: for the clipboard and for spreadsheets."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import slicer

from ..data.errors import InputError
from ..scene.measure import measure
from ..scene.nodes import provenance_of

HEADINGS = ("segment", "size", "unit", "slices", "slices of image", "expected Dice", "findings")


def table_rows(segmentation_node: slicer.vtkMRMLSegmentationNode) -> list[list[str]]:
    """Headings, then a row for each segment and for each class that was not found.

    Raises:
        InputError: see :func:`~..scene.measure.measure`.
    """
    measured, expected = measure(segmentation_node), provenance_of(segmentation_node).get("expected", {})
    rows = [list(HEADINGS)]
    for segment in measured.segments:
        if segment.voxels:
            dice = expected.get(segment.name, {}).get("dice")
            size, findings = f"{segment.size:.4f}".rstrip("0").rstrip("."), " ".join(segment.findings)
            told = "" if dice is None else f"{dice:.3f}"
            rows.append(
                [segment.name, size, measured.unit, str(segment.slices), str(measured.slice_count), told, findings]
            )
    rows += [[name, "0", measured.unit, "0", str(measured.slice_count), "", "not found"] for name in measured.not_found]
    return rows


def table_text(segmentation_node: slicer.vtkMRMLSegmentationNode) -> str:
    """The table with tabs between columns, as spreadsheets paste it."""
    return "\n".join("\t".join(row) for row in table_rows(segmentation_node))


def write_table(segmentation_node: slicer.vtkMRMLSegmentationNode, path: str | Path) -> Path:
    """Write the table as CSV.

    Raises:
        InputError: a file that cannot be written.
    """
    return write_csv(table_rows(segmentation_node), path)


def write_csv(rows: list[list[str]], path: str | Path) -> Path:
    """Write rows as a CSV file with the byte order mark that spreadsheets need for accents.

    Raises:
        InputError: it cannot be written.
    """
    path, text = Path(path).absolute(), io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    try:
        path.write_text(text.getvalue(), encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror}); choose another folder or name.") from error
    return path
