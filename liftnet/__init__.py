"""Self-configuring 3D medical image synthesis. Each command is a function of the same name here."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from liftnet.version import __version__

if TYPE_CHECKING:
    from liftnet.pipeline.convert import convert
    from liftnet.pipeline.demo import demo
    from liftnet.pipeline.evaluate import evaluate
    from liftnet.pipeline.extract_fingerprint import extract_fingerprint
    from liftnet.pipeline.plan import plan
    from liftnet.pipeline.plan_and_preprocess import plan_and_preprocess
    from liftnet.pipeline.predict import predict
    from liftnet.pipeline.preprocess import preprocess
    from liftnet.pipeline.train import train
