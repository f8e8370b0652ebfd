"""The data sets that ``prepare`` knows: where each is had, under which terms, how its download is laid out.

Terms were written down from the data sets' own pages as far as they could be read; what was not re-checked says so. The
terms that count are those shown at the download.
"""

from __future__ import annotations

from dataclasses import dataclass

Labels = dict[str, "int | list[int]"]
PICTURE: Labels = {"background": 0}
BTCV_LABELS: Labels = {
    "background": 0,
    "spleen": 1,
    "right kidney": 2,
    "left kidney": 3,
    "gallbladder": 4,
    "esophagus": 5,
    "liver": 6,
    "stomach": 7,
    "aorta": 8,
    "inferior vena cava": 9,
    "portal and splenic vein": 10,
    "pancreas": 11,
    "right adrenal gland": 12,
    "left adrenal gland": 13,
}
CHAOS_LABELS: Labels = {"background": 0, "liver": 1, "right kidney": 2, "left kidney": 3, "spleen": 4}
CHAOS_TERMS = "CC BY-NC-SA 4.0; registration at grand-challenge.org"
CHAOS_CITATION = "Kavur et al., CHAOS Challenge, Medical Image Analysis 69, 2021"
CHAOS_HOME = "https://chaos.grand-challenge.org"
ISIC_TERMS = "CC-0 for most images (not re-checked); each image's licence is in the ISIC archive"


@dataclass(frozen=True)
class DataSource:
    """One data set.

    Attributes:
        title: its own name.
        labels: class name -> mask value, or the values that make it up together.
        channel: what the images show, as nnU-Net's ``channel_names`` says it.
        home: page of the download.
        terms: under which it may be used.
        citation: what its authors ask to be cited.
        layout: files that ``prepare`` expects below SOURCE.
        unit: what the split keeps together.
        doubts: what to know before figures are reported, or "".
        spacing_is_real: whether distances in mm mean anything.
        test_share: share of the units drawn for test where no published split is used.
    """

    title: str
    labels: Labels
    channel: str
    home: str
    terms: str
    citation: str
    layout: str
    unit: str = "patient"
    doubts: str = ""
    spacing_is_real: bool = True
    test_share: float = 0.2


def _picture(title: str, label: str, channel: str, **about: str | float) -> DataSource:
    labels = {**PICTURE, label: 255}
    return DataSource(title, labels, channel, **{"unit": "picture", "spacing_is_real": False, **about})


