"""pix2pix with its U-Net."""

from liftnet.methods.pix2pix.networks import UNetGenerator
from liftnet.methods.pix2pix.translation import Pix2Pix

__all__ = ["METHOD"]


class Pix2PixUNet(Pix2Pix):
    """54 million parameters at the published size of 256 pixels."""

    label = "pix2pix (U-Net)"
    summary = "slices by a U-Net against a critic of patches"
    generator = UNetGenerator
    most_halvings = 8


METHOD = Pix2PixUNet()
