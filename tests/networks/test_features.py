"""ResNet-18, weights from files, pooled features."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from liftnet.core.errors import CheckpointError
from liftnet.networks.features import (
    RESNET18_FILE,
    RESNET18_SHA256,
    FrozenNorm,
    ResNet18,
    load_resnet18,
    pooled_parts,
    read_weights,
)


def torchvision_names():
    """The names of torchvision's ResNet-18, without the classifier and the batch counts."""
    norm = ("weight", "bias", "running_mean", "running_var")
    names = {"conv1.weight", *(f"bn1.{n}" for n in norm)}
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            place = f"layer{layer}.{block}"
            for i in (1, 2):
                names |= {f"{place}.conv{i}.weight", *(f"{place}.bn{i}.{n}" for n in norm)}
        if layer > 1:
            place = f"layer{layer}.0.downsample"
            names |= {f"{place}.0.weight", *(f"{place}.1.{n}" for n in norm)}
    return names


def random_statistics(state, generator):
    """The state dict with batch statistics as after training, so that each of them matters."""
    for name, tensor in state.items():
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return state


def test_resnet18_is_that_of_monai(tmp_path):
    """The same maps as MONAI's network with the same weights, on slices given as three colours."""
    nets = pytest.importorskip("monai.networks.nets.resnet")
    reference = nets.resnet18(
        spatial_dims=2, n_input_channels=3, conv1_t_stride=2, bias_downsample=False, num_classes=7
    ).eval()
    state = random_statistics(reference.state_dict(), torch.Generator().manual_seed(0))
    torch.save(state, tmp_path / "weights.pth")
    save_file(state, tmp_path / "weights.safetensors")
    slices = torch.rand(2, 1, 45, 70) * 2 - 1

    colours = (slices.expand(-1, 3, -1, -1) + 1) / 2
    for i, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        colours[:, i] = (colours[:, i] - mean) / std
    x = reference.maxpool(reference.act(reference.bn1(reference.conv1(colours))))
    expected = []
    with torch.no_grad():
        for layer in (reference.layer1, reference.layer2, reference.layer3, reference.layer4):
            x = layer(x)
            expected.append(x)
    got = load_resnet18(tmp_path / "weights.pth")(slices)
    assert [m.shape[1] for m in got] == [64, 128, 256, 512]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    again = load_resnet18(tmp_path / "weights.safetensors")(slices)
    torch.testing.assert_close(again, got)


def test_resnet18_has_torchvisions_names_and_size():
    """The state dict's names, and 11,689,512 parameters less the classifier's 513,000."""
    state = ResNet18().state_dict()
    assert state.keys() == torchvision_names()
    trained = sum(t.numel() for n, t in state.items() if "running" not in n)
    assert trained == 11_689_512 - 513_000
    assert RESNET18_SHA256.startswith(RESNET18_FILE[9:17])  # torchvision's file names say so


def test_resnet18_is_frozen():
    """Gradients reach the slices and no weight; training mode changes nothing."""
    network = ResNet18()
    slices = torch.rand(2, 1, 32, 40, requires_grad=True)
    first = network.train()(slices)
    second = network.eval()(slices)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    first[-1].sum().backward()
    assert slices.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize(("dimensions", "norm"), [(2, "BatchNorm2d"), (3, "BatchNorm3d")])
def test_frozen_norm_is_batch_norm(dimensions, norm):
    """The values of torch's layer in evaluation."""
    reference = getattr(torch.nn, norm)(3).eval()
    random_statistics(reference.state_dict(), torch.Generator().manual_seed(1))
    ours = FrozenNorm(3)
    ours.load_state_dict({k: v for k, v in reference.state_dict().items() if "num" not in k})
    x = torch.randn(2, 3, *(4, 5, 6)[:dimensions])
    torch.testing.assert_close(ours(x), reference(x))


