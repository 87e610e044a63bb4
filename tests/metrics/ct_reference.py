"""CT scores by numpy, scipy and scikit-image alone: what the protocols are compared with."""

import numpy as np
from scipy import ndimage, signal, spatial
from skimage import measure
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def regions(reference: np.ndarray) -> dict[str, np.ndarray]:
    """Body, soft, bone, air, boundary, as App. B.5 of the paper says, all in the body."""
    labels = measure.label(reference > -500, connectivity=1)
    sizes = [(labels == k).sum() for k in range(1, labels.max() + 1)]
    piece = labels == 1 + int(np.argmax(sizes))
    outside = measure.label(np.pad(~piece, 1, constant_values=True), connectivity=1)
    body = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]
    bone, air = body & (reference > 300), body & (reference < -500)
    # Two steps over faces: a city-block distance of at most 2.
    far = ndimage.distance_transform_cdt(~(bone | air), metric="taxicab")
    near = (far <= 2) & (bone | air).any()
    soft = body & (reference >= -100) & (reference <= 200)
    return {"body": body, "soft": soft, "bone": bone, "air": air, "boundary": near & body}


def gaussian_ssim(first: np.ndarray, second: np.ndarray, **options: object):
    """Wang's SSIM of images in [0, 1] by scikit-image."""
    return structural_similarity(
        first,
        second,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        **options,
    )


def lift(predicted: np.ndarray, reference: np.ndarray, axis: int = 0) -> dict[str, float]:
    """The paper's metrics of two CTs (z, y, x), sides of at least 11."""
    a, b = (np.clip(image.astype(np.float64), -1000, 2000) for image in (predicted, reference))
    first, second = (a + 1000) / 3000, (b + 1000) / 3000
    masks = regions(b)
    body = masks["body"]
    mean, similarity = gaussian_ssim(first, second, full=True)
    inner = (slice(5, -5),) * 3
    steps = [np.diff(image, axis=axis) for image in (a, b)]
    found = {
        "mae": np.abs(a - b).mean(),
        "me": (a - b).mean(),
        "psnr": peak_signal_noise_ratio(b, a, data_range=3000),
        "psnr_body": peak_signal_noise_ratio(b[body], a[body], data_range=3000),
        "ssim": mean,
        "ssim_body": similarity[inner][body[inner]].mean(),
        "ncc": np.corrcoef(a.ravel(), b.ravel())[0, 1],
        "ncc_body": np.corrcoef(a[body], b[body])[0, 1],
        "delta_z_mae": np.abs(steps[0] - steps[1]).mean(),
        "delta_z_correlation": np.corrcoef(steps[0].ravel(), steps[1].ravel())[0, 1],
    }
    for number, plane in enumerate(("axial", "coronal", "sagittal")):
        slices = zip(np.moveaxis(first, number, 0), np.moveaxis(second, number, 0), strict=True)
        found[f"ssim_{plane}"] = np.mean([gaussian_ssim(one, other) for one, other in slices])
    for name, mask in masks.items():
        both = np.take(mask, range(1, mask.shape[axis]), axis)
        both = both & np.take(mask, range(mask.shape[axis] - 1), axis)
        if mask.any():
            found[f"mae_{name}"] = np.abs(a - b)[mask].mean()
            found[f"me_{name}"] = (a - b)[mask].mean()
        if both.any():
            found[f"delta_z_mae_{name}"] = np.abs(steps[0] - steps[1])[both].mean()
        if name == "body" and both.any():
            pair = steps[0][both], steps[1][both]
            found["delta_z_correlation_body"] = np.corrcoef(*pair)[0, 1]
    found |= sharpness(a, b, body, axis)
    return {name: float(value) for name, value in found.items()}


def sharpness(
    predicted: np.ndarray, reference: np.ndarray, region: np.ndarray, axis: int
) -> dict[str, float]:
    """The three numbers of sharpness, of MR and CT, where the region has detail."""
    padded = np.pad(region, 1, constant_values=True)
    shifts = [np.roll(padded, s, k)[1:-1, 1:-1, 1:-1] for k in range(3) for s in (-1, 1)]
    inner = region & np.logical_and.reduce(shifts)
    columns = []
    for image in (predicted, reference):
        inside = np.moveaxis(np.where(inner, image.astype(np.float64), np.nan), axis, 0)
        flat = np.concatenate([np.diff(inside, axis=k).ravel() for k in (1, 2)])
        columns.append((np.nanmean(flat**2), np.nanmean(np.diff(inside, axis=0) ** 2)))
    names = ("sharpness_in_plane", "sharpness_through_plane")
    found = {n: a / b for n, a, b in zip(names, *columns, strict=True)}
    fine = [fine_power(image, inner, axis) for image in (predicted, reference)]
    return found | {"high_frequency_power": fine[0] / fine[1]}


