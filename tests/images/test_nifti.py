from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import hypothesis.extra.numpy as hnp
import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.images import Volume, read_image, read_mask, write_mask

TOWARDS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
ALL_ORIENTATIONS = [
    "".join(codes) for order in itertools.permutations(("LR", "PA", "IS")) for codes in itertools.product(*order)
]


def voxels(shape: tuple[int, ...] = (3, 4, 5), dtype: str = "int16") -> np.ndarray:
    return (np.arange(np.prod(shape)) - 7).reshape(shape).astype(dtype)


def save(path: Path, array_ijk: np.ndarray, affine: np.ndarray | None = None, **fields: object) -> Path:
    image = nibabel.Nifti1Image(array_ijk, np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine)
    image.header.set_xyzt_units("mm", "sec")
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def raw(path: Path, changes: dict[int, bytes], source: Path) -> Path:
    """Copy an uncompressed file with bytes replaced, as nibabel itself would not write them."""
    content = bytearray(source.read_bytes())
    for offset, replacement in changes.items():
        content[offset : offset + len(replacement)] = replacement
    path.write_bytes(content)
    return path


def assert_same_grid(mask_path: Path, source_path: Path) -> None:
    mask, source = nibabel.load(mask_path), nibabel.load(source_path)
    assert mask.affine.tobytes() == source.affine.tobytes()
    assert mask.shape == source.shape[:3]
    for field in ("sform_code", "qform_code", "quatern_b", "quatern_c", "quatern_d", "srow_x", "srow_y", "srow_z"):
        assert np.array_equal(mask.header[field], source.header[field]), field
    assert mask.header.get_xyzt_units() == source.header.get_xyzt_units()


def test_there_are_48_orientations() -> None:
    assert len(set(ALL_ORIENTATIONS)) == 48


@pytest.mark.parametrize("codes", ALL_ORIENTATIONS)
def test_every_orientation_round_trips(codes: str, tmp_path: Path) -> None:
    affine = np.eye(4)
    for axis, code in enumerate(codes):
        affine[:3, axis] = np.array(TOWARDS[code]) * (2, 3, 4)[axis]
    affine[:3, 3] = (11, -12, 13)
    array_ijk = voxels()
    source = save(tmp_path / "image.nii.gz", array_ijk, affine)
    volume = read_image(source)
    assert volume.axis_codes == tuple(codes)
    assert np.array_equal(volume.array_zyx, array_ijk.transpose(2, 1, 0))
    assert np.array_equal(volume.affine, affine)

    mask = (volume.array_zyx % 3).astype(np.uint8)
    write_mask(mask, volume, tmp_path / "mask.nii.gz")
    assert_same_grid(tmp_path / "mask.nii.gz", source)
    assert np.array_equal(read_mask(tmp_path / "mask.nii.gz", volume), mask)
    assert nibabel.load(tmp_path / "mask.nii.gz").get_data_dtype() == np.uint8

    for wanted in ("RAS", "LPS", "SPR"):
        turned = volume.reoriented(wanted)
        assert turned.axis_codes == tuple(wanted)
        assert np.array_equal(volume.restored_mask(turned.array_zyx, wanted), volume.array_zyx)
        # A voxel keeps its place in the patient.
        z, y, x = (int(n[0]) for n in np.nonzero(turned.array_zyx == volume.array_zyx[1, 2, 1]))
        assert np.allclose(turned.affine @ (x, y, z, 1), affine @ (1, 2, 1, 1))
        # A mask stored with other axes on the same grid is brought back exactly.
        write_mask(turned.array_zyx % 3, turned, tmp_path / "turned.nii.gz")
        assert np.array_equal(read_mask(tmp_path / "turned.nii.gz", volume), mask)


@st.composite
def oblique_affines(draw: st.DrawFn) -> np.ndarray:
    quaternion = draw(hnp.arrays(float, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1))
    rotation = nibabel.quaternions.quat2mat(quaternion / np.linalg.norm(quaternion))
    spacing = draw(hnp.arrays(float, 3, elements=st.floats(0.05, 20)))
    flips = draw(st.tuples(*[st.sampled_from((-1, 1))] * 3))
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(spacing * flips)
    affine[:3, 3] = draw(hnp.arrays(float, 3, elements=st.floats(-500, 500)))
    return affine


