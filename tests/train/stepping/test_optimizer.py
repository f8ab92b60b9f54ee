"""The optimizer: which weights decay."""

from tests.train.stepping.test_step import small_step


def test_only_convolution_weights_decay() -> None:
    decayed, others = small_step().optimizer.param_groups
    assert decayed["weight_decay"] == 5e-4 and all(p.ndim == 4 for p in decayed["params"])
    assert others["weight_decay"] == 0 and all(p.ndim == 1 for p in others["params"])
    assert len(decayed["params"]) == 23 and len(others["params"]) == 22 * 2 + 1
