"""MedicalNet's 3D ResNet-50: the features of a volume for the Frechet distance."""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.networks.features import FrozenNorm, fit_weights, read_weights

__all__ = ["MedicalNet", "load_medicalnet"]

# Chen et al. 2019 (Med3D), ResNet-50: blocks, width inside a block, stride and dilation per layer.
LAYERS = ((3, 64, 1, 1), (4, 128, 2, 1), (6, 256, 1, 2), (3, 512, 1, 4))
STEM_WIDTH = 64
EXPANSION = 4  # He et al. 2016: a bottleneck block is four times wider outside


class Bottleneck(nn.Module):
    """Convolutions 1, 3 and 1 wide with a shortcut. Source: He et al. 2016, Fig. 5 right."""

    def __init__(self, in_width: int, width: int, *, stride: int, dilation: int):
        super().__init__()
        out_width = EXPANSION * width
        self.conv1 = nn.Conv3d(in_width, width, 1, bias=False)
        self.bn1 = FrozenNorm(width)
        self.conv2 = nn.Conv3d(
            width, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = FrozenNorm(width)
        self.conv3 = nn.Conv3d(width, out_width, 1, bias=False)
        self.bn3 = FrozenNorm(out_width)
        self.downsample = (
            nn.Sequential(
                nn.Conv3d(in_width, out_width, 1, stride=stride, bias=False), FrozenNorm(out_width)
            )
            if stride != 1 or in_width != out_width
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, 4 * width, D / stride, H / stride, W / stride) of (N, in_width, D, H, W)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


class MedicalNet(nn.Module):
    """Frozen MedicalNet ResNet-50 without its segmentation head; shortcuts of type B.

    Source: LiFT App. B (FID); Chen et al. 2019. Layers 3 and 4 are dilated by 2 and 4 instead of
        strided, so that maps have an eighth of the volume's size. It goes to a device by `.to`:
        `ops.precision.place` orders 2D weights only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, STEM_WIDTH, 7, stride=2, padding=3, bias=False)
        self.bn1 = FrozenNorm(STEM_WIDTH)
        layers = []
        in_width = STEM_WIDTH
        for blocks, width, stride, dilation in LAYERS:
            members = []
            for i in range(blocks):
                members.append(
                    Bottleneck(in_width, width, stride=1 if i else stride, dilation=dilation)
                )
                in_width = EXPANSION * width
            layers.append(nn.Sequential(*members))
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.requires_grad_(False)

    def forward(self, volumes: Tensor) -> Tensor:
        """Features (N, 2048): the means of the last maps of volumes (N, 1, D, H, W)."""
        x = F.relu(self.bn1(self.conv1(volumes)))
        x = F.max_pool3d(x, 3, stride=2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x.mean((2, 3, 4))


def load_medicalnet(path: Path) -> MedicalNet:
    """MedicalNet with the weights of a file such as resnet_50_23dataset.pth (names "module...").

    Raises:
        CheckpointError: If the file is missing, damaged, or of another network.
    """
    network = MedicalNet()
    fit_weights(network, read_weights(path), where=path, unused=("conv_seg.", "fc."))
    return network
