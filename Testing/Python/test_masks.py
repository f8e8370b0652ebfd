"""Reference masks as people have them: soft, 0 and 1, with alpha, turned with their picture; and what is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionTraining.data.cases import read_case, read_folder
from MedSegAttentionTraining.data.preparation.saving import save_picture
from MedSegAttentionTraining.data.slices import fitted_slices
from small_checkpoint import write_checkpoint

SCALE = {"method": "window", "low": 0, "high": 255}
DISC = (np.add.outer((np.arange(64) - 30) ** 2, (np.arange(80) - 40) ** 2) < 300).astype(np.uint8)


@pytest.fixture
def a_folder(tmp_path: Path) -> Path:
    """A colour picture ``a``, and labels that say 255."""
    folder = tmp_path / "pictures"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    picture = np.repeat(DISC[..., None] * 200 + 20, 3, axis=-1).astype(np.uint8)
    Image.fromarray(picture).save(folder / "images" / "a.png")
    (folder / "dataset.json").write_text(json.dumps({"labels": {"polyp": 255}}))
    return folder


def reference(folder: Path) -> np.ndarray:
    data = read_folder(folder)
    return read_case(data, data.cases[0], ["polyp"])[1][0]


def soft() -> np.ndarray:
    image = Image.fromarray(DISC * 255).resize((160, 128), Image.Resampling.BILINEAR)
    return np.asarray(image.resize((80, 64), Image.Resampling.BILINEAR))


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("a.png", DISC * 255),
        ("a.png", DISC),
        ("a.jpg", DISC * 255),
        ("a.jpg", np.repeat(DISC[..., None] * 255, 3, -1)),
        ("a.png", np.dstack([DISC * 255] * 3 + [np.full_like(DISC, 255)])),
        ("a.png", soft()),
        ("a.bmp", DISC * 255),
    ],
)
def test_masks_of_one_class_are_cut_at_half(name, mask, a_folder):
    Image.fromarray(mask).save(a_folder / "masks" / name)
    found = reference(a_folder)
    assert 2 * (found & DISC).sum() / (found.sum() + DISC.sum()) > 0.99
    if name == "a.png" and mask.ndim == 2 and mask is not None and set(np.unique(mask)) <= {0, 1, 255}:
        np.testing.assert_array_equal(found, DISC)


def test_a_coloured_mask_is_refused_and_its_command_fails(a_folder, tmp_path, capsys):
    mask = np.zeros((*DISC.shape, 3), np.uint8)
    mask[DISC > 0] = 255, 0, 0
    Image.fromarray(mask).save(a_folder / "masks" / "a.png")
    with pytest.raises(InputError, match=r"a.png' is coloured, .*such as \(255, 0, 0\)"):
        reference(a_folder)
    checkpoint = write_checkpoint(
        tmp_path / "checkpoint",
        task="polyp",
        in_channels=3,
        labels=[
            {"name": "polyp", "colour": [9, 9, 9], "codes": {"category": ["a", "b", "c"], "type": ["a", "b", "c"]}}
        ],
    )
    assert main(["evaluate", "--checkpoint", str(checkpoint), "--data", str(a_folder)]) == 1
    assert "a.png' is coloured" in capsys.readouterr().err


def test_a_mask_in_the_transparency_is_refused(a_folder):
    white = np.full_like(DISC, 255, np.uint8)
    Image.fromarray(np.dstack([white, (DISC * 255).astype(np.uint8)]), "LA").save(a_folder / "masks" / "a.png")
    with pytest.raises(InputError, match=r"a.png' is transparent in places"):
        reference(a_folder)


def test_a_volume_of_probabilities_is_no_mask(tmp_path):
    for sub, array in (("images", DISC[None] * 100.0), ("labels", DISC[None] * 0.7)):
        (tmp_path / sub).mkdir()
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / sub / "a.nii.gz"))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"polyp": 1}}))
    with pytest.raises(InputError, match=r"a.nii.gz' has values between whole numbers, such as 0.7"):
        reference(tmp_path)


def test_two_files_for_one_case_are_refused(a_folder):
    Image.fromarray(DISC * 255).save(a_folder / "masks" / "a.png")
    Image.fromarray(DISC).save(a_folder / "images" / "a.jpg")
    with pytest.raises(InputError, match=r"images/a.jpg' and '.*images/a.png' are two files for one case"):
        read_folder(a_folder)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_photograph_and_its_upright_mask_belong_together(orientation, a_folder):
    """The camera stores the picture on its side; whoever drew the mask saw it upright."""
    upright = Image.open(a_folder / "images" / "a.png")
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    tags = Image.Exif()
    tags[0x0112] = orientation
    upright.transpose(back).save(a_folder / "images" / "a.png", exif=tags)
    Image.fromarray(DISC * 255).save(a_folder / "masks" / "a.png")
    data = read_folder(a_folder)
    image, mask = read_case(data, data.cases[0], ["polyp"])
    np.testing.assert_array_equal(mask[0], DISC)
    np.testing.assert_array_equal(image.array[0, ..., 0] > 100, DISC)


def test_segmentations_of_another_program_are_scored_by_the_same_rules(tmp_path, capsys):
    image = np.random.default_rng(0).random((3, *DISC.shape)).astype(np.float32)
    mask = np.stack([DISC * 0, DISC, DISC])
    shifted = np.roll(mask, 4, axis=2) * 7  # their value of the class
    for sub, array in (("data/images", image), ("data/labels", mask), ("theirs", shifted)):
        (tmp_path / sub).mkdir(parents=True)
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / sub / "a.nii.gz"))
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"labels": {"prostate": 1}}))
    words = ["evaluate", "--segmentations", str(tmp_path / "theirs"), "--data", str(tmp_path / "data")]
    words += ["--json", str(tmp_path / "report.json")]
    (tmp_path / "theirs" / "dataset.json").write_text(json.dumps({"labels": {"prostate": 7}}))
    assert main(words) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    wanted = 2 * ((shifted > 0) & (mask > 0)).sum() / ((shifted > 0).sum() + mask.sum())
    assert report["checkpoint"] == "theirs"
    assert report["mean"]["dice"] == pytest.approx(wanted)
    assert report["averages"]["per_slice"]["prostate"]["found_in_empty"] == 0
    (tmp_path / "theirs" / "a.nii.gz").unlink()
    assert main(words) == 1
    assert "no label map for 1 cases, 'a' among them" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "--data", str(tmp_path / "data")])


def test_every_mask_is_judged_not_the_first_alone(tmp_path, capsys, caplog):
    """One of a folder's masks has 255 where the others have 1: its Dice would be 0."""
    for sub in ("images", "labels"):
        (tmp_path / "data" / sub).mkdir(parents=True)
    for name, value in (("a", 1), ("b", 255)):
        image = np.random.default_rng(0).random((3, *DISC.shape)).astype(np.float32)
        sitk.WriteImage(sitk.GetImageFromArray(image), str(tmp_path / "data" / "images" / f"{name}.nii.gz"))
        mask = sitk.GetImageFromArray(np.stack([DISC * value] * 3))
        sitk.WriteImage(mask, str(tmp_path / "data" / "labels" / f"{name}.nii.gz"))
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"labels": {"prostate": 1}}))
    data = read_folder(tmp_path / "data")
    data.check_values()
    assert read_case(data, data.cases[0], ["prostate"])[1].any()
    with pytest.raises(InputError, match=r"labels/b.nii.gz' hold the values \[255\], and dataset.json knows \[1\]"):
        read_case(data, data.cases[1], ["prostate"])
    mixed = np.stack([DISC * 255] * 3)
    mixed[1] = DISC
    sitk.WriteImage(sitk.GetImageFromArray(mixed), str(tmp_path / "data" / "labels" / "a.nii.gz"))
    np.testing.assert_array_equal(read_case(data, data.cases[0], ["prostate"])[1][:, 30, 40], [0, 1, 0])
    assert "hold the values [255]" in caplog.text
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    assert main(["evaluate", "--checkpoint", str(checkpoint), "--data", str(tmp_path / "data")]) == 1
    assert "b.nii.gz' hold the values [255]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "mask", "told"),
    [
        ("a.png", DISC * 100, "no value above 100, less than half of white"),
        ("a.png", DISC * 2, "no value above 2, less than half of white"),
        ("a.tif", DISC * np.float32(np.nan), "values that are NaN"),
    ],
)
def test_a_mask_of_one_class_without_white_is_refused(name, mask, told, a_folder):
    Image.fromarray(mask).save(a_folder / "masks" / name)
    with pytest.raises(InputError, match=rf"{name}' has {told}"):
        reference(a_folder)


