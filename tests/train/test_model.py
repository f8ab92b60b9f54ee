"""The networks: published sizes, shapes, channel orders, one graph each."""

import pytest
import torch
from torch import nn

from train.graph.variants import POOL, VARIANTS, Description
from train.model import Darknet19, YOLOv2, main


@pytest.mark.parametrize(
    ("variant", "classes", "parameters"),
    [
        ("yolov2", 20, 50_655_389),
        ("yolov2", 80, 50_962_889),
        ("yolov2-2016", 20, 67_137_565),
        ("yolov2-2016", 80, 67_445_065),
        ("tiny-voc", 20, 15_861_773),
        ("tiny-coco", 80, 11_232_057),
    ],
)
def test_trainable_parameters_are_the_published_ones(variant: str, classes: int, parameters: int) -> None:
    with torch.device("meta"):
        model = YOLOv2(classes, variant=variant)  # type: ignore[arg-type]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == parameters


def test_flops_are_the_published_ones() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    for side, billions in ((416, 29.360), (544, 50.21), (608, 62.72)):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            YOLOv2()(torch.empty(1, 3, side, side))
        assert counter.get_total_flops() / 1e9 == pytest.approx(billions, abs=0.006)


@pytest.mark.parametrize("variant", ["yolov2", "yolov2-2016", "tiny-voc", "tiny-coco"])
@pytest.mark.parametrize("passthrough", ["space_to_depth", "reorg"])
def test_output_is_one_vector_for_each_anchor_and_cell(variant: str, passthrough: str) -> None:
    model = YOLOv2(7, 3, variant=variant, passthrough=passthrough, width=1 / 16)  # type: ignore[arg-type]
    assert model(torch.zeros(2, 3, 96, 160)).shape == (2, 3 * 12, 3, 5)


@pytest.mark.parametrize("variant", ["yolov2", "tiny-voc"])
@pytest.mark.parametrize("shape", [(1, 3, 400, 416), (1, 3, 64, 33), (1, 3, 0, 32)])
def test_images_that_are_no_whole_cells_are_refused(variant: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images \[1, 3, .*\]: expected .* in multiples of 32 px"):
        YOLOv2(2, 5, variant=variant, width=0.125)(torch.zeros(shape))  # type: ignore[arg-type]


def test_a_new_network_is_built_from_its_whole_description(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = (4, POOL, 5, POOL, 6, POOL, 7, POOL, 8)
    monkeypatch.setitem(VARIANTS, "tiny-voc", Description(fine, (POOL, 9, -10), (11,), 3, (12,)))
    with torch.device("meta"):
        model = YOLOv2(2, 3, variant="tiny-voc")
        assert model(torch.empty(1, 3, 96, 96)).shape == (1, 21, 3, 3)
    filters = [module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert filters == [4, 5, 6, 7, 8, 9, 10, 11, 3, 12, 21]


def test_seed_signatures_hold() -> None:
    with torch.device("meta"):
        assert YOLOv2(num_classes=20, num_anchors=5)(torch.empty(1, 3, 416, 416)).shape == (1, 125, 13, 13)
        fine, coarse = Darknet19()(torch.empty(1, 3, 416, 416))
    assert fine.shape == (1, 512, 26, 26) and coarse.shape == (1, 1024, 13, 13)


def test_initial_weights_are_darknets() -> None:
    torch.manual_seed(0)
    model = YOLOv2(width=0.5)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            if module.weight.numel() > 10_000:
                assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
        if isinstance(module, nn.BatchNorm2d):
            assert module.momentum == 0.01 and module.eps == 1e-5


@pytest.mark.parametrize("variant", ["yolov2", "tiny-voc"])
def test_compiles_into_one_graph(variant: str) -> None:
    torch._dynamo.reset()
    model = YOLOv2(3, variant=variant, width=1 / 16).eval()  # type: ignore[arg-type]
    images = torch.rand(1, 3, 64, 64)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), model(images))


def test_summary_prints_the_number_of_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert "50,655,389" in capsys.readouterr().out