@settings(max_examples=40, deadline=None)
@given(affine=oblique_affines(), form=st.sampled_from(["sform", "qform", "both", "version 2"]))
def test_oblique_affines_round_trip_bit_for_bit(
    affine: np.ndarray, form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("oblique")
    kind = nibabel.Nifti2Image if form == "version 2" else nibabel.Nifti1Image
    image = kind(voxels(), affine)
    if form in ("qform", "both"):
        image.set_qform(affine, code=3)
        image.set_sform(affine, code=0 if form == "qform" else 4)
    nibabel.save(image, folder / "image.nii")
    volume = read_image(folder / "image.nii")
    mask = volume.array_zyx > 20
    write_mask(mask, volume, folder / "mask.nii.gz")
    assert_same_grid(folder / "mask.nii.gz", folder / "image.nii")
    assert np.array_equal(read_mask(folder / "mask.nii.gz", volume), mask)
    assert np.array_equal(volume.restored_mask(volume.reoriented("LPS").array_zyx, "LPS"), volume.array_zyx)


def test_2d_and_trailing_axes(tmp_path: Path) -> None:
    source = save(tmp_path / "flat.nii.gz", voxels((4, 5)))
    volume = read_image(source)
    assert volume.shape_zyx == (1, 5, 4)
    write_mask(np.ones((1, 5, 4), bool), volume, tmp_path / "mask.nii")
    assert nibabel.load(tmp_path / "mask.nii").shape == (4, 5)
    assert np.array_equal(read_mask(tmp_path / "mask.nii", volume), np.ones((1, 5, 4)))
    assert read_image(save(tmp_path / "long.nii", voxels((4, 5, 2, 1)))).shape_zyx == (2, 5, 4)


def test_4d_asks_for_a_volume(tmp_path: Path) -> None:
    array = voxels((3, 4, 5, 6))
    source = save(tmp_path / "fmri.nii.gz", array)
    with pytest.raises(ImageError, match=r"holds 6 volumes.*--volume-index"):
        read_image(source)
    with pytest.raises(ImageError, match=r"no volume 6.*0 to 5"):
        read_image(source, volume_index=6)
    volume = read_image(source, volume_index=2)
    assert np.array_equal(volume.array_zyx, array[..., 2].T)
    write_mask(np.zeros((5, 4, 3), np.uint8), volume, tmp_path / "mask.nii.gz")
    assert_same_grid(tmp_path / "mask.nii.gz", source)
    with pytest.raises(ImageError, match="no volume 1"):
        read_image(save(tmp_path / "one.nii", voxels()), volume_index=1)
    with pytest.raises(ImageError, match="5 axes"):
        read_image(save(tmp_path / "five.nii", voxels((3, 4, 5, 1, 2))))


def test_slope_and_intercept(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nibabel.save(image, tmp_path / "scaled.nii.gz")
    volume = read_image(tmp_path / "scaled.nii.gz")
    expected = nibabel.load(tmp_path / "scaled.nii.gz").get_fdata().T
    assert volume.array_zyx.dtype == np.float32
    assert np.allclose(volume.array_zyx, expected)


def test_big_endian_and_rgb(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(voxels(), np.eye(4), header), tmp_path / "big.nii")
    big = read_image(tmp_path / "big.nii")
    assert big.array_zyx.dtype == np.dtype("int16") and np.array_equal(big.array_zyx, voxels().T)
    write_mask(big.array_zyx > 0, big, tmp_path / "mask.nii")
    assert_same_grid(tmp_path / "mask.nii", tmp_path / "big.nii")

    rgb = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["G"] = np.arange(5)
    colour = read_image(save(tmp_path / "rgb.nii.gz", rgb))
    assert colour.rgb and colour.array_zyx.shape == (5, 4, 3, 3) and colour.array_zyx[4, 0, 0].tolist() == [0, 4, 0]
    with pytest.raises(ImageError, match="colour"):
        read_mask(tmp_path / "rgb.nii.gz")


def test_units_are_turned_to_mm_and_kept_in_masks(tmp_path: Path) -> None:
    source = save(tmp_path / "metres.nii.gz", voxels(), np.diag([0.001, 0.002, 0.003, 1]), xyzt_units=1)
    volume = read_image(source)
    assert np.allclose(volume.spacing_zyx_mm, (3, 2, 1))
    write_mask(volume.array_zyx > 0, volume, tmp_path / "mask.nii.gz")
    assert_same_grid(tmp_path / "mask.nii.gz", source)


def test_free_text_and_extensions_stay_out_of_masks(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), np.eye(4))
    image.header["descrip"] = b"SECRET NAME"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"SECRET NAME"))
    nibabel.save(image, tmp_path / "image.nii")
    volume = read_image(tmp_path / "image.nii")
    write_mask(volume.array_zyx > 0, volume, tmp_path / "mask.nii")
    assert b"SECRET" in (tmp_path / "image.nii").read_bytes()
    assert b"SECRET" not in (tmp_path / "mask.nii").read_bytes()


def f4(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({252: b"\0\0\0\0"}, "does not say where its voxels are"),
        ({280: f4(0, 0, 0, 0)}, "singular"),
        ({280: f4(float("nan"), 0, 0, 0)}, "not finite"),
        ({280: f4(float("inf"), 0, 0, 0)}, "not finite"),
        # With only a qform, a voxel size of 0 would silently become 1 in nibabel.
        ({252: b"\1\0\0\0", 80: f4(0, 3, 4)}, "voxel sizes"),
        ({252: b"\1\0\0\0", 80: f4(float("nan"), 3, 4)}, "voxel sizes"),
        ({252: b"\1\0\0\0", 80: f4(-2, 3, 4)}, "voxel sizes"),
    ],
)
def test_unusable_geometry_is_refused(changes: dict[int, bytes], message: str, tmp_path: Path) -> None:
    good = save(tmp_path / "good.nii", voxels())
    with pytest.raises(GeometryError, match=message):
        read_image(raw(tmp_path / "bad.nii", changes, good))