@pytest.mark.parametrize(
    ("name", "mask"),
    [("a.png", DISC.astype(np.uint16) * 65535), ("a.tif", DISC.astype(np.float32) * 0.8)],
)
def test_masks_of_other_number_types_are_cut_at_half_of_their_range(name, mask, a_folder):
    Image.fromarray(mask).save(a_folder / "masks" / name)
    np.testing.assert_array_equal(reference(a_folder), DISC)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_black_mask_says_that_nothing_is_there(name, a_folder):
    Image.fromarray(DISC * 0).save(a_folder / "masks" / name)
    assert not reference(a_folder).any()


def test_a_picture_mask_of_two_classes_must_be_exact(a_folder):
    (a_folder / "dataset.json").write_text(json.dumps({"labels": {"polyp": 127, "tool": 255}}))
    mask = DISC * 127
    mask[:9] = 255
    Image.fromarray(mask).save(a_folder / "masks" / "a.png")
    np.testing.assert_array_equal(reference(a_folder)[9:], DISC[9:])
    Image.fromarray(mask).save(a_folder / "masks" / "a.bmp")
    (a_folder / "masks" / "a.png").unlink()
    blurred = np.asarray(Image.fromarray(mask).resize((40, 32), Image.Resampling.BILINEAR).resize((80, 64)))
    Image.fromarray(blurred).save(a_folder / "masks" / "a.bmp")
    with pytest.raises(InputError, match=r"a.bmp' hold the values .*knows \[127, 255\]"):
        reference(a_folder)


