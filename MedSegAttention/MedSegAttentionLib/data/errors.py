"""Every error a user can meet. Each message names the value, what was expected, and what to do next."""

from __future__ import annotations


class MedSegAttentionError(Exception):
    """Base of all errors this package raises on purpose."""


class InputError(MedSegAttentionError, ValueError):
    """The volume, file or option given cannot be used."""


class UsageError(InputError):
    """An option that can never work, whatever the volume."""


class CheckpointError(MedSegAttentionError):
    """A checkpoint is missing, incomplete, altered, or of a kind this version does not know."""


class ContractWarning(InputError):
    """The input lies outside what the checkpoint was trained on; ``force`` runs it all the same."""


class RunError(MedSegAttentionError):
    """The run itself failed, not its input: the worker process ended or hung, the disk is full, a defect.

    Attributes:
        details: traceback or last output of the worker; may be empty.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class Cancelled(MedSegAttentionError):
    """The user stopped the run."""


class DependencyError(MedSegAttentionError, ImportError):
    """A Python package that inference needs is missing or half installed."""


class RestartNeeded(MedSegAttentionError):
    """The installation goes on after Slicer has been restarted."""


class ArchiveError(MedSegAttentionError):
    """An archive cannot be reached, refuses, falls silent, or does not send or take all; what came is kept."""


class IncompleteTransfer(ArchiveError):
    """Some instances did not come or were not taken, while the archive answers: others may still work."""
