import pytest

from train.evaluation.config import EvaluateConfig


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"height": 300}, r"evaluate.height=300: expected a multiple of 32 px"),
        ({"side": 32 * 10**6}, r"evaluate.side=32000000: expected a multiple of 32 px.*, up to 16,384 px"),
        ({"batch": 10**9}, r"evaluate.batch=1000000000: expected 1 to 1,048,576"),
        ({"side": 300}, r"evaluate.side=300: expected a multiple of 32 px"),
        ({"batch": 0}, r"evaluate.batch=0: expected 1 to 1,048,576"),
        ({"every_epochs": 0}, r"evaluate.every_epochs=0: expected at least 1, or auto"),
        ({"patience": 0}, r"evaluate.patience=0: expected at least 1, or null"),
        ({"max_detections": 0}, r"evaluate.max_detections=0: expected at least 1, or null for all"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluateConfig(**wrong)  # type: ignore[arg-type]


def test_a_long_run_is_evaluated_some_forty_times() -> None:
    assert EvaluateConfig().epochs_between(160) == 1
    assert [EvaluateConfig(every_epochs="auto").epochs_between(epochs) for epochs in (1, 39, 160)] == [1, 1, 4]
    assert EvaluateConfig(every_epochs=7).epochs_between(160) == 7
