"""Dimension clusters: the box shapes that a network for these shards should start from (paper §2.1).

Sizes are those that training sees, in grid cells of 32 px of its input: the image is first made square, as the run
will do it. Two boxes are compared as if they shared their centre, by IoU.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.augment import whole_image
from data.index import ShardIndex

STRIDE_PX = 32  # of the network: one grid cell

Sizes = NDArray[np.float64]  # [N, 2] w, h


def sizes_cells(index: ShardIndex, side: int, resize: Literal["letterbox", "stretch"]) -> Sizes:
    """[N, 2] w, h of the objects that are trained on (not difficult, not crowd) in an input of `side` px, no jitter."""
    arrays = index.arrays
    images_px = np.stack([arrays["widths"], arrays["heights"]], axis=1)
    shapes_px, shape_of = np.unique(images_px, axis=0, return_inverse=True)
    targets = np.array([whole_image(width, height, side, resize).target for width, height in shapes_px.tolist()])
    zooms = ((targets[:, 2:] - targets[:, :2]) / shapes_px)[shape_of.reshape(-1)]
    sizes_px = (arrays["boxes_xyxy_px"][:, 2:] - arrays["boxes_xyxy_px"][:, :2]).astype(np.float64)
    sizes = sizes_px * np.repeat(zooms, np.diff(arrays["object_starts"]), axis=0) / STRIDE_PX
    trained: Sizes = sizes[~(arrays["difficult"] | arrays["crowd"])]
    return trained


def shape_iou(sizes_cells: Sizes, anchors_cells: Sizes) -> NDArray[np.float64]:
    """[N, 2], [K, 2] -> [N, K] IoU of boxes that share their centre."""
    (widths, heights), (anchor_widths, anchor_heights) = sizes_cells.T[..., None], anchors_cells.T[:, None]
    overlap = np.minimum(widths, anchor_widths) * np.minimum(heights, anchor_heights)
    shared: NDArray[np.float64] = overlap / (widths * heights + anchor_widths * anchor_heights - overlap)
    return shared


def average_iou(sizes_cells: Sizes, anchors_cells: Sizes) -> float:
    """Of each size with the anchor nearest to it: what the paper's figure 2 shows."""
    return float(shape_iou(sizes_cells, anchors_cells).max(1).mean())
