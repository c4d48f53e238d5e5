from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_medclipsam.exchange.case import Case, LabelClass
from napari_medclipsam.exchange.measures import COLUMNS, export_measures, measure, slicing_plane
from napari_medclipsam.images import Volume


def case_of(mask_zyx: np.ndarray, affine: np.ndarray | None) -> Case:
    source = Volume(np.zeros(mask_zyx.shape, np.uint8), affine)
    return Case("c", source, mask_zyx.astype(np.uint8), [LabelClass(1, "tumor"), LabelClass(2, "nothing")])


def grid(rotation=(0, 0, 0), spacing=(1.0, 1.0, 1.0), centre_index=(20, 20, 20)) -> np.ndarray:
    """An affine that puts an index (i, j, k) at the origin of the patient."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", rotation, degrees=True).as_matrix() * spacing
    affine[:3, 3] = -affine[:3, :3] @ centre_index
    return affine


def ellipsoid(affine: np.ndarray, shape_zyx: tuple[int, int, int], radii_mm, axes=None) -> np.ndarray:
    """Voxels whose centres lie in an ellipsoid around the origin of the patient, its axes the columns of `axes`."""
    z, y, x = np.mgrid[: shape_zyx[0], : shape_zyx[1], : shape_zyx[2]]
    places = affine[:3, :3] @ np.stack([x, y, z]).reshape(3, -1) + affine[:3, 3:]
    along = (np.eye(3) if axes is None else axes).T @ places / np.array(radii_mm)[:, None]
    return (np.square(along).sum(axis=0) <= 1).reshape(shape_zyx)


@pytest.mark.parametrize(
    ("rotation", "spacing", "shape_zyx"),
    [
        ((0, 0, 0), (0.8, 0.8, 0.8), (41, 41, 41)),
        ((0, 0, 0), (0.5, 0.5, 2.5), (17, 65, 65)),
        ((30, -20, 65), (0.7, 0.9, 1.8), (25, 45, 55)),
    ],
)
def test_a_ball(rotation, spacing, shape_zyx) -> None:
    centre = [(n - 1) / 2 for n in shape_zyx[::-1]]
    affine = grid(rotation, spacing, centre)
    whole, one, _ = measure(case_of(ellipsoid(affine, shape_zyx, (12, 12, 12)), affine))
    assert one.volume_ml == pytest.approx(4 / 3 * np.pi * 1.2**3, rel=0.03)
    assert one.long_axis_mm == pytest.approx(24, abs=1.0) and one.short_axis_mm == pytest.approx(24, abs=1.0)
    assert one.max_3d_mm == pytest.approx(24, abs=max(spacing) + 0.01)
    assert abs(one.slice_index - (shape_zyx[0] - 1) / 2) <= 4
    assert (whole.number, whole.voxels, whole.volume_ml) == (0, one.voxels, one.volume_ml)


def test_a_slanted_ellipsoid() -> None:
    """Half axes 15, 6 and 9 mm; turned by 30 degrees in the plane, on voxels of 0.5 x 1 mm."""
    axes = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    affine = grid(spacing=(0.5, 1.0, 3.0), centre_index=(40, 20, 5))
    _, one, _ = measure(case_of(ellipsoid(affine, (11, 41, 81), (15, 6, 9), axes), affine))
    assert one.long_axis_mm == pytest.approx(30, abs=1.0) and one.short_axis_mm == pytest.approx(12, abs=1.0)
    assert (one.plane, one.slice_index) == ("axial", 5)


def test_the_short_axis_stays_inside() -> None:
    """A U: its hull is wide, but no line across the long axis crosses the gap."""
    mask = np.zeros((1, 60, 40), bool)
    mask[0, 5:55, 5:10] = mask[0, 5:10, 5:15] = mask[0, 50:55, 5:15] = True
    _, one, _ = measure(case_of(mask, np.diag([1.0, 1, 1, 1])))
    assert one.long_axis_mm == pytest.approx(np.hypot(50, 9), abs=1.2) and one.short_axis_mm < 11


def test_single_voxels_and_rods() -> None:
    mask = np.zeros((3, 9, 9), bool)
    mask[1, 4, 4] = True
    affine = np.diag([0.5, 0.7, 2.0, 1])
    _, one, nothing = measure(case_of(mask, affine))
    assert one.volume_ml == pytest.approx(0.0007)
    assert one.long_axis_mm == pytest.approx(0.7) and one.short_axis_mm == pytest.approx(0.5, abs=0.07)
    assert one.max_3d_mm == pytest.approx(2.0)
    assert (nothing.name, nothing.voxels, nothing.volume_ml, nothing.long_axis_mm) == ("nothing", 0, 0.0, None)
    mask[1, 4, 2:7] = True
    _, rod, _ = measure(case_of(mask, affine))
    assert rod.long_axis_mm == pytest.approx(2.5) and rod.short_axis_mm == pytest.approx(0.7, abs=0.07)


def test_objects_come_largest_first_and_corners_join() -> None:
    mask = np.zeros((4, 20, 20), bool)
    mask[0, 0, 0] = True
    mask[2, 5:9, 5:9] = mask[3, 9, 9] = True
    whole, large, small, _ = measure(case_of(mask, np.eye(4)))
    assert [m.voxels for m in (whole, large, small)] == [18, 17, 1] and (large.number, small.number) == (1, 2)
    assert whole.long_axis_mm == large.long_axis_mm and whole.volume_ml == pytest.approx(0.018)


def test_the_plane_is_that_of_acquisition_or_axial() -> None:
    def plane(affine: np.ndarray) -> tuple[int, str]:
        return slicing_plane(Volume(np.zeros((3, 4, 5)), affine))

    assert plane(np.diag([1.0, 1, 3, 1])) == (0, "axial")
    assert plane(np.diag([3.0, 1, 1, 1])) == (2, "sagittal")
    assert plane(np.diag([1.0, 1, 1.1, 1])) == (0, "axial")
    assert plane(np.diag([1.0, 1, 1, 1])[:, [0, 2, 1, 3]]) == (1, "axial")


def test_csv(tmp_path: Path) -> None:
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 1:3, 1:3] = True
    path = export_measures([case_of(mask, None), case_of(mask, np.eye(4))], tmp_path / "sizes.csv")
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    assert tuple(rows[0]) == COLUMNS and [r["object"] for r in rows] == ["all", "1", "all"] * 2
    assert rows[1]["voxels"] == "4" and rows[1]["volume_ml"] == "" and rows[4]["volume_ml"] == "0.004"
    assert float(rows[4]["long_axis_mm"]) == pytest.approx(np.hypot(2, 1), abs=1e-3)
