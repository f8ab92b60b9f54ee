"""The loss against darknet's own gradients, and against a plain transcription of its loops."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.oracle import decode, overlap, region_gradient, region_loss
from train.detection.head import read_head
from train.detection.overlap import complete_iou, generalized_iou
from train.detection.targets import assign, dense_target, from_dense
from train.loss import LossConfig, YOLOv2Loss, build_loss

ANCHORS = [(1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053), (11.2364, 10.0071)]

ANCHORS_PX = [(32 * width, 32 * height) for width, height in ANCHORS]


def darknet_loss(anchors: list[tuple[float, float]], num_classes: int) -> YOLOv2Loss:
    return build_loss(LossConfig(), anchors, num_classes)


def random_truths(batch: int, slots: int, num_classes: int, seed: int) -> torch.Tensor:
    """Some images full, some empty, boxes on borders, two truths in one place."""
    generator = torch.Generator().manual_seed(seed)
    truths = torch.rand(batch, slots, 5, generator=generator)
    truths[..., 2:4] = truths[..., 2:4] * 0.8 + 0.02
    truths[..., 4] = (truths[..., 4] * num_classes).floor()
    truths[0, 1] = truths[0, 0]  # one place, another class: the later one wins
    truths[0, 1, 4] = (truths[0, 0, 4] + 1) % num_classes
    truths[0, 2, 0] = truths[0, 3, 1] = 1.0  # on the right and the lower border
    truths[-1] = torch.tensor([0, 0, 0, 0, -1.0])
    truths[-2, slots // 2 :] = torch.tensor([0, 0, 0, 0, -1.0])
    return truths


@pytest.mark.parametrize("case", ["voc", "coco"])
@pytest.mark.parametrize("seen", [0, 12800])
def test_gradients_equal_darknets(shared: Path, case: str, seen: int) -> None:
    golden = np.load(shared / "golden/darknet" / f"region_{case}.npz")
    logits = torch.from_numpy(golden["logits"]).requires_grad_()
    truths = torch.from_numpy(golden["truths"]).float()
    listed = (truths[..., 0] != 0).cumprod(1).bool()  # a row with cx = 0 ends the list
    truths[..., 4] = torch.where(listed, truths[..., 4], -1)
    anchors = [(float(w), float(h)) for w, h in golden["anchors"]]
    loss = darknet_loss(anchors, logits.shape[1] // 5 - 5)
    (loss(logits, truths, torch.tensor(seen)) * logits.shape[0]).backward()  # darknet sums over the batch
    expected = torch.from_numpy(golden[f"grad_seen{seen}"])
    assert logits.grad is not None
    error = (logits.grad - expected).norm() / expected.norm()
    assert error < 1e-6
    assert torch.allclose(logits.grad, expected, rtol=1e-4, atol=1e-6 * expected.abs().max().item())


@pytest.mark.parametrize("case", ["voc", "coco"])
def test_statistics_equal_the_line_that_darknet_prints(shared: Path, case: str) -> None:
    """Two truths of one place are both counted. darknet adds in float32: the last digit may differ."""
    golden = np.load(shared / "golden/darknet" / f"region_{case}.npz")
    logits, truths = torch.from_numpy(golden["logits"]), torch.from_numpy(golden["truths"]).float()
    truths[..., 4] = torch.where((truths[..., 0] != 0).cumprod(1).bool(), truths[..., 4], -1)
    anchors = [(float(w), float(h)) for w, h in golden["anchors"]]
    losses = darknet_loss(anchors, logits.shape[1] // 5 - 5).terms(logits, truths)
    printed = dict(re.findall(r"([A-Z][A-Za-z ]+): ([.\d]+)", str(golden["stats_seen0"]).replace("Region ", "")))
    assert losses.as_darknet.keys() == printed.keys()
    for name, value in losses.as_darknet.items():
        assert float(value) == pytest.approx(float(printed[name]), abs=1.6e-6), name
    assert f"count: {float(losses.truths) * len(truths):.0f}" in str(golden["stats_seen0"])


@pytest.mark.parametrize(("height", "width", "seed"), [(7, 7, 0), (5, 9, 1), (13, 13, 2)])
@pytest.mark.parametrize("seen", [0, 12_800])
def test_gradients_equal_plain_loops(height: int, width: int, seed: int, seen: int) -> None:
    batch, classes = 4, 3
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(batch, 5 * (5 + classes), height, width, generator=generator, requires_grad=True)
    truths = random_truths(batch, 8, classes, seed)
    (darknet_loss(ANCHORS, classes)(raw, truths, torch.tensor(seen)) * batch).backward()
    expected = region_gradient(raw.detach().double().numpy(), truths.numpy(), ANCHORS, seen)
    assert raw.grad is not None
    np.testing.assert_allclose(raw.grad.numpy(), expected, rtol=2e-3, atol=2e-5)


def test_dense_target_gives_the_same_loss_where_it_holds_all_truths() -> None:
    raw = torch.randn(3, 5 * 8, 7, 7, generator=torch.Generator().manual_seed(3))
    truths = random_truths(3, 6, 3, 3)
    truths[0, 1, 4] = -1  # a dense target cannot hold two truths of one place
    loss = YOLOv2Loss(ANCHORS_PX, 3, 224)
    targets = assign(truths, loss.anchors_cells, 7, 7)
    if int(targets.responsible_BAHW.sum()) != int((truths[..., 4] >= 0).sum()):
        pytest.fail("the drawn truths share a place")
    dense = dense_target(targets, 3)
    assert dense.shape == (3, 7, 7, 5, 8)
    torch.testing.assert_close(list(loss.terms(raw, dense)), list(loss.terms(raw, truths)))
    again = from_dense(dense)
    assert torch.equal(again.responsible_BAHW, targets.responsible_BAHW)


def test_the_lines_of_the_readme_run_as_they_are_and_give_darknets_loss() -> None:
    """Also with the dense target that they mention."""
    lines = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert lines is not None
    found: dict[str, Any] = {}
    exec(lines[1], found)
    cells = found["loss"].anchors_cells
    raw = found["model"](found["images"]).detach()  # batch norm in training: the same batch, the same output
    expected = region_loss(raw.double().numpy(), found["truths"].numpy(), cells.tolist(), coord=5, noobject=0.5)
    assert found["value"].item() == pytest.approx(expected, rel=1e-4)
    target = dense_target(assign(found["truths"], cells, 13, 13), 20)
    assert found["loss"](raw, target).item() == pytest.approx(expected, rel=1e-4)


def test_the_signature_is_that_of_the_seed() -> None:
    loss = YOLOv2Loss(ANCHORS_PX, 3, 416, lambda_coord=5, lambda_noobj=0.5)
    torch.testing.assert_close(loss.anchors_cells, torch.tensor(ANCHORS))
    assert list(inspect.signature(YOLOv2Loss).parameters)[:5] == [
        "anchors", "num_classes", "img_size", "lambda_coord", "lambda_noobj",
    ]  # fmt: skip


def test_gradients_do_not_depend_on_how_the_batch_is_split() -> None:
    raw = torch.randn(4, 5 * 8, 7, 7, dtype=torch.float64)
    truths = random_truths(4, 6, 3, 5)
    loss = darknet_loss(ANCHORS, 3)
    whole = loss(raw, truths)
    halves = (loss(raw[:2], truths[:2]) + loss(raw[2:], truths[2:])) / 2
    torch.testing.assert_close(whole, halves, check_dtype=False)


def test_a_batch_without_any_truth_has_finite_gradients_everywhere() -> None:
    raw = torch.randn(2, 5 * 8, 7, 7, requires_grad=True)
    truths = torch.zeros(2, 4, 5)
    truths[..., 4] = -1
    darknet_loss(ANCHORS, 3)(raw, truths, torch.tensor(0)).backward()
    assert raw.grad is not None and raw.grad.isfinite().all()


def test_half_precision_input_is_computed_in_float32() -> None:
    raw = (torch.randn(2, 5 * 8, 7, 7) * 5).half()
    raw[0, 2] = 40.0  # exp(40) overflows half precision
    value = darknet_loss(ANCHORS, 3)(raw, random_truths(2, 4, 3, 6))
    assert value.dtype == torch.float32 and value.isfinite()


def test_compiles_into_one_graph() -> None:
    torch._dynamo.reset()
    loss = darknet_loss(ANCHORS, 3)
    compiled = torch.compile(loss.terms, fullgraph=True, backend="aot_eager")
    raw, truths = torch.randn(2, 5 * 8, 7, 7, requires_grad=True), random_truths(2, 6, 3, 7)
    torch.testing.assert_close(
        list(compiled(raw, truths, torch.tensor(0))), list(loss.terms(raw, truths, torch.tensor(0)))
    )


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        (
            ANCHORS,
            r"the largest above 26 and at most 832, found 11.2364; these look like grid cells: multiply them by 32",
        ),
        ([(42.0, 1355.0)], "at most 832, found 1355$"),
        ([(42.0, -55.0)], "expected pairs of positive w, h in px"),
        ([(42.0, float("nan"))], "expected pairs of positive"),
        ([(42.0,)], "expected pairs of positive"),
        ([(42.0, 55.0), (3.0,)], "expected pairs of positive"),
    ],
)
def test_anchors_that_cannot_be_pixels_are_refused(anchors: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        YOLOv2Loss(anchors, 3, 416)


def test_a_config_may_have_anchors_of_any_size_in_cells() -> None:
    torch.testing.assert_close(build_loss(LossConfig(), [(0.1, 0.2)], 3).anchors_cells, torch.tensor([[0.1, 0.2]]))


def test_predictions_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(B, 40, H, W\), 40 = 5 anchors x \(5 \+ 3 classes\)"):
        YOLOv2Loss(ANCHORS_PX, 3, 416)(torch.zeros(1, 45, 13, 13), torch.zeros(1, 2, 5))


@pytest.mark.parametrize("shape", [(1, 2, 6), (1, 2, 4), (2, 2, 5), (1, 13, 13, 5, 7), (1, 5, 13, 13, 8), (5,)])
def test_targets_of_another_shape_are_refused_in_training_too(shape: tuple[int, ...]) -> None:
    for call in (loss := YOLOv2Loss(ANCHORS_PX, 3, 416), loss.terms):
        with pytest.raises(ValueError, match=r"expected truths \(1, T, 5\) or a dense target \(1, 13, 13, 5, 8\)"):
            call(torch.zeros(1, 40, 13, 13), torch.zeros(shape))


def test_a_batch_may_have_no_truth_and_no_slot() -> None:
    loss, raw = YOLOv2Loss(ANCHORS_PX, 3, 416), torch.zeros(2, 40, 13, 13)
    assert loss(raw, torch.zeros(2, 0, 5)) == loss(raw, torch.full((2, 3, 5), -1.0)) > 0


@pytest.mark.parametrize(("name", "value"), [("boxes", "GIoU"), ("objectness", "focal")])
def test_a_word_for_another_loss_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}='{value}': expected "):
        YOLOv2Loss(ANCHORS_PX, 3, 416, **{name: value})


@pytest.mark.parametrize(
    "truth",
    [
        (208.0, 208.0, 100.0, 100.0, 1.0),
        (0.5, 0.5, torch.nan, 0.1, 1.0),
        (0.5, 0.5, 0.1, 0.1, 3.0),
        (0.5, 0.5, 0.1, 0.1, 0.5),
        (0.5, 0.5, 0.1, 0.1, torch.nan),
        (0.5, 0.5, 0.1, 0.1, -2.0),
        (0.5, 0.5, 0.1, 0.0, 1.0),
        (0.0, 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_truths_that_cannot_be_meant_are_refused(truth: tuple[float, ...]) -> None:
    truths = torch.tensor([[(0.5, 0.5, 0.1, 0.1, 2.0), (torch.nan, 7.0, 0.0, 0.0, -1.0)]] * 2)  # free: anything else
    loss, raw = YOLOv2Loss(ANCHORS_PX, 3, 416), torch.zeros(2, 40, 13, 13)
    assert loss(raw, truths) == loss(raw, truths[:, :1])
    truths[1, 0] = torch.tensor(truth)
    with pytest.raises(
        ValueError, match=r"truths\[1, 0\]=.*expected cx cy w h as fractions of the input.* class of 0..2"
    ):
        loss(raw, truths)


@pytest.mark.parametrize(
    ("entry", "value"), [(0, 208.0), (0, 0.99), (2, torch.nan), (4, 0.0), (4, 0.7), (5, 1.0), (7, 0.0), (3, 0.0)]
)
def test_dense_targets_that_cannot_be_meant_are_refused(entry: int, value: float) -> None:
    loss, raw = YOLOv2Loss(ANCHORS_PX, 3, 416), torch.zeros(1, 40, 13, 13)
    target = dense_target(assign(torch.tensor([[(0.5, 0.5, 0.1, 0.1, 2.0)]]), loss.anchors_cells, 13, 13), 3)
    loss(raw, target)
    target[0, 6, 6, 0, entry] = value
    with pytest.raises(ValueError, match=r"target\[0, 6, 6, 0\]=.*expected zeros, or cx cy w h as fractions"):
        loss(raw, target)


def test_further_anchors_reach_the_loss_from_the_config() -> None:
    raw, truths = torch.randn(4, 5 * 8, 7, 7, generator=torch.Generator().manual_seed(3)), random_truths(4, 6, 3, 3)
    loss = build_loss(LossConfig(anchor_iou=0.2), ANCHORS, 3)
    dense = dense_target(assign(truths, loss.anchors_cells, 7, 7, anchor_iou=0.2), 3)
    several, one = loss.terms(raw, truths), darknet_loss(ANCHORS, 3).terms(raw, truths)
    torch.testing.assert_close(several.classes, loss.terms(raw, dense).classes)
    assert several.classes > one.classes and torch.equal(several.iou, one.iou)  # statistics are of the nearest ones


def test_cross_entropy_of_objectness_has_the_gradient_of_a_logistic_regression() -> None:
    """object (sigma - IoU) where a truth belongs, noobject sigma on the background, 0 elsewhere; all else as before."""
    raw = torch.randn(4, 5 * 8, 7, 7, generator=torch.Generator().manual_seed(4), requires_grad=True)
    truths = random_truths(4, 8, 3, 4)
    loss = build_loss(LossConfig(objectness="bce", object=1.5, noobject=0.5), ANCHORS, 3)
    losses = loss.terms(raw, truths)
    squared = darknet_loss(ANCHORS, 3).terms(raw, truths)
    for name in ("xy", "wh", "classes", "prior", "truths", "iou", "object_score"):
        assert torch.equal(getattr(losses, name), getattr(squared, name)), name
    (found,) = torch.autograd.grad((losses.objectness + losses.no_objectness) * 4, raw)
    expected = torch.zeros_like(raw)
    for image, row in enumerate(raw.detach()):
        listed = [tuple(truth[:4].tolist()) for truth in truths[image] if truth[4] >= 0]
        targets = assign(truths[image : image + 1], torch.tensor(ANCHORS), 7, 7)
        for n, anchor in enumerate(ANCHORS):
            for j in range(7):
                for i in range(7):
                    box = decode(row[8 * n : 8 * n + 8, j, i].double().numpy(), anchor, i, j, 7, 7)
                    sigma = row[8 * n + 4, j, i].sigmoid()
                    if targets.responsible_BAHW[0, n, j, i]:
                        truth = tuple(targets.boxes_cxcywh_BAHW4[0, n, j, i].tolist())
                        expected[image, 8 * n + 4, j, i] = 1.5 * (sigma - overlap(box, truth))
                    elif max((overlap(box, each) for each in listed), default=0.0) <= 0.6:
                        expected[image, 8 * n + 4, j, i] = 0.5 * sigma
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("boxes", "measure"), [("giou", generalized_iou), ("ciou", complete_iou)])
def test_boxes_by_their_overlap_cost_what_is_missing_of_it(
    boxes: Literal["giou", "ciou"], measure: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> None:
    """1/2 coord (2 - wh) (1 - overlap) where a truth belongs, nothing elsewhere; all else as before."""
    raw = torch.randn(4, 5 * 8, 7, 7, generator=torch.Generator().manual_seed(5), requires_grad=True)
    truths = random_truths(4, 8, 3, 5)
    losses = build_loss(LossConfig(boxes=boxes, coord=3.0), ANCHORS, 3).terms(raw, truths)
    squared = darknet_loss(ANCHORS, 3).terms(raw, truths)
    for name in ("objectness", "no_objectness", "classes", "truths", "iou", "object_score"):
        assert torch.equal(getattr(losses, name), getattr(squared, name)), name
    targets = assign(truths, torch.tensor(ANCHORS), 7, 7)
    found = read_head(raw, torch.tensor(ANCHORS)).boxes_cxcywh_BAHW4[targets.responsible_BAHW]
    wanted = targets.boxes_cxcywh_BAHW4[targets.responsible_BAHW]
    expected = (0.5 * 3 * (2 - wanted[:, 2] * wanted[:, 3]) * (1 - measure(found, wanted))).sum() / 4
    torch.testing.assert_close(losses.xy, expected)
    assert losses.wh == 0
    (gradient,) = torch.autograd.grad(losses.xy, raw)
    touched = gradient.view(4, 5, 8, 7, 7).permute(0, 1, 3, 4, 2)
    assert (touched[~targets.responsible_BAHW] == 0).all() and (touched[..., 4:] == 0).all()
    assert gradient.isfinite().all() and (touched[targets.responsible_BAHW][:, :4] != 0).any(1).all()
