"""The loss against darknet's own gradients, and against a plain transcription of its loops."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.oracle import region_gradient
from train.detection.targets import assign, dense_target, from_dense
from train.loss import LossConfig, YOLOv2Loss, build_loss

ANCHORS = [(1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053), (11.2364, 10.0071)]


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
    loss = YOLOv2Loss(ANCHORS, 3, 224)
    targets = assign(truths, loss.anchors_cells, 7, 7)
    if int(targets.responsible_BAHW.sum()) != int((truths[..., 4] >= 0).sum()):
        pytest.fail("the drawn truths share a place")
    dense = dense_target(targets, 3)
    assert dense.shape == (3, 7, 7, 5, 8)
    torch.testing.assert_close(list(loss.terms(raw, dense)), list(loss.terms(raw, truths)))
    again = from_dense(dense)
    assert torch.equal(again.responsible_BAHW, targets.responsible_BAHW)


def test_three_lines_in_a_notebook() -> None:
    from train.model import YOLOv2

    model = YOLOv2(num_classes=3, width=0.125)
    loss = YOLOv2Loss(ANCHORS, 3, 416)
    value = loss(model(torch.rand(2, 3, 416, 416)), torch.zeros(2, 13, 13, 5, 8))
    assert value.ndim == 0 and value.isfinite()


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


def test_pixel_anchors_are_refused() -> None:
    with pytest.raises(ValueError, match="look like pixels: divide them by 32"):
        YOLOv2Loss([(42.3, 55.4)], 3, 416)


def test_predictions_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(B, 40, H, W\), 40 = 5 anchors x \(5 \+ 3 classes\)"):
        YOLOv2Loss(ANCHORS, 3)(torch.zeros(1, 45, 13, 13), torch.zeros(1, 2, 5))
