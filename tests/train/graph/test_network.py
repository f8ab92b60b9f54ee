"""A network from words: forward against plain arithmetic is the cfg fuzz's business."""

import pytest
import torch

from train.graph.network import Graph, parse_graph
from train.model import ModelConfig, YOLOv2

LINES = [
    "convolutional filters=4 size=3 stride=2 pad=1 activation=mish",
    "maxpool size=4 stride=4",
    "convolutional filters=8 size=3 pad=1 groups=4 batch_normalize=1 activation=relu",
    "maxpool size=2 stride=2",
    "route layers=-2,2",
    "reorg stride=2",
    "route layers=3,-1",
    "maxpool size=3 stride=2",
]


def test_outputs_are_kept_only_until_their_last_use() -> None:
    graph = Graph(parse_graph(LINES)).eval()
    assert graph.last_use == {2: 4, 3: 6, 5: 6} and graph.coarse_channels == 8 + 4 * 16
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    outputs = [images]
    for layer, sources in zip(graph.layers, graph.sources, strict=True):
        read = [outputs[source + 1] for source in sources]
        outputs.append(layer(read) if type(layer).__name__ == "Join" else layer(read[0]))
    found, again = graph(images)
    assert found is again and found.shape == (2, 72, 2, 3) and torch.equal(found, outputs[-1])


def test_it_trains_compiles_and_lies_in_a_config() -> None:
    torch._dynamo.reset()
    model = YOLOv2(3, 2, graph=ModelConfig(graph=LINES).graph, objectness_bias=-4.0)
    assert model.output.bias is not None and model.output.bias.tolist() == ([0.0] * 4 + [-4.0] + [0.0] * 3) * 2
    images = torch.rand(2, 3, 64, 64)
    model(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    compiled = torch.compile(model.eval(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), model(images))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("convolution filters=3", r"model\.graph\[8\] 'convolution filters=3': .* expected one of convolutional"),
        ("convolutional size=3", r"model\.graph\[8\] .*: filters: expected a whole number .* missing"),
        ("maxpool size=2 stride=2", r"expected cells of 32 px, 13 each way of an input of 416 px, found 7"),
        ("", r"model\.graph\[8\] '': "),
    ],
)
def test_what_cannot_be_is_refused(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(graph=[*LINES, line])
    with pytest.raises(ValueError, match=r"expected 1\.0 with model\.graph"):
        ModelConfig(graph=LINES, width=0.5)
