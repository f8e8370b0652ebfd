"""What each ablation compares: networks side by side, on the same data, steps and resolution.

The settings are written out here and not taken from the configurations of the checkpoints: rows measured months apart
must have been trained alike.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

from ..fitting.config import Stage, TrainingConfig
from .comparison import Ablation, Row


def _base(
    task: str, classes: list[str], fit: dict, intensity: dict, augmentation: dict, epochs: int = 8, **more: Any
) -> TrainingConfig:
    """One stage, of epochs of 512 slices; a quarter of the cases is kept aside to measure on.

    In so few steps the weights still move fast: averaged over a hundred they would not fit their batch statistics.
    """
    return TrainingConfig(
        checkpoint=f"{task}-ablation",
        task=task,
        network={},
        classes=classes,
        intensity=intensity,
        stages=[Stage(fit, epochs)],
        augmentation=augmentation,
        **{"validation_share": 0.25, "tau_budget": 0.1, "ema": 0.9, **more},
    )


_ZSCORE = {"method": "zscore", "percentiles": [0.5, 99.5]}
_SCANNER = {"rotation": 15, "shift": 0.1, "shear": 0.1, "field_of_view": 0.6, "bias_field": 0.3, "brightness": 0.2}
# So few steps teach little under the strong augmentation of the checkpoints.
_LIGHT = {"rotation": 10, "scale": [0.85, 1.2], "shift": 0.08, "brightness": 0.2, "noise": 0.05}
_prostate = partial(_base, "prostate", ["prostate"], intensity=_ZSCORE, augmentation={**_LIGHT, "flip": True})
SMALL_PROSTATE = _prostate({"fit": "spacing", "mm": 2.0, "size": 96}, epochs=6)
SHORT_PROSTATE = _prostate({"fit": "spacing", "mm": 1.5, "size": 128}, epochs=5, batch_size=4)
CHAOS = _base(
    "abdomen",
    ["liver", "right kidney", "left kidney", "spleen"],
    {"fit": "spacing", "mm": 3.0, "size": 128},
    _ZSCORE,
    {**_SCANNER, "scale": [0.75, 1.35], "noise": 0.1, "blur": 1.0},
)
KVASIR = _base(
    "polyp",
    ["polyp"],
    {"fit": "stretch", "size": 128},
    {"method": "window", "low": 0, "high": 255},
    {"rotation": 180, "scale": [0.7, 1.4], "shift": 0.1, "flip": "both", "brightness": 0.2, "colour": 0.12},
    in_channels=3,
    validation_share=0.15,
)
SHORT_SKIN = _base(
    "skin",
    ["skin lesion"],
    {"fit": "stretch", "size": 128},
    {"method": "window", "low": 0, "high": 255},
    {**_LIGHT, "rotation": 180, "flip": "both"},
    epochs=6,
    in_channels=3,
    validation_share=0.1,
)
PROSTATE_DATA, CHAOS_DATA = "prostate/promise12_train", "abdomen_mri/chaos_t2spir"
KVASIR_DATA, SKIN_DATA = "polyp/kvasir_seg", "skin/isic2017_train"


def _key_value_rows(**network: Any) -> tuple[Row, ...]:
    named = (("QKV", "qkv"), ("KV", "kv"), ("KV+Pos", "kv-pos"))
    return tuple(Row(label, {**network, "attention": attention}) for label, attention in named)


def _klo_lite_rows() -> tuple[Row, ...]:
    """KLO-Lite as it ships for photographs, CT and abdominal MR, and without one thing at a time."""
    whole = _KLO_LITE
    return (
        Row("KLO-Lite (as shipped)", whole),
        Row("encoder to H / 16 alone", {**whole, "deep": False}),
        Row("no attention", {**whole, "attention": False}),
        Row("tau drawn to 1/2, not to the error", whole, {"tau_error": 0.0, "tau_budget": 0.1}),
        Row("tau left alone", whole, {"tau_error": 0.0}),
        Row("no losses on subsets of heads", whole, {"subsets": 0.0}),
        Row("from scratch", whole, {"pretrained": "", "encoder_rate": 1.0}),
    )


_KLO_LITE = {"name": "klo-lite", "presence": True, "deep_supervision": True}
_LITE = {
    "pretrained": "efficientnet-lite0",
    "encoder_rate": 0.3,
    "subsets": 1.0,
    "presence": 0.1,
    "tau_error": 0.2,
    "tau_budget": 0.0,
    "ema": 0.99,
}

ABLATIONS: dict[str, Ablation] = {
    "klo-rows": Ablation(
        "The four rows of KLO-Net, and a boundary loss",
        "What do the CSP encoder and the dynamic k-NN attention each add to the U-Net? And does a loss that counts "
        "errors by their distance from the boundary help at the prostate's base, the paper's weak spot? All "
        "at half the paper's width.",
        PROSTATE_DATA,
        SMALL_PROSTATE,
        rows=(
            Row("U-Net", {"name": "unet", "width": 16}),
            Row("+ CSP encoder", {"name": "csp-unet", "width": 16}),
            Row("+ dynamic k-NN attention", {"name": "knn-unet", "width": 16}),
            Row("KLO-Net (both)", {"name": "klo-net", "width": 16}),
            Row("KLO-Net, boundary loss", {"name": "klo-net", "width": 16}, {"boundary": 1.0}),
        ),
        seeds=3,
        finding="With the CSP encoder every seed is worse than with the U-Net's own (Dice by 0.11 to 0.14; with "
        "the attention by 0.07 to 0.15), against what the paper reports after a long training at twice the "
        "width: here it learns more slowly. Dynamic k-NN attention leaves the U-Net's Dice where it was "
        "(-0.007 to +0.005, seed by seed; HD95 1 to 2 pixels more) and that of the CSP network open "
        "(-0.020 to +0.049, the base better in every seed, by 0.01 to 0.08). The boundary loss gains in "
        "two seeds and loses in one (+0.022, +0.017, -0.084); the checkpoints go without it.",
    ),
    "kv": Ablation(
        "QKV, KV and KV+Pos attention in SETR",
        "Does attention without a query segment as well? The paper's data (UW-Madison) are not to be had.",
        CHAOS_DATA,
        replace(CHAOS, learning_rate=5e-4, tau_budget=0.0, ema=0.99),
        rows=_key_value_rows(name="setr", width=128, decoder_width=64),
        seeds=3,
        finding="Without a query the Dice is the same, with fewer parameters: seed by seed KV and KV+Pos differ from "
        "QKV by 0.02 at most, in either direction. Their outlines stray farther: the HD95 of KV is 5 to 12 mm more in "
        "every seed, that of KV+Pos 12 to 17 mm more in two of three.",
    ),
    "kv-conv": Ablation(
        "QKV, KV and KV+Pos attention in SETR with a convolutional encoder",
        "The same question where a ResNet stem comes before the transformer. On skin lesions, which it learns in "
        "fewer steps than the abdomen.",
        SKIN_DATA,
        SHORT_SKIN,
        rows=_key_value_rows(name="setr-conv", width=128),
        finding="Neither form without a query has a lower Dice than QKV; one seed cannot say that they are better.",
    ),
    "kv-cvt": Ablation(
        "QKV, KV and KV+Pos attention in SETR with a CvT encoder",
        "The same question in CvT. KV needs a key at every position; QKV at stride 1 is the fair comparison, and at "
        "stride 2 what CvT published. On skin lesions, see SETR-conv.",
        SKIN_DATA,
        SHORT_SKIN,
        rows=(
            *_key_value_rows(name="setr-cvt", width=24),
            Row("QKV, stride 2", {"name": "setr-cvt", "width": 24, "attention": "qkv", "kv_stride": 2}),
            Row("KV, stride 2", {"name": "setr-cvt", "width": 24, "attention": "kv", "kv_stride": 2}),
        ),
        finding="As in SETR-conv, no form without a query has a lower Dice than QKV at the same stride; one seed "
        "cannot say that they are better.",
    ),
    "placement": Ablation(
        "Where KLO-Net's attention is",
        "Which encoder level gains from dynamic k-NN attention? Two heads and batches of 4 in every row, so that the "
        "4096 positions of stage 2 fit into memory.",
        PROSTATE_DATA,
        SHORT_PROSTATE,
        rows=(
            Row("none", {"name": "csp-unet", "width": 16}),
            *(
                Row(label, {"name": "klo-net", "width": 16, "heads": 2, "attention_stages": stages})
                for label, stages in (
                    ("stage 2", ["stage2"]),
                    ("stage 3", ["stage3"]),
                    ("stage 4", ["stage4"]),
                    ("bottleneck", ["bottleneck"]),
                    ("stage 4 and bottleneck", ["stage4", "bottleneck"]),
                )
            ),
        ),
        finding="After so few steps no place gains: without attention the Dice is 0.629, with it 0.592 to 0.628, and "
        "the seeds of one network are farther apart in klo-rows. One seed cannot choose a place; stage 2 alone costs "
        "more than twice the operations.",
    ),
    "k-grid": Ablation(
        "k_min and k_max of KLO-Net",
        "How many neighbours are worth having, and does tau use the room it is given? At 128 pixels stage 4 has 256 "
        "positions and the bottleneck 64.",
        PROSTATE_DATA,
        SHORT_PROSTATE,
        rows=tuple(
            Row(f"k {low} to {high}", {"name": "klo-net", "width": 16, "k_min": low, "k_max": high})
            for low, high in product((4, 16), (32, 128))
        ),
        finding="One seed cannot choose between the rows: the seeds of one network are as far apart in klo-rows (at 96 "
        "pixels). At the bottleneck k_max 128 has no room: more than a third of the positions attend to all 64 there "
        "are.",
    ),
    "km-scan": Ablation(
        "The scan of KM-UNet's SEM",
        "Does the selective scan do more than a depthwise 7 x 7 convolution in its place?",
        KVASIR_DATA,
        KVASIR,
        rows=(
            Row("selective scan", {"name": "km-unet"}),
            Row("convolution", {"name": "km-unet", "scan": "convolution"}),
        ),
    ),
    "km-kan": Ablation(
        "KAN against MLP in KM-UNet",
        "Does a KAN in the token blocks do more than a linear layer in its place? It has ten times the numbers.",
        KVASIR_DATA,
        KVASIR,
        rows=(Row("KAN", {"name": "km-unet"}), Row("MLP", {"name": "km-unet", "basis": "mlp"})),
    ),
    "km-spiral": Ablation(
        "Cross against spiral scan in KM-UNet",
        "The paper's words (a spiral from the outside to the centre) against its code (rows and columns), on pictures "
        "of several organs, most of them off the centre.",
        CHAOS_DATA,
        CHAOS,
        rows=(Row("cross", {"name": "km-unet"}), Row("spiral", {"name": "km-unet", "scan": "spiral"})),
    ),
    "vmkla-decoder": Ablation(
        "Decoder blocks of VMKLA-UNet",
        "Which part of the MKCSA block helps? A sixth of the paper's width, encoder depths 2-2-2-2.",
        KVASIR_DATA,
        replace(KVASIR, learning_rate=5e-4),
        rows=(
            Row("VM-UNet (SS2D)", {"name": "vm-unet", "width": 16}),
            *(
                Row(label, {"name": "vmkla-unet", "width": 16, "depths": [2, 2, 2, 2], "variant": variant})
                for label, variant in (
                    ("MLLA", "mlla"),
                    ("MLLA with KAN", "mkla"),
                    ("channel and spatial attention alone", "csa"),
                    ("MLLA with channel and spatial attention", "mlcsa"),
                    ("MKCSA (all)", "mkcsa"),
                )
            ),
        ),
    ),
    "klo-lite": Ablation(
        "KLO-Lite without one thing at a time: prostate",
        "What do the pretrained encoder, its depth, the attention, the losses on subsets of heads and the term that "
        "draws tau towards the network's own error each give, and what does tau then tell?",
        PROSTATE_DATA,
        replace(_prostate({"fit": "spacing", "mm": 1.5, "size": 128}, epochs=10), **_LITE),
        rows=(
            *_klo_lite_rows(),
            Row("with the adjacent slices (2.5D)", _KLO_LITE, {"adjacent": 3.0}),
            Row("to H / 16, with the adjacent slices", {**_KLO_LITE, "deep": False}, {"adjacent": 3.0}),
        ),
        seeds=3,
        finding="The pretrained weights give most: without them these few steps teach nothing. The adjacent slices "
        "come next (+0.046, +0.035, -0.014, seed by seed; with the encoder to H / 16 +0.035, +0.041, -0.008), "
        "most of it at the base. The encoder to H / 16 alone loses 0.006, 0.009 and 0.024. The attention "
        "gives nothing (-0.022, +0.003, +0.024), nor do the losses on subsets of heads (-0.014, -0.003, "
        "+0.003). Drawing tau to the error rather than to 1/2 costs 0.020, 0.009 and -0.001; after so few "
        "steps tau follows it more on the finest grid alone (0.16 for 0.06; on the next 0.28 for 0.39).",
    ),
    "klo-lite-polyp": Ablation(
        "KLO-Lite without one thing at a time: polyps",
        "The same questions on colour pictures.",
        KVASIR_DATA,
        replace(KVASIR, **_LITE, loss="structure"),
        rows=_klo_lite_rows(),
        seeds=3,
        finding="The pretrained weights give most by far: without them these few steps teach next to nothing. The "
        "losses on subsets of heads come next (+0.019, +0.014, +0.016, seed by seed). The attention gives nothing "
        "(+0.001, +0.009, -0.012), and the encoder to H / 16 alone, with a quarter of the parameters, does as well "
        "(+0.002, -0.003, +0.015). Without the term that draws tau to the error the Dice is as good; tau then follows "
        "the error more on the two finer grids and not at all at the deepest level (0.02 for 0.19).",
    ),
    "adapt": Ablation(
        "A checkpoint adapted to few cases of another data set",
        "How much does a hospital gain that starts from a checkpoint (`train --from`) instead of from nothing? The "
        "checkpoint learned from 32 volumes of PROMISE12; the cases here are of another data set, whose volumes its "
        "authors blurred for teaching. So the figures compare two ways to learn, and tell nothing of how good the "
        "checkpoint is. All else is alike; the cases of a smaller number are some of those of a larger one.",
        "prostate/ucl_mrus_t2",
        _prostate({"fit": "spacing", "mm": 1.0, "size": 112}, epochs=6),
        rows=tuple(
            Row(f"{cases} cases, {way}", {"name": "knn-unet", "width": 16}, {"training_cases": cases}, start)
            for cases in (5, 10, 20)
            for way, start in (("from nothing", ""), ("from the checkpoint", "prostate-knn-unet"))
        ),
        seeds=3,
        finding="Each number of cases gains from the checkpoint, in each of three seeds: 5 cases 0.084, 0.078 and "
        "0.068, 10 cases 0.035, 0.052 and 0.019, 20 cases 0.039, 0.040 and 0.046. With 5 cases and the "
        "checkpoint the Dice (0.818) is about that of 20 cases from nothing (0.807).",
    ),
    "peer": Ablation(
        "KLO-Net beside MONAI's U-Nets",
        "The same data, steps and machine for the networks people use. DynUNet is the plain 2-D network of nnU-Net, "
        "without nnU-Net's planning and schedule.",
        PROSTATE_DATA,
        SMALL_PROSTATE,
        rows=(
            Row("KLO-Net, width 16 (as shipped)", {"name": "klo-net", "width": 16}),
            Row("U-Net, width 16", {"name": "unet", "width": 16}),
            Row("MONAI BasicUNet", {"name": "monai-basic-unet"}),
            Row("MONAI DynUNet", {"name": "monai-dyn-unet"}),
        ),
        finding="After so few steps KLO-Net is not ahead of the plain networks, and the U-Net whose encoder it "
        "replaces is ahead of it. The first two lines are runs of klo-rows (seed 0): the same settings.",
    ),
}
"""Name of the command -> what it compares."""
