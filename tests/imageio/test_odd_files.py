"""Real odd files: each is read right or refused with a clear message."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from liftnet.core.errors import LiftnetError
from liftnet.core.geometry import Geometry, Volume, axis_order, turn
from liftnet.imageio import read_image

ODD = Path(__file__).parents[2].parent / "shared" / "data" / "odd_nifti"
pytestmark = pytest.mark.skipif(not ODD.is_dir(), reason="../shared/data/odd_nifti is not there")

# File -> the stored type it is read as, or the message it is refused with.
READ = {
    "dcm_qa__Philips_fieldmaphz.nii": "float32",  # int16 with a slope
    "dipy__aniso_vox.nii.gz": "int16",
    "nibabel__anatomical.nii": "int16",  # big-endian
    "nibabel__reoriented_anat_moved.nii": "float32",  # big-endian
    "nibabel__resampled_anat_moved.nii": "float32",  # holds 153 NaN
    "nibabel__standard.nii.gz": "uint8",
    "nifti_jl__avg152T1_RL_nifti.nii.gz": "uint8",  # big-endian
    "nifti_reader_js__avg152T1_LR_nifti.nii.gz": "uint8",  # big-endian
    "nifti_reader_js__avg152T1_LR_nifti2.nii.gz": "float32",  # NIfTI-2
    "nifti_reader_js__big.nii.gz": "float32",  # big-endian, qform only
    "nifti_reader_js__little.nii.gz": "float32",  # qform only
    "nifti_reader_js__with_extension.nii.gz": "uint8",  # big-endian, header extension
    "nifti_rs__27_float64.nii": "float64",
    "nifti_rs__27_int64.nii": "int64",
    "nifti_rs__27_int8.nii": "int8",
    "nifti_rs__27_uint64.nii": "uint64",
    "nifti_rs__minimal.nii.gz": "uint8",  # neither sform nor qform
    "niivue__dtype_FLOAT64.nii.gz": "float64",
    "niivue__dtype_INT16.nii.gz": "float32",  # slope
    "niivue__dtype_UINT16.nii.gz": "float32",  # slope
    "niivue__dtype_UINT8.nii.gz": "float32",  # slope
    "niivue__mha.mha": "int16",
    "spm__SPECT_bigendian_int16.nii": "int16",
}
REFUSED = {
    "dipy__S0_10slices.nii.gz": "The axes are sheared: 34 degrees away from perpendicular",
    "nibabel__example4d.nii.gz": "The image is 4D (128 x 96 x 24 x 2), expected 3D",
    "nibabel__example_nifti2.nii.gz": "The image is 4D (32 x 20 x 12 x 2), expected 3D",
    "nibabel__functional.nii": "The image is 4D (17 x 21 x 3 x 20), expected 3D",
    "nibabel__nifti1.hdr": "Not a supported kind of file: nibabel__nifti1.hdr",
    "nifti_reader_js__5D_small.nii": "The image is 5D (1 x 2 x 3 x 1 x 3), expected 3D",
    "nifti_reader_js__5D_zeros.nii.gz": "The image is 5D (256 x 256 x 170 x 1 x 3), expected 3D",
    "nifti_reader_js__not-nifti.nii": "Not a NIfTI file, or its header is damaged",
    "nifti_rs__complex_complex64.nii": "The image is complex-valued",
    "nifti_rs__fuzz_artifacts_crash-1.nii": "Not a NIfTI file, or its header is damaged",
    "nifti_rs__fuzz_artifacts_crash-ed7d46344d7efb3b9f0c374d66d2e02f66cc447d.nii": (
        "Not a NIfTI file, or its header is damaged"
    ),
    "nifti_rs__minimal.hdr.gz": "Not a supported kind of file: nifti_rs__minimal.hdr.gz",
    "nifti_rs__minimal.img.gz": "Not a supported kind of file: nifti_rs__minimal.img.gz",
    "nifti_rs__minimal_extended_hdr.nii": "The image is 2D (8 x 8), expected 3D",
    "nifti_rs__rgb_3D.nii": "The image has several values per voxel (RGB)",
    "nifti_rs__rgba_4D.nii": "The image has several values per voxel (RGBA)",
    "niivue__complex64.nii.gz": "The image is complex-valued",
    "niivue__ct_perfusion.nii.gz": "The image has several values per voxel (RGB)",
    "niivue__shear.nii.gz": "The axes are sheared: 19 degrees away from perpendicular",
}


def ras_affine(geometry: Geometry) -> np.ndarray:
    """The affine of a geometry as nibabel gives it: (i, j, k) to RAS."""
    columns = [np.multiply(geometry.direction[a], geometry.spacing_mm[a]) for a in (2, 1, 0)]
    lps = np.column_stack([*columns, geometry.origin_mm])
    return np.vstack([lps * [[-1], [-1], [1]], [0, 0, 0, 1]])


def oracle(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (k, j, i) and RAS affine by nibabel, or by SimpleITK for what nibabel cannot read."""
    if path.suffix == ".mha":
        image = sitk.ReadImage(str(path))
        matrix = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        affine = np.column_stack([matrix, image.GetOrigin()]) * [[-1], [-1], [1]]
        return sitk.GetArrayFromImage(image), np.vstack([affine, [0, 0, 0, 1]])
    image = nib.load(path)
    data = np.asarray(image.dataobj)
    return data.reshape(data.shape[:3]).T, image.affine


def test_table_is_complete():
    """Every file there is has an expected outcome, and no more."""
    assert {path.name for path in (ODD / "files").iterdir()} == {*READ, *REFUSED}
    assert len(READ) + len(REFUSED) == 42


@pytest.mark.parametrize("name", READ)
def test_read_right(name):
    """Voxels, NaN, type and world positions equal the oracle's."""
    array, info = read_image(ODD / "files" / name)
    data, affine = oracle(ODD / "files" / name)
    assert info.dtype == READ[name]
    np.testing.assert_allclose(array, data, rtol=1e-6)  # NaN must meet NaN
    far = np.array([*(np.array(data.shape[::-1]) - 1), 1])
    np.testing.assert_allclose(ras_affine(info.geometry) @ far, affine @ far, atol=1e-3)
    np.testing.assert_allclose(ras_affine(info.geometry), affine, atol=1e-5)
    assert info.oriented == (name != "nifti_rs__minimal.nii.gz")


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, capfd):
    """The message is ours, names a remedy, and nothing else is printed."""
    with pytest.raises(LiftnetError) as caught:
        read_image(ODD / "files" / name)
    assert caught.value.problem == REFUSED[name]
    assert caught.value.where == str(ODD / "files" / name)
    assert caught.value.remedy
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_orientations(axis):
    """The same brain stored in all 48 voxel orders turns into one array on one grid."""
    files = sorted((ODD / "orientations48").iterdir())
    assert len(files) == 48
    first = None
    for path in files:
        array, info = read_image(path)
        volume = turn(Volume(array[None], info.geometry), axis_order(info.geometry, axis))
        first = first or volume
        np.testing.assert_array_equal(volume.voxels, first.voxels)
        assert first.geometry.differs(volume.geometry) is None
