"""MedicalNet's ResNet-50 and what it is given."""

import pytest
import torch

from liftnet.core.errors import CheckpointError
from liftnet.networks.medicalnet import MedicalNet, load_medicalnet


def dilated(network):
    """MONAI's network with layers 3 and 4 dilated by 2 and 4 instead of strided, as MedicalNet."""
    for layer, dilation in ((network.layer3, 2), (network.layer4, 4)):
        for block in layer:
            block.conv2.stride = (1, 1, 1)
            block.conv2.dilation = block.conv2.padding = (dilation,) * 3
        layer[0].downsample[0].stride = (1, 1, 1)
    return network


def test_features_are_those_of_monai(tmp_path):
    """A file with MedicalNet's names gives the features of MONAI's network, dilated."""
    nets = pytest.importorskip("monai.networks.nets.resnet")
    reference = dilated(
        nets.resnet50(
            spatial_dims=3,
            n_input_channels=1,
            conv1_t_stride=2,
            shortcut_type="B",
            bias_downsample=False,
            feed_forward=False,
        )
    ).eval()
    generator = torch.Generator().manual_seed(0)
    state = reference.state_dict()
    for name, tensor in state.items():
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif name.endswith("running_mean"):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    assert "conv_seg" not in "".join(state)
    path = tmp_path / "resnet_50.pth"
    torch.save({"state_dict": {f"module.{name}": t for name, t in state.items()}}, path)
    network = load_medicalnet(path)
    path.unlink()  # 185 MB
    volumes = torch.rand(2, 1, 20, 33, 26, generator=generator)
    with torch.no_grad():
        expected = reference(volumes)
        got = network(volumes)
    assert got.shape == (2, 2048)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def test_size_and_freezing():
    """46,155,072 parameters as published code has, none of which is trained."""
    with torch.device("meta"):
        network = MedicalNet()
    trained = sum(t.numel() for n, t in network.state_dict().items() if "running" not in n)
    assert trained == 46_155_072
    assert not any(p.requires_grad for p in network.parameters())


def test_weights_of_another_network(tmp_path):
    """What is not MedicalNet's is told by the first name; a segmentation head is left aside."""
    names = {"module.conv1.weight": torch.zeros(64, 1, 7, 7, 7), "module.conv_seg.0.bias": 0.0}
    torch.save({k: torch.as_tensor(v) for k, v in names.items()}, tmp_path / "w.pth")
    with pytest.raises(
        CheckpointError, match=r"another network: bn1.weight is missing, and 26\d more"
    ):
        load_medicalnet(tmp_path / "w.pth")