def fine_power(image: np.ndarray, region: np.ndarray, axis: int) -> float:
    """Power above a quarter cycle per voxel, by matrices, in the smallest box about the region."""
    where = np.nonzero(region)
    box = tuple(slice(one.min(), one.max() + 1) for one in where)
    total = 0.0
    for one, mask in zip(*(np.moveaxis(v[box], axis, 0) for v in (image, region)), strict=True):
        if not mask.any():
            continue
        around = np.pad(mask, 1)
        tree = spatial.cKDTree(np.argwhere(~around))
        depth = np.zeros(around.shape)
        depth[around] = tree.query(np.argwhere(around))[0]
        window = np.sin(np.pi / 2 * np.clip(depth[1:-1, 1:-1] / 4, 0, 1)) ** 2
        values = window * (one - (window * one).sum() / window.sum())
        left, right = (
            np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in one.shape
        )
        rows, columns = (np.minimum(np.arange(n), n - np.arange(n)) / n for n in one.shape)
        high = np.hypot.outer(rows, columns) > 0.25
        total += (np.abs(left @ values @ right)[high] ** 2).sum() / values.size
    return float(total)


def paper_box(
    mask: np.ndarray, spacing: tuple[float, float, float] = (1, 1, 1)
) -> tuple[slice, ...]:
    """128 mm along each axis about the centre of the mask's box, moved into the volume."""
    box = []
    for inside, length, own in zip(np.nonzero(mask), mask.shape, spacing, strict=True):
        side = min(128 if 0.98 <= own <= 1.02 else int(128 / own + 0.5), length)
        first = int(np.floor((inside.min() + inside.max() + 1) / 2 - side / 2))
        first = max(min(first, length - side), 0)
        box.append(slice(first, first + side))
    return tuple(box)


def prepared(image: np.ndarray, mask: np.ndarray, low: float, high: float) -> np.ndarray:
    """A CT as SynthRAD compares it: clipped, `low` outside the mask, from 0."""
    return np.where(mask, np.clip(image.astype(np.float64), low, high), low) - low


def synthrad2023(
    predicted: np.ndarray, reference: np.ndarray, mask: np.ndarray
) -> dict[str, float]:
    """SynthRAD2023's image metrics."""
    a, b = (prepared(image, mask, -1024, 3000) for image in (predicted, reference))
    _, similarity = structural_similarity(b, a, data_range=4024, full=True)
    inner = (slice(3, -3),) * 3
    return {
        "mae": float(np.abs(predicted.astype("f8") - reference)[mask].mean()),
        "psnr": float(peak_signal_noise_ratio(b[mask], a[mask], data_range=4024)),
        "ssim": float(similarity[inner][mask[inner]].mean()),
    }


def synthrad2025(
    predicted: np.ndarray, reference: np.ndarray, mask: np.ndarray
) -> dict[str, float]:
    """SynthRAD2025's image metrics: luminance, contrast and structure apart, by convolutions."""
    a, b = (prepared(image, mask, -1024, 3071) for image in (predicted, reference))
    found = {
        "mae": float(np.abs(predicted.astype("f8") - reference)[mask].mean()),
        "psnr": float(peak_signal_noise_ratio(b[mask], a[mask], data_range=4095)),
    }
    missing = [max(0, 97 - side) for side in mask.shape]
    margins = [(n // 2, n - n // 2) for n in missing]
    a, b, inside = (np.pad(volume, margins, mode="edge") for volume in (a, b, mask))
    product = 1.0
    for weight in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        values = np.prod([np.clip(p, 0, None) ** weight for p in parts(a, b, 4095)], axis=0)
        inner = (slice(3, -3),) * 3
        product *= values[inner][inside[inner]].mean()
        blocks = np.full((2, 2, 2), 1 / 8)
        a, b = (signal.fftconvolve(image, blocks, mode="same") for image in (a, b))
        a, b, inside = (volume[::2, ::2, ::2] for volume in (a, b, inside))
    return found | {"ms_ssim": float(product)}


def parts(a: np.ndarray, b: np.ndarray, width: float) -> tuple[np.ndarray, ...]:
    """Luminance, contrast and structure in uniform windows of 7^3 with sample covariance."""
    c1, c2 = (0.01 * width) ** 2, (0.03 * width) ** 2
    scale = 7**3 / (7**3 - 1)
    ma, mb = (ndimage.uniform_filter(image, 7) for image in (a, b))
    va = scale * (ndimage.uniform_filter(a * a, 7) - ma * ma)
    vb = scale * (ndimage.uniform_filter(b * b, 7) - mb * mb)
    cov = scale * (ndimage.uniform_filter(a * b, 7) - ma * mb)
    deviations = np.sqrt(np.clip(va, 0, None)) * np.sqrt(np.clip(vb, 0, None))
    return (
        (2 * ma * mb + c1) / (ma**2 + mb**2 + c1),
        (2 * deviations + c2) / (va + vb + c2),
        (cov + c2 / 2) / (deviations + c2 / 2),
    )
