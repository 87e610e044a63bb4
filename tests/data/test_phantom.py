"""The phantom is a head: determined, anatomically placed, and related by physics."""

import numpy as np
import pytest
from scipy import stats

from liftnet.data.phantom import RELAXATION, SEQUENCES, _scan, _signals, make_phantom
from liftnet.data.phantom_anatomy import TISSUES

COARSE = (5.0, 6.0, 5.5)


def test_same_number_and_seed_give_the_same_arrays() -> None:
    """A phantom depends on number, seed and spacing only."""
    first, again = make_phantom(3, spacing_mm=COARSE), make_phantom(3, spacing_mm=COARSE)
    for name, image in first.contrasts.items():
        np.testing.assert_array_equal(image, again.contrasts[name])
    np.testing.assert_array_equal(first.lesion, again.lesion)
    cohort = make_phantom(3, seed=1, spacing_mm=COARSE)
    t1n, other = first.contrasts["t1n"], cohort.contrasts["t1n"]
    assert t1n.shape != other.shape or np.any(t1n != other)


def test_leaving_out_a_contrast_changes_no_other() -> None:
    """The images come in the order asked for and do not depend on each other."""
    everything = make_phantom(2, spacing_mm=COARSE)
    some = make_phantom(2, spacing_mm=COARSE, contrasts=("t2f", "t1n"))
    assert list(some.contrasts) == ["t2f", "t1n"]
    for name, image in some.contrasts.items():
        np.testing.assert_array_equal(image, everything.contrasts[name])


def test_sizes_and_spacings_differ_between_numbers_and_axes() -> None:
    """Three sides and spacings of a phantom differ, and hardly two phantoms share a shape."""
    phantoms = [make_phantom(number, contrasts=("t1n",)) for number in range(4)]
    shapes = {phantom.contrasts["t1n"].shape for phantom in phantoms}
    assert len(shapes) == len(phantoms)
    assert len({phantom.spacing_mm for phantom in phantoms}) == len(phantoms)
    for phantom in phantoms:
        depth, height, width = phantom.contrasts["t1n"].shape
        assert 26 <= depth <= 38 and 44 <= width < height <= 80
        assert 3.4 <= phantom.spacing_mm[0] <= 4.0


def test_arrays_are_integers_and_zero_outside_one_brain() -> None:
    """All contrasts share one mask, the lesion lies in it, and there is 0 around it."""
    phantom = make_phantom(1, spacing_mm=COARSE)
    brain = phantom.contrasts["t1n"] > 0
    for image in phantom.contrasts.values():
        assert image.dtype == np.int16
        np.testing.assert_array_equal(image > 0, brain)
        assert image.min() == 0 and image.max() > 200
    assert phantom.lesion.dtype == np.uint8 and not np.any(phantom.lesion[~brain])
    litres = brain.sum() * np.prod(phantom.spacing_mm) / 1e6
    assert 0.8 < litres < 1.6