def test_training_refuses_an_image_with_nan_by_its_name(tmp_path):
    from MedSegAttentionTraining.data.slices import fitted_slices

    image = np.random.default_rng(0).random((3, *DISC.shape)).astype(np.float32)
    image[1, 2, 3] = np.nan
    for sub, array in (("images", image), ("labels", np.stack([DISC] * 3))):
        (tmp_path / sub).mkdir()
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / sub / "a.nii.gz"))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"prostate": 1}}))
    data = read_folder(tmp_path)
    with pytest.raises(InputError, match=r"images/a.nii.gz' has 1 voxels that are NaN"):
        fitted_slices(
            data, data.cases[0], ["prostate"], {"method": "window", "low": 0, "high": 1}, {"fit": "stretch", "size": 32}
        )


def test_two_masks_of_one_case_are_refused(a_folder):
    Image.fromarray(DISC * 255).save(a_folder / "masks" / "a.png")
    (a_folder / "labels").mkdir()
    Image.fromarray(DISC * 0).save(a_folder / "labels" / "a.png")
    with pytest.raises(InputError, match=r"masks/a.png' and '.*labels/a.png' are two masks for one case"):
        read_folder(a_folder)


def test_a_link_that_leads_nowhere_is_no_case_that_is_left_out(a_folder):
    Image.fromarray(DISC * 255).save(a_folder / "masks" / "a.png")
    (a_folder / "images" / "b.png").symlink_to(a_folder / "gone.png")
    with pytest.raises(InputError, match=r"images/b.png' is a link that leads nowhere"):
        read_folder(a_folder)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"polyp": "255"}, "gives the class 'polyp' the value \"255\"; expected whole numbers above 0"),
        ({"polyp": [[255]]}, "the value [255]; expected whole numbers"),
        ({"polyp": None}, "the value null; expected whole numbers"),
        ({"polyp": 0}, "the value 0; expected whole numbers above 0"),
        ({"polyp": True}, "the value true; expected whole numbers"),
        ({"polyp": 0.5}, "the value 0.5; expected whole numbers"),
        ({"0": "background", "255": "polyp"}, "gives the class '0' the value \"background\""),
        ({"background": 0}, "names no class, or one twice"),
        ({"polyp": 255, "Polyp": 1}, "names no class, or one twice"),
        (["polyp"], "cannot be used"),
    ],
)
def test_labels_that_say_no_values_are_refused_with_the_name_of_the_class(labels, told, a_folder):
    Image.fromarray(DISC * 255).save(a_folder / "masks" / "a.png")
    (a_folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(InputError) as caught:
        read_folder(a_folder)
    assert str(caught.value).startswith(f"'{a_folder / 'dataset.json'}' ")
    assert told in str(caught.value)


def test_an_image_of_one_value_with_a_mask_is_refused(a_folder):
    Image.fromarray(DISC * 255).save(a_folder / "masks" / "a.png")
    Image.fromarray(np.full((*DISC.shape, 3), 9, np.uint8)).save(a_folder / "images" / "a.png")
    data = read_folder(a_folder)
    with pytest.raises(InputError, match=r"images/a.png' has one value everywhere, and its mask marks something"):
        fitted_slices(data, data.cases[0], ["polyp"], SCALE, {"fit": "stretch", "size": 32})


def test_a_mask_that_is_stored_turned_otherwise_than_its_picture_is_told(a_folder, caplog):
    tags = Image.Exif()
    tags[0x0112] = 3
    Image.fromarray(DISC * 255).save(a_folder / "masks" / "a.png")
    reference(a_folder)
    assert caplog.text == ""
    Image.open(a_folder / "images" / "a.png").save(a_folder / "images" / "a.png", exif=tags)
    reference(a_folder)
    assert "masks/a.png' and its image are stored turned differently (EXIF)" in caplog.text


@pytest.mark.parametrize("mask", [DISC, DISC * 255, soft()], ids=["0 and 1", "0 and 255", "soft"])
def test_prepare_writes_masks_as_they_are_meant(mask, a_folder, tmp_path):
    Image.fromarray(mask).save(a_folder / "masks" / "a.png")
    save_picture(tmp_path / "out", "a", a_folder / "images" / "a.png", a_folder / "masks" / "a.png")
    found = np.asarray(Image.open(tmp_path / "out" / "masks" / "a.png"))
    assert set(np.unique(found)) == {0, 255}
    assert (found != DISC * 255).mean() < 0.01


def test_prepare_refuses_what_is_not_whole_and_a_mask_that_means_nothing(a_folder, tmp_path):
    image, mask = a_folder / "images" / "a.jpg", a_folder / "masks" / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 80, 3)).astype(np.uint8)).save(image)
    Image.fromarray(DISC * 100).save(mask)
    with pytest.raises(InputError, match=r"masks/a.png' has no value above 100"):
        save_picture(tmp_path / "out", "a", image, mask)
    Image.fromarray(DISC * 255).save(mask)
    image.write_bytes(image.read_bytes()[:2000] + b"\xff\xd9")
    with pytest.raises(InputError, match=r"images/a.jpg' is cut short or damaged"):
        save_picture(tmp_path / "out", "a", image, mask)
    assert not (tmp_path / "out").exists()


def test_prepare_writes_mask_and_picture_upright_alike(a_folder, tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    image, mask = a_folder / "images" / "a.png", a_folder / "masks" / "a.png"
    Image.fromarray(DISC * 255).save(mask, exif=tags)
    Image.open(image).save(image, exif=tags)
    save_picture(tmp_path / "out", "a", image, mask)
    (tmp_path / "out" / "dataset.json").write_text((a_folder / "dataset.json").read_text())
    np.testing.assert_array_equal(reference(tmp_path / "out"), np.rot90(DISC, -1))
