"""`python -m liftnet`, the same as `liftnet`."""

from liftnet.cli.main import liftnet

liftnet()
