"""The licence of a checkpoint: shown and accepted once for each version of it."""

from __future__ import annotations

import re

import qt
import slicer
from slicer.i18n import tr as _

from ..data.card import Card

KEY = "MedSegAttention/AcceptedLicences/{checkpoint}@{version}"
"""Of the user's settings."""
LONGEST = 3000
"""Characters of a licence that fit a dialog; the rest is among its details."""
WRAPPED = re.compile(r"([^\n]{60,})\n(?=\w)")
"""A line that goes on in the next one."""


def licenceAccepted(card: Card, licence: str) -> bool:
    """Whether the user accepted the licence of this checkpoint earlier, or does now.

    Args:
        card: of the checkpoint.
        licence: full text.
    """
    key = KEY.format(checkpoint=card.id, version=card.version)
    if slicer.util.settingsValue(key, False, converter=slicer.util.toBool):
        return True
    text = _("First use of checkpoint {id}, version {version}. Its licence:\n\n{licence}\n\nDo you accept it?").format(
        id=card.id, version=card.version, licence=_flowing(licence[:LONGEST]).strip() or card.license
    )
    how = {"textFormat": qt.Qt.PlainText}  # else Qt takes a text with tags in it for a page of its own
    if len(licence) > LONGEST:
        how["detailedText"] = licence
    if not slicer.util.confirmOkCancelDisplay(text, _("Licence of {id}").format(id=card.id), **how):
        return False
    qt.QSettings().setValue(key, True)
    return True


def _flowing(text: str) -> str:
    """A text whose paragraphs are one line each: the dialog wraps them itself, and elsewhere than the file does."""
    return WRAPPED.sub(r"\1 ", text)
