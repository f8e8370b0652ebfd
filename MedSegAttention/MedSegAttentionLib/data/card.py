"""The card of a checkpoint: what it segments, what it takes, where it comes from, how well it was measured to work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .labels import Label

FLIPS = ("horizontal", "vertical")
"""Mirror images: left and right exchanged, top and bottom exchanged."""

KINDS_WITH_ROWS = ("tau", "k", "received")
"""Maps that sum up the attention of each place to all others; behind the rest no single place attends to another."""


ALSO_TAKEN = {"XC": ("DMS", "GM", "OT"), "ES": ("OT",)}
"""Modality of a card -> others that DICOM has for such pictures: dermoscopy, general microscopy, "other"."""


@dataclass(frozen=True)
class AttentionMap:
    """An attention map a checkpoint can give.

    Attributes:
        name: key in results and file names, e.g. ``"tau_stage4"``.
        title: what the panel shows, e.g. ``"tau, stage 4"``.
        meaning: one or two sentences: what the map means, and what it does not.
        range: values it can take; display always uses these two numbers, never the range of one image.
    """

    name: str
    title: str
    meaning: str
    range: tuple[float, float] = (0.0, 1.0)

    @property
    def stage(self) -> str:
        """Attention stage the map comes from: ``stage4`` for ``tau_stage4`` and for ``k_stage4``."""
        return self.name.split("_", 1)[-1]

    @property
    def has_rows(self) -> bool:
        """Whether its stage can show what one place attends to."""
        return self.name.split("_", 1)[0] in KINDS_WITH_ROWS


UNCERTAINTY = AttentionMap(
    "uncertainty",
    "uncertainty",
    "Entropy of the calibrated prediction over its largest possible value: 0 where the network is sure of one class, 1 "
    "where all classes are equally likely. It marks where the outline may be wrong; an error that the network is sure "
    "of it cannot show.",
)
"""Of every checkpoint, and the first to look at."""


PROBABILITY = "probability_"
"""How the names of maps of a probability begin."""


def probability_map(label: Label) -> AttentionMap:
    """The calibrated probability of one class, on the grid of the image."""
    return AttentionMap(
        f"{PROBABILITY}{label.name.replace(' ', '_')}",
        f"probability of {label.name}",
        f"Calibrated probability that a place belongs to: {label.name}. At 0.5 of a single class lies its outline.",
    )


@dataclass(frozen=True)
class Card:
    """Everything known about a checkpoint but its weights.

    Attributes:
        id: ``TASK[-MODALITY]-NETWORK``, the name of its folder.
        version: of the checkpoint.
        task: what it is for, one word in small letters (words joined by ``-``); see :mod:`.task`.
        title: one line for a list.
        description: what it segments and in which images, for a radiologist.
        modality: DICOM Modality it takes: ``CT``, ``MR``, ``XC`` (photograph) or ``ES`` (endoscopy).
        network: name for :func:`~..networks.build_network`.
        network_config: its options.
        in_channels: of an image: 1 for grey, 3 for colour.
        activation: ``sigmoid`` (one channel) or ``softmax`` (channel 0 is background).
        labels: the classes, in the order of the output channels.
        orientation: ``axial``, ``coronal`` or ``sagittal``: how slices are cut.
        intensity: see :func:`~..inference.intensity.measure`.
        fit: see :func:`~..inference.fitting.plan_fit`.
        expects: ``{"minimum": [low, high], "maximum": [low, high]}``: where the smallest and the largest value of a
            volume (clipped to the window, for CT) must lie; null for no bound.
        postprocessing: ``{"largest_component": true}`` keeps the largest connected piece of each class.
        attention: the maps it can give.
        training_data: what it was trained on, each ``{"name", "cases", "terms", "citation"}``, of runs that kept a
            record also ``kept_aside`` (cases) and ``folder``.
        license: one line; the full text is the checkpoint's LICENSE file.
        limits: known failures, one sentence each.
        metrics: measured figures by data set and split, of ``evaluate``; ``calibration`` among them is of
            ``reliability``, ``learned_from`` says that it learned from these cases, or may have. Empty: not measured.
        flips: mirror images of a slice that are as good as the slice, some of :data:`FLIPS`: those the network was
            trained on. None where left and right tell organs apart.
        presence: how a class is judged to be in a slice at all, ``{"weights": {feature: number}, "bias": number,
            "thresholds": [one for each class], "measured": {...}}``, see :mod:`~..inference.presence`; a class whose
            score lies below its threshold is left out of the slice. Empty: never.
        quality: how the expected Dice of a segment follows from its probabilities, see
            :mod:`~..inference.quality`. Empty: none is shown.
        familiar: ``{"threshold", "sha256", "cases", "kept_aside"}``: from which distance on an image counts as unlike
            those of the training, see :mod:`~..inference.familiarity`, and the hash of the file beside the weights that
            the distance is computed from. Empty: not judged.
        sizes: class -> smallest and largest volume in mL of the training cases that hold it whole; empty for pictures.
        adjacent: mm from a slice to those below and above it that the network sees beside it, as further channels; 0
            for a network that sees one slice alone.
        smoothing: ``{"mm": distance, "weight": number}``: the logits of a slice are averaged with those of the slices
            below and above at this distance (at least the next ones), which count ``weight`` times as much as its own,
            see :mod:`~..inference.outputs`. Empty: each slice by itself.
        temperature: what logits are divided by to make probabilities mean what they say; 1 where none was fitted.
        weights_sha256: of ``models/model.safetensors``.
        default: its task takes this one of its modality when none is named.
        task_title: what a user reads for a task that is not built in; empty for its name.
        training: how the run went, from its own record: ``recorded``, ``epochs``, ``chosen_epoch``, ``configuration``,
            ``project_version``, ``commit``, ``pretrained`` and more. ``{"recorded": false}`` where nothing is known of
            it; empty for cards that are older than the records of runs.
        network_package: ``"NAME VERSION"`` of the package that offers the network; empty for one of ours.
    """

    id: str
    version: str
    task: str
    title: str
    description: str
    modality: str
    network: str
    network_config: dict[str, Any]
    in_channels: int
    activation: str
    labels: tuple[Label, ...]
    orientation: str
    intensity: dict[str, Any]
    fit: dict[str, Any]
    expects: dict[str, list[float | None]]
    postprocessing: dict[str, Any]
    attention: tuple[AttentionMap, ...]
    training_data: tuple[dict[str, Any], ...]
    license: str
    limits: tuple[str, ...]
    weights_sha256: str
    metrics: dict[str, Any] = field(default_factory=dict)
    flips: tuple[str, ...] = ()
    presence: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    familiar: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, list[float]] = field(default_factory=dict)
    adjacent: float = 0.0
    smoothing: dict[str, float] = field(default_factory=dict)
    temperature: float = 1.0
    default: bool = False
    task_title: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    network_package: str = ""

    @property
    def maps(self) -> tuple[AttentionMap, ...]:
        """All maps that a run can give: uncertainty, the probability of each class, attention."""
        return (UNCERTAINTY, *(probability_map(label) for label in self.labels), *self.attention)

    @property
    def network_channels(self) -> int:
        """Input channels of the network: those of the image, of three slices where it sees the adjacent ones."""
        return self.in_channels * (3 if self.adjacent else 1)

    @property
    def out_channels(self) -> int:
        """Output channels of the network: one with a sigmoid, else background and the classes."""
        return 1 if self.activation == "sigmoid" else 1 + len(self.labels)

    def takes_modality(self, modality: str | None) -> bool:
        """Whether images of this DICOM Modality are what it was trained on; one that is not known may be."""
        return modality in (None, "", self.modality, *ALSO_TAKEN.get(self.modality, ()))

    @property
    def passes_with_flips(self) -> int:
        """How often the network runs for a slice with test-time flips: once for every combination of :attr:`flips`."""
        return 2 ** len(self.flips)


def is_distance(value: Any) -> bool:
    """Whether a value from a file is a number of mm, 0 or more."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def default_checkpoints(cards: list[Card], task: str) -> list[Card]:
    """Those of ``cards`` a task takes when none is named: of each modality the first default, without one the first."""
    chosen: dict[str, Card] = {}
    for card in sorted((card for card in cards if card.task == task), key=lambda card: not card.default):
        chosen.setdefault(card.modality, card)
    return list(chosen.values())
