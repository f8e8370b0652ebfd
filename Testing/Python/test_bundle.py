"""Checkpoints in MONAI's own tools: run, load, verify_metadata and verify_net_in_out."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, load, run, verify_metadata, verify_net_in_out
from monai.data import DataLoader, MetaTensor, load_net_with_metadata
from monai.transforms import Compose, EnsureChannelFirstd
from PIL import Image
from safetensors.torch import save

from MedSegAttentionLib import bundle
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.bundle.reading import volume_of
from MedSegAttentionLib.bundle.scripted import ScriptedNetwork
from MedSegAttentionLib.checkpoints.catalogue import SHIPPED, WEIGHTS_FILE, checkpoint_folders
from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.checkpoints.quantisation import quantised
from MedSegAttentionLib.checkpoints.weights import FAMILIAR_FILE
from MedSegAttentionLib.data.errors import ContractWarning, InputError, MedSegAttentionError, UsageError
from MedSegAttentionLib.files.reading import read_volume
from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.runner.in_process import RunSettings
from MedSegAttentionLib.runner.in_process import run as segment
from MedSegAttentionTraining.publishing import torchscript_export
from MedSegAttentionTraining.publishing.monai_files import inference, write_monai_files
from MedSegAttentionTraining.publishing.torchscript_export import SCRIPT_FILE, export_monai_label
from small_checkpoint import read_card_values, threshold_network, two_classes, write_card, write_checkpoint

SHIPPED_IDS = [folder.name for folder in checkpoint_folders() if folder.parent == SHIPPED]
TEXT, OBJECT = {"type": "string"}, {"type": "object"}
TENSOR = {
    "properties": {
        "num_channels": {"type": "integer"},
        "spatial_shape": {"items": {"type": ["string", "integer"]}},
        "dtype": TEXT,
        "value_range": {"items": {"type": "number"}},
        "channel_def": OBJECT,
    },
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
}
TENSORS = {"minProperties": 1, "additionalProperties": TENSOR}
SCHEMA = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task"), TEXT),
        **dict.fromkeys(("description", "authors", "copyright", "intended_use"), TEXT),
        **dict.fromkeys(("changelog", "required_packages_version"), OBJECT),
        "network_data_format": {
            "properties": {"inputs": TENSORS, "outputs": TENSORS},
            "required": ["inputs", "outputs"],
        },
    },
}
SCHEMA["required"] = [name for name in SCHEMA["properties"] if name != "intended_use"]
"""What meta_schema_20240725.json of MONAI asks for."""


@pytest.fixture
def a_bundle(tmp_path: Path) -> Path:
    """A threshold between two classes, for CT, that keeps the largest piece of each."""
    changes = two_classes() | {"modality": "CT", "postprocessing": {"largest_component": True}}
    changes |= {"intensity": {"method": "window", "low": -100, "high": 100}}
    return write_monai_files(write_checkpoint(tmp_path / "bundle", **changes), tmp_path / "bundle")


def noise(shape: tuple[int, ...], low: float, high: float, kind: type) -> np.ndarray:
    """Blobs over the whole range."""
    coarse = np.random.default_rng(3).uniform(low, high, (2, *(-(-n // 8) for n in shape[1:3])))
    fine = coarse.repeat(8, 1).repeat(8, 2)[:, : shape[1], : shape[2]]
    return np.resize(fine, shape).astype(kind)


def an_oblique_file(path: Path, array: np.ndarray, spacing: tuple[float, float, float] = (1.2, 0.9, 3.0)) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((-31.5, 12.25, 7.0))
    cos, sin = np.cos(0.2), np.sin(0.2)
    image.SetDirection((cos, -sin, 0, sin, cos, 0, 0, 0, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def labels_of(folder: Path, image: Path, **settings) -> np.ndarray:
    """What ``segment`` gives."""
    volume = read_volume(image)
    return segment(volume, checkpoint=folder, settings=RunSettings(attention=False, **settings)).labels


def read(path: Path) -> dict:
    return Compose([bundle.LoadImageVolumed("image"), EnsureChannelFirstd("image")])({"image": str(path)})


def run_bundle(folder: Path, images: Path, output: Path, **override) -> None:
    configs = folder / "configs"
    places = {"bundle_root": str(folder), "dataset_dir": str(images), "output_dir": str(output)}
    run(run_id="run", config_file=str(configs / "inference.json"), workflow_type="inference", **places, **override)


def test_the_command_gives_the_labels_of_segment_for_ct(a_bundle, tmp_path):
    image = an_oblique_file(tmp_path / "images" / "a.nrrd", noise((3, 70, 90), -150, 150, np.int16))
    words = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(a_bundle / "configs/inference.json")]
    words += ["--bundle_root", str(a_bundle), "--dataset_dir", str(image.parent), "--output_dir", str(tmp_path / "o")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written, wanted = read_volume(tmp_path / "o" / "a_seg.nii.gz"), labels_of(a_bundle, image)
    assert set(np.unique(wanted)) == {0, 1, 2}
    assert written.array.dtype == np.uint8
    np.testing.assert_array_equal(written.array, wanted)
    np.testing.assert_allclose(written.ijk_to_ras, read_volume(image).ijk_to_ras, atol=1e-4)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float64, np.uint8])
def test_every_type_of_mr_is_read_and_labelled_as_segment_does(kind, tmp_path):
    folder = write_checkpoint(tmp_path / "bundle", intensity={"method": "zscore", "percentiles": [0.5, 99.5]})
    write_monai_files(folder, folder)
    an_oblique_file(tmp_path / "images" / "a.nii.gz", noise((2, 60, 61), 0, 250, kind))
    image = an_oblique_file(tmp_path / "images" / "b.nrrd", noise((2, 80, 61), 0, 250, kind), (1.5, 1.5, 3.0))
    run_bundle(folder, image.parent, tmp_path / "out")
    for path in sorted(image.parent.iterdir()):
        written = read_volume(tmp_path / "out" / f"{path.name.split('.')[0]}_seg.nii.gz").array
        assert written.any()
        np.testing.assert_array_equal(written, labels_of(folder, path))


def test_a_picture_is_labelled_as_segment_does(tmp_path):
    card = {"in_channels": 3, "modality": "XC", "fit": {"fit": "stretch", "size": 64}, "flips": ["horizontal"]}
    folder = write_checkpoint(tmp_path / "bundle", intensity={"method": "window", "low": 0, "high": 255}, **card)
    write_monai_files(folder, folder)
    image = tmp_path / "images" / "a.png"
    image.parent.mkdir()
    Image.fromarray(np.moveaxis(noise((3, 50, 71), 0, 255, np.uint8), 0, 2)).save(image)
    run_bundle(folder, image.parent, tmp_path / "out", test_time_flips=True)
    written = read_volume(tmp_path / "out" / "a_seg.nii.gz").array
    assert written.shape == (1, 50, 71)
    assert written.any()
    np.testing.assert_array_equal(written, labels_of(folder, image, test_time_flips=True))


def test_a_checkpoint_that_ships_labels_as_segment_does(tmp_path):
    path = tmp_path / "images" / "a.nrrd"
    an_oblique_file(path, noise((3, 90, 80), 0, 600, np.int16), (2.0, 2.0, 3.0))
    run_bundle(SHIPPED / "prostate-klo-net", path.parent, tmp_path / "out")
    written = read_volume(tmp_path / "out" / "a_seg.nii.gz").array
    np.testing.assert_array_equal(written, labels_of(SHIPPED / "prostate-klo-net", path))


def test_weights_in_8_bits_are_restored(a_bundle):
    weights = save(quantised(threshold_network(classes=2, softmax=True).state_dict()))
    (a_bundle / WEIGHTS_FILE).write_bytes(weights)
    write_card(a_bundle, read_card_values(a_bundle) | {"weights_sha256": hashlib.sha256(weights).hexdigest()})
    network, wanted = bundle.network_of(a_bundle), load_checkpoint(a_bundle).network
    assert {value.dtype for value in network.state_dict().values() if value.is_floating_point()} == {torch.float32}
    picture = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(picture), wanted(picture), rtol=0, atol=0)


@pytest.mark.parametrize("name", SHIPPED_IDS)
def test_what_ships_is_written_as_this_version_writes_it_and_monai_accepts_it(name, tmp_path):
    configs = SHIPPED / name / "configs"
    assert json.loads((configs / "inference.json").read_text()) == inference()
    again = write_monai_files(SHIPPED / name, tmp_path / "again")
    for file in sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file()):
        assert (again / file).read_bytes() == (SHIPPED / name / file).read_bytes(), f"export {name} --output ..."
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    verify_metadata(meta_file=str(configs / "metadata.json"), filepath=str(tmp_path / "schema.json"))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    places = {"bundle_root": str(SHIPPED / name), "dataset_dir": str(tmp_path), "output_dir": str(tmp_path)}
    workflow = ConfigWorkflow(str(configs / "inference.json"), workflow_type="inference", **places)
    workflow.initialize()
    assert workflow.check_properties() == []
    loaded, wanted = workflow.network_def.state_dict(), load_checkpoint(SHIPPED / name).network.state_dict()
    assert loaded.keys() == wanted.keys()
    assert all(torch.equal(loaded[key], wanted[key]) for key in wanted)


def test_the_schema_of_the_test_refuses_what_lacks_something(a_bundle, tmp_path):
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    path = a_bundle / "configs" / "metadata.json"
    whole = json.loads(path.read_text())
    for name in ("required_packages_version", "schema", "network_data_format"):
        path.write_text(json.dumps({key: value for key, value in whole.items() if key != name}))
        with pytest.raises(ValueError, match=name):
            verify_metadata(meta_file=str(path), filepath=str(tmp_path / "schema.json"))


def test_the_network_takes_and_gives_what_the_metadata_say(a_bundle):
    configs = a_bundle / "configs"
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    verify_net_in_out(net_id="network_def", bundle_root=str(a_bundle), **files)
    values = json.loads((configs / "metadata.json").read_text())
    values["network_data_format"]["outputs"]["pred"]["num_channels"] = 2
    (configs / "metadata.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="output channel number `3` doesn't match: `2`"):
        verify_net_in_out(net_id="network_def", bundle_root=str(a_bundle), **files)


def test_an_image_of_another_kind_stops_the_run_unless_forced(a_bundle, tmp_path):
    card = read_card_values(a_bundle) | {"expects": {"minimum": [-2000, -50], "maximum": [None, None]}}
    write_card(a_bundle, card)
    image = an_oblique_file(tmp_path / "images" / "a.nrrd", noise((2, 64, 64), 10, 90, np.int16))
    with pytest.raises(RuntimeError) as stopped:
        run_bundle(a_bundle, image.parent, tmp_path / "out")
    causes, error = [], stopped.value
    while error is not None:
        causes.append(error)
        error = error.__cause__ or error.__context__
    assert any(isinstance(cause, ContractWarning) for cause in causes)
    assert not list((tmp_path / "out").glob("*"))
    run_bundle(a_bundle, image.parent, tmp_path / "out", force=True)
    written = read_volume(tmp_path / "out" / "a_seg.nii.gz").array
    np.testing.assert_array_equal(written, labels_of(a_bundle, image, force=True))


def test_what_is_known_of_an_image_survives_the_loader_of_monai(tmp_path):
    path = an_oblique_file(tmp_path / "a.nrrd", noise((2, 9, 7), 0, 60000, np.uint16))
    wanted = read_volume(path)
    batch = next(iter(DataLoader([read(path)], batch_size=1)))
    found = volume_of(batch["image"][0], 0)
    assert found.array.dtype == wanted.array.dtype
    np.testing.assert_array_equal(found.array, wanted.array)
    np.testing.assert_array_equal(found.ijk_to_ras, wanted.ijk_to_ras)
    assert (found.name, found.modality, found.has_scale, found.notes, found.doubts) == (
        wanted.name, wanted.modality, wanted.has_scale, wanted.notes, wanted.doubts
    )  # fmt: skip


def test_a_tensor_of_any_other_reader_is_taken_too(a_bundle, tmp_path):
    path = an_oblique_file(tmp_path / "a.nrrd", noise((2, 64, 64), -150, 150, np.int16))
    image = read_volume(path)
    plain = torch.from_numpy(image.array.astype(np.float32).transpose(2, 1, 0))[None, None]
    labels = bundle.VolumeInferer(a_bundle)(plain, bundle.network_of(a_bundle))
    assert labels.shape == (1, 1, 64, 64, 2)
    assert labels.dtype == torch.uint8
    assert set(labels.unique().tolist()) == {0, 1, 2}


def test_folders_that_cannot_be_segmented_are_told(tmp_path):
    with pytest.raises(InputError, match=r"dataset_dir '.*nowhere' is no folder"):
        bundle.images_in(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no image"):
        bundle.images_in(tmp_path)
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    with pytest.raises(InputError, match=r"1 name\(s\) twice, e.g. 'a'"):
        bundle.images_in(tmp_path)
    with pytest.raises(InputError, match=r"absent.nrrd' does not exist"):
        bundle.LoadImageVolumed("image")({"image": str(tmp_path / "absent.nrrd")})


def test_a_checkpoint_is_brought_up_to_date_by_export(a_bundle, tmp_path):
    before = {path: path.read_bytes() for path in a_bundle.rglob("*") if path.is_file()}
    (a_bundle / "configs" / "inference.json").unlink()
    write_card(a_bundle, read_card_values(a_bundle))
    assert main(["export", str(a_bundle), "--output", str(a_bundle)]) == 0
    assert {path: path.read_bytes() for path in a_bundle.rglob("*") if path.is_file()} == before
    assert main(["export", str(a_bundle), "--output", str(tmp_path / "copy")]) == 0
    assert (tmp_path / "copy" / WEIGHTS_FILE).read_bytes() == (a_bundle / WEIGHTS_FILE).read_bytes()


def test_a_copy_for_monai_label_holds_torchscript_that_gives_the_same_labels(a_bundle, tmp_path):
    copy = tmp_path / "copy"
    assert main(["export", str(a_bundle), "--format", "monai-label", "--output", str(copy)]) == 0
    scripted, metadata, files = load_net_with_metadata(copy / SCRIPT_FILE, more_extra_files=("inference.json",))
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {
        "0": "background", "1": "liver", "2": "spleen"
    }  # fmt: skip
    assert json.loads(files["inference.json"]) == inference(read_card_values(copy))
    assert json.loads((copy / "configs" / "inference.json").read_text()) == inference()
    assert load("copy", bundle_dir=tmp_path, load_ts_module=True)[1] == metadata
    image = an_oblique_file(tmp_path / "images" / "a.nrrd", noise((3, 70, 90), -150, 150, np.int16))
    labels = bundle.VolumeInferer(copy)(read(image)["image"][None], scripted)
    kept = bundle.LargestComponentd("pred", copy)({"pred": labels[0]})["pred"][0].numpy().transpose(2, 1, 0)
    np.testing.assert_array_equal(kept, labels_of(a_bundle, image))
    assert set(np.unique(kept)) == {0, 1, 2}


def test_the_torchscript_alone_is_enough_for_a_program_that_has_the_image_in_memory(a_bundle, tmp_path, monkeypatch):
    """As MONAI Deploy does: configuration from the archive, no transform that loads or saves, image as it comes."""
    export_monai_label(str(a_bundle), tmp_path / "copy")
    file = (tmp_path / "copy" / SCRIPT_FILE).rename(tmp_path / "model.ts")
    monkeypatch.chdir(tmp_path)
    scripted, metadata, files = load_net_with_metadata(file, more_extra_files=("inference.json",))
    parser = ConfigParser(json.loads(files["inference.json"]))
    parser.read_meta(metadata)
    parser.parse()
    image = an_oblique_file(tmp_path / "images" / "a.nrrd", noise((3, 70, 90), -150, 150, np.int16))
    volume = read_volume(image)
    data = {"image": MetaTensor(volume.array.transpose(2, 1, 0).copy(), meta={"affine": volume.ijk_to_ras})}
    data["image"].meta["original_channel_dim"] = "no_channel"
    for part, key in (("preprocessing", "image"), ("postprocessing", "pred")):
        for step in parser.get_parsed_content(part).transforms:
            if not any(name in type(step).__name__ for name in ("LoadImage", "SaveImage")):
                data = step(data)
        if key == "image":
            data["pred"] = parser.get_parsed_content("inferer")(inputs=data["image"][None], network=scripted)[0]
    np.testing.assert_array_equal(data["pred"][0].numpy().transpose(2, 1, 0), labels_of(a_bundle, image))


def test_presence_and_familiarity_are_judged_by_the_torchscript_too(tmp_path):
    torch.manual_seed(0)
    options = {"width": 8, "presence": True}
    network = build_network("klo-lite", in_channels=1, out_channels=1, **options).eval()
    folder = write_checkpoint(tmp_path / "bundle", network)
    features = network.describe(torch.rand(6, 1, 128, 128)).detach()
    known = {"mean": features.mean(0), "spread": features.std(0) + 1e-3, "axes": torch.eye(2, features.shape[1])}
    known |= {"variance": torch.ones(2), "rest": torch.ones(1)}
    (folder / FAMILIAR_FILE).write_bytes(content := save(known))
    familiar = {"threshold": 1e6, "sha256": hashlib.sha256(content).hexdigest()}
    presence = {"weights": {"head": 1.0}, "bias": 0.0, "thresholds": [0.0]}
    card = read_card_values(folder) | {"network": "klo-lite", "network_config": options, "attention": []}
    card |= {"fit": {"fit": "spacing", "mm": 1.0, "size": 128}, "familiar": familiar, "presence": presence}
    write_card(folder, card)
    export_monai_label(str(folder), tmp_path / "copy")
    scripted = torch.jit.load(tmp_path / "copy" / SCRIPT_FILE)
    wrapped, picture = ScriptedNetwork(scripted, torch.device("cpu")), torch.rand(2, 1, 160, 128)
    with torch.no_grad():
        found, wanted = wrapped.forward_with_attention(picture), network.forward_with_attention(picture)
        torch.testing.assert_close(wrapped.describe(picture), network.describe(picture), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.presence, wanted.presence, rtol=1e-3, atol=1e-3)

    image = torch.rand(1, 1, 128, 128, 2)
    assert bundle.VolumeInferer(tmp_path / "copy")(image, scripted).any()
    write_card(tmp_path / "copy", card | {"presence": presence | {"thresholds": [2.0]}})  # never in a slice
    assert not bundle.VolumeInferer(tmp_path / "copy")(image, scripted).any()
    write_card(tmp_path / "copy", card | {"familiar": familiar | {"threshold": 1e-6}})
    with pytest.raises(ContractWarning, match="looks unlike the images"):
        bundle.VolumeInferer(tmp_path / "copy")(image, scripted)


def test_torchscript_of_another_program_and_a_copy_onto_itself_are_refused(a_bundle):
    other = torch.jit.trace(torch.nn.Conv2d(1, 3, 1), torch.rand(1, 1, 64, 64))
    with pytest.raises(InputError, match="without a stride"):
        bundle.VolumeInferer(a_bundle)(torch.rand(1, 1, 64, 64, 1), other)
    with pytest.raises(UsageError, match="is the checkpoint itself"):
        export_monai_label(str(a_bundle), a_bundle)


def test_torchscript_makes_its_constants_where_it_runs(a_bundle, tmp_path):
    """On PyTorch's device without memory, which mixes with no other, as a GPU would."""
    export_monai_label(str(a_bundle), tmp_path / "copy")
    elsewhere, picture = torch.device("meta"), torch.rand(2, 1, 64, 64, device="meta")

    def moved() -> torch.jit.ScriptModule:
        scripted = torch.jit.load(tmp_path / "copy" / SCRIPT_FILE)
        for module in scripted.modules():
            for name, value in (*module._parameters.items(), *module._buffers.items()):
                if name != "stride":
                    module._c.setattr(name, value.to(elsewhere))
        return scripted

    with torch.no_grad():
        with pytest.raises(RuntimeError, match="device"):
            moved()(picture)
        assert ScriptedNetwork(moved(), elsewhere)(picture).shape == (2, 3, 64, 64)


def test_torchscript_that_gives_other_logits_is_not_written(a_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(torchscript_export, "_trace", lambda _parts, _checkpoint: torch.jit.script(torch.nn.Identity()))
    with pytest.raises(MedSegAttentionError, match="TorchScript differs from PyTorch by"):
        export_monai_label(str(a_bundle), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