def test_head_lies_in_canonical_axes() -> None:
    """D runs to superior and H to posterior: brain stem and cerebellum are low and behind."""
    for number in (0, 1, 4):
        brain = make_phantom(number, spacing_mm=COARSE).contrasts["t1n"] > 0
        area = brain.sum(axis=(1, 2))
        third = len(area) // 3
        row = np.arange(brain.shape[1])
        lower = np.average(row, weights=brain[: third // 2 + 1].sum(axis=(0, 2)))
        upper = np.average(row, weights=brain[third:].sum(axis=(0, 2)))
        assert lower > upper + 2
        assert area[:third].sum() < area[-third:].sum() * 1.2


def test_fluid_is_bright_in_t2w_and_dark_in_t2f_and_t1n() -> None:
    """The brightest t2w voxels outside the lesion are among the darkest of t2f and t1n."""
    phantom = make_phantom(3)
    healthy = (phantom.contrasts["t1n"] > 0) & (phantom.lesion == 0)
    healthy[:8] = False  # the base of the skull is mostly surface
    values = {name: image[healthy].astype(float) for name, image in phantom.contrasts.items()}
    fluid = values["t2w"] > np.percentile(values["t2w"], 98.5)
    for name in ("t2f", "t1n"):
        assert np.median(values[name][fluid]) < np.percentile(values[name], 15)


def test_rim_enhances_in_t1c_only() -> None:
    """With agent the rim outshines all healthy tissue; without it is darker than white matter."""
    phantom = make_phantom(3)
    assert set(np.unique(phantom.lesion)) == {0, 1, 2, 3}
    rim = phantom.lesion == 3
    healthy = (phantom.contrasts["t1n"] > 0) & (phantom.lesion == 0)
    white = {name: np.percentile(phantom.contrasts[name][healthy], 80) for name in ("t1n", "t1c")}
    assert np.median(phantom.contrasts["t1c"][rim]) > 1.3 * white["t1c"]
    assert np.median(phantom.contrasts["t1n"][rim]) < 0.9 * white["t1n"]
    oedema = phantom.contrasts["t2f"][phantom.lesion == 2]
    assert np.median(oedema) > np.percentile(phantom.contrasts["t2f"][healthy], 75)


def test_lesion_is_present_in_about_seven_of_ten() -> None:
    """The share of numbers with a lesion is within chance of 0.7."""
    count = sum(
        bool(make_phantom(number, spacing_mm=(9, 8, 10), contrasts=("t1n",)).lesion.any())
        for number in range(60)
    )
    low, high = stats.binom.interval(0.999, 60, 0.7)
    assert low <= count <= high


def test_anatomy_continues_through_slices() -> None:
    """Neighbouring slices resemble each other more than slices three apart."""
    image = make_phantom(0, contrasts=("t1n",)).contrasts["t1n"].astype(float)
    middle = len(image) // 2

    def likeness(step: int) -> float:
        pairs = [(image[k], image[k + step]) for k in range(middle, middle + 5)]
        both = [(a[(a > 0) & (b > 0)], b[(a > 0) & (b > 0)]) for a, b in pairs]
        return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in both]))

    assert likeness(1) > 0.5
    assert likeness(1) > likeness(3) + 0.1


def test_signal_equations_match_a_simulated_pulse_train() -> None:
    """Repeating inversion, waiting and read-out until steady gives the closed form."""
    signals, slopes = _signals(np.ones((4, len(TISSUES))))
    for row, (name, (repetition, echo, inversion, _)) in enumerate(SEQUENCES.items()):
        for column, tissue in enumerate(TISSUES):
            t1, t2, density, agent = RELAXATION[tissue]
            if name == "t1c":
                t1 = 1 / (1 / t1 + 4.3e-3 * agent)
            along = 1.0
            for _ in range(5):
                if inversion:
                    along = 1 - (1 + along) * np.exp(-inversion / t1)
                ready = along
                along = 1 - np.exp(-(repetition - inversion) / t1)  # the read-out leaves nothing
                if not inversion:
                    ready = along
            expected = density * ready * np.exp(-echo / t2)
            np.testing.assert_allclose(signals[row, column], expected, rtol=1e-4, atol=1e-6)
    solid = [column for column, tissue in enumerate(TISSUES) if tissue != "csf"]
    assert np.all(slopes[list(SEQUENCES).index("t2w"), solid] > 0)  # more water, longer T2


def test_noise_is_rician() -> None:
    """Noise without signal follows the Rayleigh law, and masked voxels are 0."""
    rng = np.random.default_rng(5)
    signal = np.zeros((10, 60, 50), np.float32)
    signal[5:] = 1
    mask = np.ones(signal.shape, bool)
    mask[:, :, -1] = False
    image = _scan(signal, mask, rng)
    assert not np.any(image[:, :, -1])
    silent = image[:5, :, :-1].astype(float)
    ratio = stats.rayleigh.mean() / stats.rayleigh.std()
    np.testing.assert_allclose(silent.mean() / silent.std(), ratio, rtol=0.03)
    loud = image[5:, :, :-1].astype(float)
    assert 0.01 < loud.std() / loud.mean() < 0.035


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"number": -1}, "expected number and seed of 0 or more, got -1 and 0"),
        ({"number": 0, "contrasts": ("t1n", "ct")}, r"expected contrasts out of .*t2f, got .*ct"),
        ({"number": 0, "contrasts": ()}, "expected contrasts out of"),
        ({"number": 0, "spacing_mm": (3.0, 0.0, 2.0)}, "expected three spacings between"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    """A wrong call says what was expected and what was given."""
    with pytest.raises(ValueError, match=message):
        make_phantom(**arguments)  # type: ignore[arg-type]
