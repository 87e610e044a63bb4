"""The networks of a plan of this task, by their kinds."""

from liftnet.core.plan import CriticSpec, FeatureSpec, GeneratorSpec, MapperSpec, Plan, ResNetSpec

__all__ = ["Networks", "networks_of"]

Networks = tuple[FeatureSpec | ResNetSpec, GeneratorSpec, CriticSpec, MapperSpec]


def networks_of(plan: Plan) -> Networks:
    """Features, generator, critic and mapper of a plan that `check` has passed."""
    features, generator = plan.networks["features"], plan.networks["generator"]
    critic, mapper = plan.networks["critic"], plan.networks["mapper"]
    assert isinstance(features, FeatureSpec | ResNetSpec)
    assert isinstance(generator, GeneratorSpec)
    assert isinstance(critic, CriticSpec)
    assert isinstance(mapper, MapperSpec)
    return features, generator, critic, mapper
