"""The version of liftnet."""

__version__ = "0.1.0"
