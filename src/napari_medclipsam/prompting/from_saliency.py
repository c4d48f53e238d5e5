"""From a component of a coarse mask to the box, points and mask prompt that a segmenter takes.

Nothing here is random: the same map gives the same prompts.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_medclipsam.models.contracts import PromptSet
from napari_medclipsam.saliency.coarse import Component

# sigmoid(±6) is within 0.25 % of certainty; more would drown the segmenter's own evidence.
MAX_LOGIT = 6.0


def box_with_margin(
    box_xyxy: tuple[float, float, float, float], shape_yx: tuple[int, int], margin: float = 0.05
) -> tuple[float, float, float, float]:
    """Widen a box on each side by `margin` times its own width or height, clipped to the image.

    A margin in proportion to the object suits a 10-pixel nodule and a whole lung alike.
    """
    x0, y0, x1, y1 = box_xyxy
    grow_x, grow_y = margin * (x1 - x0 + 1), margin * (y1 - y0 + 1)
    height, width = shape_yx
    return (
        float(max(0, x0 - grow_x)),
        float(max(0, y0 - grow_y)),
        float(min(width - 1, x1 + grow_x)),
        float(min(height - 1, y1 + grow_y)),
    )


def inner_points(component: Component, values_yx: np.ndarray, n_points: int) -> np.ndarray:
    """Return up to `n_points` points (x, y) inside a component, float32 (n, 2).

    Each next point is where depth inside the component, distance to the points so far and saliency are large together,
    so the points spread over the object and stay off its edge.
    """
    # The pad makes the image border count as outside: a point on the border is a poor click.
    depth = ndimage.distance_transform_edt(np.pad(component.mask_yx, 1))[1:-1, 1:-1]
    return _spread(depth, np.maximum(values_yx, 1e-3), n_points)


def outer_points(
    component: Component, values_yx: np.ndarray, n_points: int, forbidden_yx: np.ndarray | None = None
) -> np.ndarray:
    """Return up to `n_points` points (x, y) around a component where saliency is low, float32 (n, 2).

    They lie in a ring whose distance and width follow the size of the component, and never in `forbidden_yx` (the other
    components: they are the same structure).
    """
    step = max(2.0, 0.15 * float(np.sqrt(component.area_px)))
    away = ndimage.distance_transform_edt(~component.mask_yx)
    ring = (away >= step) & (away <= 3 * step)
    if forbidden_yx is not None:
        ring &= ~forbidden_yx
    return _spread(np.where(ring, 3 * step, 0.0), np.maximum(1 - values_yx, 1e-3), n_points)


def _spread(room_yx: np.ndarray, weight_yx: np.ndarray, n_points: int) -> np.ndarray:
    """Pick points greedily at the maximum of weight times min(room, distance to the points so far)."""
    points: list[tuple[int, int]] = []
    room = room_yx.astype(float)
    rows, columns = np.indices(room.shape)
    for _ in range(n_points):
        y, x = np.unravel_index(int(np.argmax(room * weight_yx)), room.shape)
        if room[y, x] <= 0:
            break
        points.append((int(x), int(y)))
        room = np.minimum(room, np.hypot(rows - y, columns - x))
    return np.asarray(points, np.float32).reshape(-1, 2)


def mask_logits(values_yx: np.ndarray, threshold: float = 0.5, forbidden_yx: np.ndarray | None = None) -> np.ndarray:
    """Return a saliency map as logits, float32, positive where the map is above `threshold`.

    `forbidden_yx` (the other components) is set to "surely outside", so that one prompt describes one object.
    """
    # Bounds keep log finite; sigmoid(±MAX_LOGIT) is where the clip below acts anyway.
    p = np.clip(values_yx.astype(np.float32), 1e-4, 1 - 1e-4)
    t = float(np.clip(threshold, 1e-4, 1 - 1e-4))
    logits = np.log(p / (1 - p)) - np.log(t / (1 - t))
    logits = np.clip(logits, -MAX_LOGIT, MAX_LOGIT).astype(np.float32)
    if forbidden_yx is not None:
        logits[forbidden_yx] = -MAX_LOGIT
    return logits


def prompts_for(
    component: Component,
    values_yx: np.ndarray,
    threshold: float,
    *,
    others_yx: np.ndarray | None = None,
    box_margin: float = 0.05,
    n_positive: int = 0,
    n_negative: int = 0,
    use_mask: bool = True,
) -> PromptSet:
    """Return the prompts that describe one component.

    Parameters
    ----------
    component : Component
        From ``saliency.coarse.components``.
    values_yx : numpy.ndarray
        Saliency in [0, 1] at image size.
    threshold : float
        The saliency at the edge of the coarse mask; the mask prompt changes sign there.
    others_yx : numpy.ndarray, optional
        bool, the other components of the same structure.
    box_margin : float
        As in `box_with_margin`.
    n_positive, n_negative : int
        Points inside and outside.
    use_mask : bool
        Give the saliency as a mask prompt.
    """
    inside = inner_points(component, values_yx, n_positive)
    outside = outer_points(component, values_yx, n_negative, others_yx)
    height, width = values_yx.shape
    return PromptSet(
        points_xy=np.concatenate([inside, outside]),
        point_labels=np.array([1] * len(inside) + [0] * len(outside), np.int64),
        box_xyxy=box_with_margin(component.box_xyxy, (height, width), box_margin),
        mask_logits_yx=mask_logits(values_yx, threshold, others_yx) if use_mask else None,
    )