SOURCES: dict[str, DataSource] = {
    "promise12": DataSource(
        "PROMISE12",
        {"background": 0, "prostate": 1},
        "T2 MRI",
        "https://promise12.grand-challenge.org",
        "challenge data, registration; research (redistribution not confirmed)",
        "Litjens et al., Medical Image Analysis 18, 2014",
        "CaseXX.mhd with CaseXX.raw, and CaseXX_segmentation.mhd with its .raw beside them",
        doubts="several centres and vendors; endorectal coils in many",
    ),
    "prostatex": DataSource(
        "PROSTATEx, whole-gland masks of Cuocolo et al.",
        {"background": 0, "prostate": 1},
        "T2 MRI",
        "https://www.cancerimagingarchive.net/collection/prostatex, masks: https://github.com/rcuocolo/PROSTATEx_masks",
        "images: CC BY 3.0 by TCIA (not re-checked); masks: CC BY 4.0",
        "Litjens et al., IEEE TMI 33, 2014 (doi 10.7937/K9TCIA.2017.MURS5CL); Cuocolo et al., Eur J Radiol 138, 2021",
        "Files/prostate/ of the masks' repository: mask_prostate/ProstateX-NNNN.nii.gz, and the T2 images either as "
        "Images/ProstateX-NNNN_t2_tse_tra_S.nii.gz beside it, or as DICOM below a folder ProstateX-NNNN (TCIA's own "
        "layout), chosen by series number S from image_list.csv",
        doubts="the masks are of the training cases of the challenge",
    ),
    "prostate158": DataSource(
        "Prostate158",
        {"background": 0, "prostate": [1, 2], "central gland": 1, "peripheral zone": 2},
        "T2 MRI",
        "https://doi.org/10.5281/zenodo.6481141 (training), https://doi.org/10.5281/zenodo.6592345 (test)",
        "Creative Commons, variant not confirmed",
        "Adams et al., Computers in Biology and Medicine 148, 2022",
        "train/NNN/t2.nii.gz with t2_anatomy_reader1.nii.gz, and test/NNN/ likewise; train.csv, valid.csv and test.csv "
        "(column ID) give the published split",
        doubts="reader 1; the images were resampled by the publishers",
    ),
    "isic2017": _picture(
        "ISIC 2017, part 1",
        "skin lesion",
        "RGB dermoscopy",
        home="https://challenge.isic-archive.com/data/#2017",
        terms=ISIC_TERMS,
        citation="Codella et al., ISBI 2018 (arXiv 1710.05006)",
        layout="ISIC-2017_Training_Data/ISIC_NNNNNNN.jpg with "
        "ISIC-2017_Training_Part1_GroundTruth/ISIC_NNNNNNN_segmentation.png; likewise Validation and Test_v2",
        doubts="patients are not named; ISIC_0012290 and ISIC_0013594 are one picture, both for training",
    ),
    "isic2018": _picture(
        "ISIC 2018, task 1",
        "skin lesion",
        "RGB dermoscopy",
        home="https://challenge.isic-archive.com/data/#2018",
        terms="CC BY-NC 4.0 (not re-checked)",
        citation="Codella et al., arXiv 1902.03368; Tschandl et al., Scientific Data 5, 2018",
        layout="ISIC2018_Task1-2_Training_Input/ISIC_NNNNNNN.jpg with "
        "ISIC2018_Task1_Training_GroundTruth/ISIC_NNNNNNN_segmentation.png; likewise Validation and Test",
        doubts="shares many pictures with ISIC 2017: never test a network trained on the one with the other",
    ),
    "ph2": _picture(
        "PH2",
        "skin lesion",
        "RGB dermoscopy",
        home="https://www.fc.up.pt/addi/ph2%20database.html",
        terms="research and education (not re-checked)",
        citation="Mendonca et al., EMBC 2013",
        layout="PH2 Dataset images/IMDNNN/IMDNNN_Dermoscopic_Image/IMDNNN.bmp with IMDNNN_lesion/IMDNNN_lesion.bmp",
        doubts="all cases are test, as an external set, unless --test-share says otherwise",
        test_share=1.0,
    ),
    "kvasir-seg": _picture(
        "Kvasir-SEG",
        "polyp",
        "RGB endoscopy",
        home="https://datasets.simula.no/kvasir-seg",
        terms="research and education (not re-checked)",
        citation="Jha et al., MMM 2020",
        layout="images/NAME.jpg with masks/NAME.jpg",
        doubts="patients are not named; three pairs are the same picture, which a draw may part",
    ),
    "cvc-clinicdb": _picture(
        "CVC-ClinicDB",
        "polyp",
        "RGB endoscopy",
        home="https://polyp.grand-challenge.org/CVCClinicDB",
        terms="research (not re-checked)",
        citation="Bernal et al., Computerized Medical Imaging and Graphics 43, 2015",
        layout="Original/N.tif with Ground Truth/N.tif, N from 1 to 612 (or .png)",
        unit="sequence",
        doubts="frames of a film resemble each other: expect lower figures than papers that split frame by frame",
    ),
    "btcv": DataSource(
        "BTCV (Synapse multi-organ)",
        BTCV_LABELS,
        "CT",
        "https://www.synapse.org/#!Synapse:syn3193805",
        "registration; research (CC BY 4.0 by some surveys, not re-checked)",
        "Landman et al., MICCAI Multi-Atlas Labeling Beyond the Cranial Vault, 2015",
        "RawData/Training/img/imgNNNN.nii.gz with RawData/Training/label/labelNNNN.nii.gz",
        doubts="the split is that of TransUNet (18 and 12 cases), which the papers on 'Synapse' share",
    ),
    "chaos": DataSource(
        "CHAOS, T2-SPIR",
        CHAOS_LABELS,
        "T2-SPIR MRI",
        CHAOS_HOME,
        CHAOS_TERMS,
        CHAOS_CITATION,
        "Train_Sets/MR/N/T2SPIR/DICOM_anon/*.dcm with T2SPIR/Ground/*.png, one for each slice in the order of names",
    ),
    "chaos-t1dual": DataSource(
        "CHAOS, T1-DUAL",
        CHAOS_LABELS,
        "T1-DUAL MRI",
        CHAOS_HOME,
        CHAOS_TERMS,
        CHAOS_CITATION,
        "Train_Sets/MR/N/T1DUAL/DICOM_anon/InPhase/*.dcm and OutPhase/*.dcm with T1DUAL/Ground/*.png",
        doubts="both phases become cases; they share one reference and stay on one side of the split",
    ),
    "uw-madison": DataSource(
        "UW-Madison GI Tract",
        {
            "background": 0,
            "stomach": [1, 3, 5, 7],
            "large bowel": [2, 3, 6, 7],
            "small bowel": [4, 5, 6, 7],
        },
        "MRI",
        "https://www.kaggle.com/competitions/uw-madison-gi-tract-image-segmentation",
        "rules of the competition (not re-checked)",
        "Lee et al., Data in Brief 57, 2024 (doi 10.1016/j.dib.2024.111159)",
        "train/caseX/caseX_dayY/scans/slice_NNNN_W_H_SX_SY.png (16 bit) with train.csv (id, class, segmentation)",
        doubts="slices are taken to be 3 mm apart, which the files do not say, and the first slice to be the lowest; "
        "masks may overlap, hence the unions in labels; case7_day0 and case81_day30 are often left out as mislabelled",
    ),
}


def describe() -> str:
    """All data sets, a few lines each."""
    return "\n\n".join(
        f"{name}: {source.title} ({', '.join(label for label in source.labels if label != 'background')})\n"
        f"  from    {source.home}\n  terms   {source.terms}\n  cite    {source.citation}\n  expects {source.layout}"
        + (f"\n  note    {source.doubts}" if source.doubts else "")
        for name, source in SOURCES.items()
    )