def test_pooled_features_are_those_of_numpy():
    """Means and standard deviations of every cell of every grid, cell by cell."""
    maps = [torch.rand(2, 3, 9, 14) * 3 + 100, torch.rand(2, 5, 4, 6), torch.rand(2, 4, 2, 3)]
    expected = []
    for x, grids in zip(maps, [(1, 2, 4), (1, 2), (1,)], strict=True):
        a = x.double().numpy()
        height, width = a.shape[2:]
        for g in grids:
            cells = [
                a[:, :, r * height // g : -(-(r + 1) * height // g)][
                    ..., c * width // g : -(-(c + 1) * width // g)
                ]
                for r in range(g)
                for c in range(g)
            ]
            expected.append(np.stack([cell.mean((2, 3)) for cell in cells], axis=1))
            expected.append(np.stack([cell.std((2, 3)) for cell in cells], axis=1))
    parts = pooled_parts(maps)
    assert [p.shape for p in parts] == [e.shape for e in expected]
    for part, reference in zip(parts, expected, strict=True):
        np.testing.assert_allclose(part.numpy(), reference, rtol=1e-4)


def test_pooled_features_of_an_empty_slice_have_a_gradient():
    """Where nothing varies the root's gradient is finite; bfloat16 maps are pooled in float32."""
    flat = torch.full((1, 2, 8, 8), 0.3, requires_grad=True)
    torch.cat([part.flatten() for part in pooled_parts([flat])]).sum().backward()
    assert torch.isfinite(flat.grad).all()
    maps = torch.rand(1, 2, 64, 64).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = pooled_parts([maps])
    torch.testing.assert_close(got, pooled_parts([maps.float()]))


def test_read_weights_in_every_form(tmp_path):
    """Old and new torch files, safetensors, a nested dictionary and a "module." prefix."""
    tensors = {"a": torch.rand(2, 3), "b.c": torch.rand(4)}
    wrapped = {f"module.{name}": tensor for name, tensor in tensors.items()}
    torch.save(tensors, tmp_path / "new.pth")
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "nested.pth")
    save_file(wrapped, tmp_path / "named.safetensors")
    for name in ("new.pth", "old.pth", "nested.pth", "named.safetensors"):
        torch.testing.assert_close(read_weights(tmp_path / name), tensors)
    mixed = {"module.a": tensors["a"], "b": tensors["b.c"]}
    torch.save(mixed, tmp_path / "mixed.pth")
    assert read_weights(tmp_path / "mixed.pth").keys() == mixed.keys()


def test_checksum(tmp_path):
    """The right SHA-256 passes in either case, another one is an error that names both."""
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1)}, path)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_weights(path, sha256=right.upper()).keys() == {"a"}
    with pytest.raises(CheckpointError, match=f"have SHA-256 {right}, not {RESNET18_SHA256}"):
        load_resnet18(path, sha256=RESNET18_SHA256)


def test_what_is_no_weights_file(tmp_path):
    """A missing, a damaged and an unsafe file, and one of something else, are told apart."""
    with pytest.raises(CheckpointError, match=r"No file with weights\n  where: .*none.pth"):
        read_weights(tmp_path / "none.pth")
    (tmp_path / "damaged.pth").write_bytes(b"not a zip file")
    (tmp_path / "damaged.safetensors").write_bytes(b"\xff" * 40)
    (tmp_path / "empty.pth").write_bytes(b"")
    torch.save({"a": Path("unsafe")}, tmp_path / "unsafe.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": torch.zeros(1), "steps": 4}, tmp_path / "numbers.pth")
    for path in sorted(p for p in tmp_path.iterdir()):
        with pytest.raises(CheckpointError, match="no named tensors that can be read safely"):
            read_weights(path)


def test_weights_of_another_network(tmp_path):
    """The first name or shape that does not fit is told, and how many more there are."""
    state = ResNet18().state_dict()
    torch.save({**state, "fc.weight": torch.zeros(2)}, tmp_path / "fits.pth")
    load_resnet18(tmp_path / "fits.pth")
    odd = {k: v for k, v in state.items() if k != "bn1.bias"}
    odd["extra"], odd["bn1.weight"] = torch.zeros(1), torch.zeros(3)
    torch.save(odd, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"another network: bn1.bias is missing, and 2 more"):
        load_resnet18(tmp_path / "odd.pth")
    del odd["extra"]
    odd["bn1.bias"] = state["bn1.bias"]
    torch.save(odd, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"bn1.weight has shape \(3,\), not \(64,\)"):
        load_resnet18(tmp_path / "odd.pth")
