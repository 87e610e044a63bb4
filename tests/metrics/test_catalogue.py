"""The catalogue: sentences and names that are right for every metric, and the page of them."""

import math
from pathlib import Path

import numpy as np
import pytest
from image_pairs import pair_of

from liftnet.core.scores import Comparison
from liftnet.metrics import regions
from liftnet.metrics.catalogue import (
    METRICS,
    UNKNOWN,
    digits_of,
    direction,
    explain,
    full_name,
    main_metrics,
    page,
    short_name,
    unit_of,
)
from liftnet.metrics.metric import Pair
from liftnet.metrics.protocols import ct_protocols, mr_protocols
from liftnet.metrics.protocols.base import PairProtocol, measure

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def head_ct() -> np.ndarray:
    """A CT (z, y, x) with soft tissue, a block of bone and enclosed air."""
    image = np.full((13, 17, 19), -1000, "f4")
    image[1:12, 2:15, 2:17] = np.random.default_rng(0).uniform(-50, 100, (11, 13, 15))
    image[3:9, 3:8, 4:8] = 900
    image[4:8, 10:13, 10:14] = -900
    return image


def metrics_of(protocol: PairProtocol, image: np.ndarray, modality: str) -> set[str]:
    """The names that really scoring one image gives."""
    pair = Comparison(
        case="a",
        channel="c",
        predicted=(image + np.random.default_rng(1).normal(0, 0.05, image.shape)).astype("f4"),
        reference=image,
        subject=image > 0,
        subject_note="",
        slice_axis="axial",
        spacing_mm=(3.0, 2.0, 1.0),
        modality=modality,
        source=image,
        source_name="s",
        mask=np.ones(image.shape, dtype=bool),
    )
    return set(protocol.score_case(pair).metrics)


@pytest.fixture(scope="module")
def produced() -> dict[str, set[str]]:
    """The metrics of all protocols, by the unit of their images."""
    mr = np.random.default_rng(2).random((7, 240, 240)).astype("f4")
    small = np.ascontiguousarray(mr[:, :20, :22])
    found = {"": set(), "HU": set()}
    for name, protocol in mr_protocols.PROTOCOLS.items():
        # Only this protocol asks for the in-plane grid of BraTS.
        image = mr if name == "cwdm" else small
        found[""] |= metrics_of(protocol, image, "MR")
    for protocol in ct_protocols.PROTOCOLS.values():
        found["HU"] |= metrics_of(protocol, head_ct(), "CT")
    return found


def test_every_metric_has_a_sentence_of_its_own(produced):
    """All are described, end in what is better, and no two have the same sentence or name."""
    for unit, modality in (("", "MR"), ("HU", "CT")):
        places = [(m, place) for m in METRICS for place in m.of.get(modality, ())]
        assert produced[unit] == {full_name(*one) for one in places}
    for unit, metrics in produced.items():
        sentences = {metric: explain(metric, unit) for metric in metrics}
        for metric, sentence in sentences.items():
            assert sentence != UNKNOWN, metric
            assert sentence.endswith(f"; {direction(metric)} is better."), metric
            assert sentence.count(".") == 1 and "  " not in sentence and sentence[0].isupper()
            assert short_name(metric) != metric and len(short_name(metric)) < 30
        assert len(set(sentences.values())) == len(metrics)
        assert len({short_name(metric) for metric in metrics}) == len(metrics)


def test_units_are_those_of_the_images(produced):
    """HU are never said of MR, and errors of CT are in HU, not in units of [0, 1]."""
    for metric in produced[""]:
        assert "HU" not in explain(metric)
        assert ("units of the range [0, 1]" in explain(metric)) == (
            "mae" in metric or "rmse" in metric
        )
    for metric in produced["HU"]:
        assert "[0, 1]" not in explain(metric, "HU")
        assert ("in HU" in explain(metric, "HU")) == ("mae" in metric or metric.startswith("me"))
    assert "where the range is 1;" in explain("psnr")
    assert "where the range is the width of the protocol's HU window;" in explain("psnr", "HU")
    with pytest.raises(ValueError, match='expected the unit of the images, "HU" or "", got "dB"'):
        explain("psnr", "dB")


