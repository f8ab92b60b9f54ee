"""Which descriptions have a shorter name."""

from train.darknet.shorthand import shorthand
from train.graph.layer_specs import Convolution, Layer, Pool, Reordering, Route
from train.graph.variants import VARIANTS


def described(words: list[int | str]) -> list[Layer]:
    return [
        Pool(2, 2 if word == "pool" else 1, 1)
        if isinstance(word, str)
        else Convolution(abs(word), 3 if word > 0 else 1, 1, int(word > 0), 1, True, "leaky")
        for word in words
    ]


def test_published_networks_have_their_names() -> None:
    for name in ("tiny-voc", "tiny-coco"):
        found = shorthand(described([*VARIANTS[name].coarse, *VARIANTS[name].neck]))
        assert found is not None and found.variant == name
    fine, coarse, neck, _, fused = VARIANTS["yolov2"]
    passthrough = [Route((-9,)), *described([-64]), Reordering(2), Route((-1, -4))]
    whole = [*described([*fine, *coarse, *neck]), *passthrough, *described([*fused])]
    found = shorthand(whole)
    assert found is not None and found.variant == "yolov2" and found.passthrough == "reorg" and found.width == 1
    for route in (Route((-8,)), Route((-4, -1)), Route((3,))):
        for number, layer in enumerate(whole):
            if isinstance(layer, Route) and layer != route:
                assert shorthand([*whole[:number], route, *whole[number + 1 :]]) is None


def test_others_have_none() -> None:
    assert shorthand(described([4, "pool", "pool", "pool", "pool", "same", 4])) is None
    assert shorthand([*described([4, "pool"] * 5), Convolution(4, 3, 1, 1, 1, True, "relu")]) is None
    found = shorthand(described([4, "pool"] * 5))
    assert found is not None and found.layers == "4 pool 4 pool 4 pool 4 pool 4 pool"
