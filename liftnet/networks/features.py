"""Frozen feature extractors of slices: weights from files, ResNet-18, pooled features."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from struct import error as StructError

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from liftnet.core.errors import CheckpointError
from liftnet.core.storage.checksum import file_sha256
from liftnet.ops.compute.precision import without_autocast

__all__ = [
    "RESNET18_FILE",
    "RESNET18_SHA256",
    "FrozenNorm",
    "ResNet18",
    "fit_weights",
    "load_resnet18",
    "pooled_parts",
    "read_weights",
]

RESNET18_FILE = "resnet18-f37072fd.pth"  # torchvision, ImageNet-1K, first version
RESNET18_SHA256 = "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # torchvision: of RGB in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)
RESNET18_WIDTHS = (64, 128, 256, 512)  # He et al. 2016, Tab. 1
NORM_EPSILON = 1e-5  # He et al. 2016 as torchvision trained it
VARIANCE_FLOOR = 1e-6  # ours: the root of a variance of 0 has no gradient
UNREADABLE = (  # what torch raises for a damaged file, or refuses to load
    SafetensorError,
    OSError,
    EOFError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    StructError,
    torch.serialization.pickle.UnpicklingError,
)
LEAST_SIDE = 2  # ours: pixels; the spread within one pixel is 0


class FrozenNorm(nn.Module):
    """Batch normalization by stored statistics, for maps (N, C, ...) of any dimension."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int):
        super().__init__()
        for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            self.register_buffer(name, torch.full((width,), float(value)))

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same shape, scaled and shifted per channel."""
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=NORM_EPSILON
        )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut. Source: He et al. 2016, Fig. 5 left."""

    def __init__(self, in_width: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = FrozenNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = FrozenNorm(width)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(in_width, width, 1, stride=stride, bias=False), FrozenNorm(width)
            )
            if stride != 1
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, width, H / stride, W / stride) of maps (N, in_width, H, W)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet18(nn.Module):
    """Frozen ResNet-18 without its classifier; its state dict has torchvision's names.

    Random weights are for tests; `load_resnet18` reads trained ones. Gradients flow to the slices,
    never to the weights, and there is nothing that training mode would change.

    Source: LiFT Sec. 5.1 (the extractor); He et al. 2016 (the network).
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, RESNET18_WIDTHS[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = FrozenNorm(RESNET18_WIDTHS[0])
        inputs = (RESNET18_WIDTHS[0], *RESNET18_WIDTHS[:-1])
        layers = [
            nn.Sequential(BasicBlock(before, width, 2 if i else 1), BasicBlock(width, width, 1))
            for i, (before, width) in enumerate(zip(inputs, RESNET18_WIDTHS, strict=True))
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        colours = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(colours), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(colours), persistent=False)
        self.requires_grad_(False)

    def forward(self, slices: Tensor) -> list[Tensor]:
        """Maps of four layers, finest first, of slices (N, 1, H, W) in [-1, 1].

        Widths 64, 128, 256, 512 at strides 4, 8, 16, 32; the slice is given as all three colours.
        """
        x = ((slices + 1) / 2 - self.mean) / self.std
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps


def load_resnet18(path: Path, *, sha256: str | None = None) -> ResNet18:
    """ResNet-18 with weights of a file in torchvision's names, .pth or .safetensors.

    `sha256` is compared with the file's where it is given; `RESNET18_SHA256` is that of
    `RESNET18_FILE`.

    Raises:
        CheckpointError: If the file is missing, damaged, another one, or of another network.
    """
    network = ResNet18()
    fit_weights(network, read_weights(path, sha256=sha256), where=path, unused=("fc.",))
    return network


def pooled_parts(maps: Sequence[Tensor], *, grids: Sequence[int] = (1, 2, 4)) -> list[Tensor]:
    """Means, then standard deviations (N, g * g, C) per map (N, C, h, w) and g x g grid; float32.

    Cells are those of adaptive pooling, row by row. A grid whose cells would have a side below two
    pixels is left out for that map, so how many parts there are depends on the size of the maps.
    Scales differ between maps: a distance over all parts needs them weighted.

    Source: Deng et al. 2026 (drifting), App.: global and patch means and standard deviations.
    """
    parts = []
    with without_autocast(maps[0].device):
        for x in maps:
            values = x.float()
            centre = values.mean((2, 3), keepdim=True)  # keeps E[x^2] - E[x]^2 precise
            offset = values - centre
            for grid in grids:
                if grid > 1 and min(x.shape[2:]) < LEAST_SIDE * grid:
                    continue
                mean = F.adaptive_avg_pool2d(offset, grid)
                variance = F.adaptive_avg_pool2d(offset.square(), grid) - mean.square()
                spread = (variance.clamp(min=0) + VARIANCE_FLOOR).sqrt()
                parts += [(mean + centre).flatten(2).mT, spread.flatten(2).mT]
    return parts


def read_weights(path: Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Named tensors of a .safetensors or torch file; nothing in it is executed.

    A dictionary under "state_dict" is taken out, a prefix "module." of all names taken off.

    Raises:
        CheckpointError: If the file is missing, has another SHA-256, or holds something else.
    """
    if not path.is_file():
        raise CheckpointError(
            "No file with weights", where=str(path), remedy="Give the path of the file."
        )
    if sha256 is not None:
        found = file_sha256(path)
        if found != sha256.lower():
            raise CheckpointError(
                f"The weights have SHA-256 {found}, not {sha256}",
                where=str(path),
                remedy="Download the file again, or give the path of the right one.",
            )
    content: object
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd protocols, in damaged files
                content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise _unreadable(path) from error
    if isinstance(content, Mapping):
        content = content.get("state_dict", content)
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise _unreadable(path)
    wrapped = all(name.startswith("module.") for name in content)
    return {name.removeprefix("module.") if wrapped else name: t for name, t in content.items()}


def fit_weights(
    network: nn.Module, tensors: Mapping[str, Tensor], *, where: Path, unused: Sequence[str]
) -> None:
    """Put tensors into a network: all that it has, and none left but those with `unused` prefixes.

    Raises:
        CheckpointError: If a name or a shape does not fit.
    """
    own = network.state_dict()
    given = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith(tuple(unused)) and not name.endswith("num_batches_tracked")
    }
    wrong = [f"{name} is missing" for name in own if name not in given]
    wrong += [f"{name} is unknown" for name in given if name not in own]
    wrong += [
        f"{name} has shape {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"These are weights of another network: {wrong[0]}{more}",
            where=str(where),
            remedy="Give the file that the option asks for; --help names the network.",
        )
    network.load_state_dict(given)


def _unreadable(path: Path) -> CheckpointError:
    return CheckpointError(
        "The file holds no named tensors that can be read safely",
        where=str(path),
        remedy="Give a state dict saved by torch, or a .safetensors file; download it again.",
    )