def test_places_say_what_the_code_takes():
    """The thresholds in the sentences are those of the regions."""
    soft, bone, air = (explain(f"mae_{place}", "HU") for place in ("soft", "bone", "air"))
    assert "{:g} to {:g} HU".format(*regions.SOFT_HU) in soft
    assert f"above {regions.BONE_HU:g} HU" in bone
    assert f"below {regions.AIR_HU:g} HU" in air
    assert f"above {regions.AIR_HU:g} HU" in explain("ncc_body", "HU")
    assert f"within {regions.BOUNDARY_VOXELS} voxels" in explain("mae_boundary", "HU")
    assert "the foreground of the case's reference contrasts" in explain("psnr_brain")
    assert "over all coronal slices" in explain("ssim_coronal")
    assert "both voxels lie in bone" in explain("delta_z_mae_bone", "HU")


def test_names_in_headings():
    """The field's abbreviations, and the place in words."""
    names = {
        "psnr": "PSNR",
        "rmse": "RMSE",
        "ssim_axial": "SSIM (axial)",
        "ssim_body": "SSIM in the body",
        "ms_ssim": "MS-SSIM",
        "mae_bone": "MAE in bone",
        "me_air": "ME in air",
        "mae_soft": "MAE in soft tissue",
        "mae_boundary": "MAE at boundaries",
        "mae_brain": "MAE in the brain",
        "delta_z_mae": "Δz MAE",
        "delta_z_mae_air": "Δz MAE in air",
        "delta_z_correlation_body": "Δz correlation in the body",
        "ncc": "NCC",
    }
    assert {metric: short_name(metric) for metric in names} == names


def test_every_metric_has_a_direction():
    """What the protocols measure is known; a good image is better than a bad one, in that way."""
    rng = np.random.default_rng(0)
    ct = np.full((12, 14, 16), -1000, dtype=np.float32)
    ct[2:10, 2:12, 2:14] = 40
    ct[4:6, 4:8, 4:8] = 900
    ct[7:9, 5:8, 8:12] = -800
    noise = rng.normal(0, 60, ct.shape).astype(np.float32)
    options = {"limits": (-1000.0, 2000.0), "modality": "CT", "subject": "body"}
    good, bad = (
        measure(
            Pair(
                np.clip(ct + level * noise, -1000, 2000),
                ct,
                axis=0,
                regions=regions.find_regions(ct),
                **options,
            )
        )[0]
        for level in (0.5, 3)
    )
    mr = rng.random(ct.shape).astype(np.float32)
    both = [
        measure(pair_of(mr + level * noise / 600, mr, mr > 0.3, axis=1))[0] for level in (0.5, 3)
    ]
    assert len(good) > 20 and len(both[0]) > 10
    for one, other in ((good, bad), both):
        for metric, value in one.items():
            way = direction(metric)
            if metric.startswith("me"):
                assert way == "nearest 0"
                continue
            if metric.startswith(("sharpness", "high")):
                assert way == "nearest 1" and 1 < value < other[metric]
                continue
            assert way == ("higher" if value > other[metric] else "lower"), metric
    assert direction("ms_ssim") == "higher"
    assert {direction(name) for name in ("dice", "psnr_ratio", "body", "")} == {"unknown"}


@pytest.mark.parametrize("metric", ["dice", "dice_bone", "psnr_axial", "mae_", "bone", ""])
def test_what_is_not_known_is_not_described(metric):
    """No sentence is made up, and a heading shows the name as it is."""
    assert explain(metric) == UNKNOWN and short_name(metric) == metric


def test_units_and_digits():
    """Errors have the unit of the images, PSNR dB, shares none; numbers of HU have two digits."""
    assert unit_of("mae_bone", ["HU"]) == "HU" and unit_of("mae", [""]) == ""
    assert unit_of("mae", ["HU", ""]) == "HU" and unit_of("dice", ["HU"]) == ""
    assert unit_of("psnr", ["HU"]) == "dB" and unit_of("ssim", ["HU"]) == ""
    assert [digits_of("mae", [50.0, math.inf]), digits_of("mae", [0.05])] == [2, 4]
    assert digits_of("psnr_brain", [1.0]) == 2 and digits_of("dice", []) == 4


def test_what_a_comparison_shows_first():
    """The paper's metrics in its order; where there is none of them, all."""
    assert main_metrics(["ncc", "mae", "ssim", "psnr"]) == ("psnr", "ssim", "mae")
    assert main_metrics(["ncc", "dice"]) == ("ncc", "dice")


def test_the_page_is_made_from_the_table():
    """docs/reference/metrics.md is what `python -m liftnet.metrics.catalogue` writes."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text
    assert page(text.replace("| `similarity.mae` |", "|")) == text
    with pytest.raises(ValueError, match="a place for its metrics, found none"):
        page("# Metrics\n")