def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    good = save(tmp_path / "good.nii", voxels())
    absurd = raw(tmp_path / "absurd.nii", {42: np.array([16000, 16000, 32000], "<i2").tobytes()}, good)
    with pytest.raises(ImageError, match="incomplete"):
        read_image(absurd)
    (tmp_path / "absurd.nii.gz").write_bytes(gzip.compress(absurd.read_bytes()))
    with pytest.raises(ImageError, match="incomplete"):
        read_image(tmp_path / "absurd.nii.gz")


def test_wrong_names_and_pairs(tmp_path: Path) -> None:
    good = save(tmp_path / "good.nii.gz", voxels())
    good.rename(tmp_path / "named.nii")
    with pytest.raises(ImageError, match=r"Rename it to end in \.nii\.gz"):
        read_image(tmp_path / "named.nii")
    plain = save(tmp_path / "plain.nii", voxels())
    plain.rename(tmp_path / "plain.nii.gz")
    with pytest.raises(ImageError, match=r"Rename it to end in \.nii\."):
        read_image(tmp_path / "plain.nii.gz")
    nibabel.save(nibabel.Nifti1Pair(voxels(), np.eye(4)), tmp_path / "pair.hdr")
    with pytest.raises(ImageError, match="pair"):
        read_image(tmp_path / "pair.hdr")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted(bad: float, tmp_path: Path) -> None:
    array = voxels(dtype="float32")
    array[0, 1, :3] = bad
    with pytest.raises(ImageError, match=r"^3 of 60 voxels are not finite.*Replace"):
        read_image(save(tmp_path / "bad.nii.gz", array))


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="complex64"):
        read_image(save(tmp_path / "k.nii", voxels().astype(np.complex64)))


def test_masks_must_lie_on_the_image(tmp_path: Path) -> None:
    volume = read_image(save(tmp_path / "image.nii", voxels()))
    shifted = np.diag([2.0, 3.0, 4.0, 1.0])
    shifted[0, 3] = 1
    with pytest.raises(GeometryError, match="lies elsewhere"):
        read_mask(save(tmp_path / "shifted.nii", voxels(dtype="uint8") % 3, shifted), volume)
    with pytest.raises(GeometryError, match=r"\(4, 4, 3\).*\(5, 4, 3\)"):
        read_mask(save(tmp_path / "short.nii", voxels((3, 4, 4), "uint8")), volume)
    with pytest.raises(ImageError, match="whole numbers"):
        read_mask(save(tmp_path / "soft.nii", np.full((3, 4, 5), 0.5, np.float32)))
    labels = np.zeros((3, 4, 5), np.float32)
    labels[1] = 300
    assert read_mask(save(tmp_path / "labels.nii", labels), volume).dtype == np.uint16


def test_masks_of_sources_without_a_nifti_header_say_both_forms(tmp_path: Path) -> None:
    affine = np.array([[-2.0, 0, 0, 5], [0, -3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    write_mask(np.ones((2, 3, 4), np.uint16) * 300, Volume(np.zeros((2, 3, 4)), affine), tmp_path / "m.nii.gz")
    image = nibabel.load(tmp_path / "m.nii.gz")
    assert np.array_equal(image.affine, affine) and np.allclose(image.get_qform(), affine)
    assert image.header["sform_code"] == 1 and image.header["qform_code"] == 1
    assert image.get_data_dtype() == np.uint16 and image.header.get_xyzt_units()[0] == "mm"
    affine[0, 2] = 1  # shear, as of a tilted gantry
    write_mask(np.ones((2, 3, 4), bool), Volume(np.zeros((2, 3, 4)), affine), tmp_path / "m.nii.gz")
    image = nibabel.load(tmp_path / "m.nii.gz")
    assert np.array_equal(image.affine, affine) and image.header["qform_code"] == 0


def test_real_volumes_round_trip(data_dir: Path, tmp_path: Path) -> None:
    for source in (
        data_dir / "volumes/spinal_cord/t2.nii.gz",
        data_dir / "volumes/ct_body/image.nii.gz",
        sorted((data_dir / "volumes/hippocampus/images").iterdir())[0],
    ):
        volume = read_image(source)
        assert np.array_equal(volume.array_zyx, np.asarray(nibabel.load(source).dataobj).T)
        write_mask(volume.array_zyx > volume.array_zyx.mean(), volume, tmp_path / "mask.nii.gz")
        assert_same_grid(tmp_path / "mask.nii.gz", source)
