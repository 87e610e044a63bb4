"""Floor 1: files <-> volumes. The only package that imports SimpleITK, and only when called."""

from liftnet.imageio.limits import ImageInfo
from liftnet.imageio.read import header_doubt, read_case, read_image
from liftnet.imageio.write import write_image

__all__ = ["ImageInfo", "header_doubt", "read_case", "read_image", "write_image"]
