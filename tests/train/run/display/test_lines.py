"""The console lines of a run."""

from dataclasses import replace

import numpy as np

from tests.train.run.display.test_board import CLASSES, evaluation, losses
from train.run.display.lines import evaluation_line, training_line


def test_of_many_classes_the_extremes_are_named() -> None:
    found = evaluation()
    assert evaluation_line(found, CLASSES, 3, 8) == ("epoch 3/8: mAP@.5 0.7500 (11-point 0.6250)  cat 0.50  dog 1.00")
    ap = np.append(np.arange(80) / 100, np.nan)
    many = found._replace(voc=replace(found.voc, ap_area=ap))
    line = evaluation_line(many, [f"class{number}" for number in range(81)], 3, 8)
    assert line.endswith(
        "  lowest  class0 0.00  class1 0.01  class2 0.02  highest  class79 0.79  class78 0.78  class77 0.77"
    )


def test_a_line_of_training_has_what_was_measured() -> None:
    line = training_line(losses(1.5), rate=2e-4, side=352, images_per_s=12.34, wait_share=0.256)
    assert " ".join(line.split()) == "loss 9.000 iou 0.75 rate 2.0e-04 side 352 12.3 images/s waits 26%"
