"""Prompts in the pixels of an image, brought to the canvas of the click decoder."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from napari_medclipsam.errors import PromptError
from napari_medclipsam.models.contracts import PromptSet
from napari_medclipsam.models.lite.preprocess import CANVAS, Fit


def canvas_points(prompts: PromptSet, fit: Fit) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points and box corners on the canvas, (n, 2), and their labels, (n,)."""
    points = fit.points_to_canvas(prompts.points_xy)
    labels = list(prompts.point_labels)
    if prompts.box_xyxy is not None:
        corners = fit.points_to_canvas(np.array(prompts.box_xyxy, np.float32).reshape(2, 2))
        points = np.concatenate([points, corners])
        labels += [2, 3]
    if not labels:
        points, labels = np.zeros((1, 2), np.float32), [-1]
    return torch.from_numpy(np.asarray(points, np.float32)), torch.tensor(labels, dtype=torch.long)


def canvas_mask(prompts: PromptSet, fit: Fit) -> torch.Tensor | None:
    """Return a mask prompt on the canvas, far outside beyond the image."""
    if prompts.mask_logits_yx is None:
        return None
    given = np.asarray(prompts.mask_logits_yx, np.float32)
    if given.shape != fit.shape_yx:
        raise PromptError(f"The mask prompt has shape {given.shape}, but the image {fit.shape_yx}; they must agree.")
    height, width = fit.inner_yx
    # Pillow, not torch: torch's threads stay awake a while after the least work, and take OpenVINO's cores.
    image = Image.fromarray(np.clip(given, -16, 16))
    canvas = np.full((CANVAS, CANVAS), -16.0, np.float32)
    canvas[:height, :width] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(canvas)
