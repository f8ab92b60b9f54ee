"""What is exported says what `train.detection` says, in px."""

import numpy as np
import torch

from train.detection.head import candidates
from train.export.network import Decoded, Exportable, program


def test_boxes_and_scores_are_those_of_the_head(exportable: Exportable) -> None:
    images = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        boxes, scores = Decoded(exportable.model, exportable.anchors_cells)(images)
        fractions, expected = candidates(exportable.model(images), exportable.anchors_cells, 0.0)
    torch.testing.assert_close(boxes, fractions * torch.tensor([96, 64, 96, 64]))
    torch.testing.assert_close(scores, expected)


def test_a_program_takes_any_batch_and_sides(exportable: Exportable) -> None:
    exported = program(exportable, "raw").module()
    for batch, height, width in ((1, 64, 96), (3, 160, 64)):
        images = torch.from_numpy(np.random.default_rng(0).random((batch, 3, height, width), np.float32))
        torch.testing.assert_close(exported(images), exportable.model(images))
