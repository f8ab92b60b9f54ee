"""From a run, a checkpoint or darknet's files to a network that is ready."""

from pathlib import Path

import pytest
import torch

from data.files import sha256
from launch.processes.environment import Environment
from tests.conftest import Weights
from train.config import Config, load
from train.darknet.weights import save_weights
from train.model import YOLOv2, build_model
from train.run.checkpoint import Checkpoint, CheckpointConfig
from train.trained import find_trained, load_trained
from train.weights.locate import local_file

CFG = """
[net]
width=96
height=96
[convolutional]
batch_normalize=1
filters=4
size=3
stride=1
pad=1
activation=leaky
{pools}
[convolutional]
filters=14
size=1
stride=1
pad=1
activation=linear
[region]
anchors=1,1, 2,2
classes=2
num=2
""".replace("{pools}", 5 * "[maxpool]\nsize=2\nstride=2\n")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two checkpoints, of which the first was the best."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "run: x\nanchors: [1, 1, 2, 2]\ndata: {train: t, val: v}\nmodel: {variant: tiny-voc, width: 0.0625}\n"
    )
    config = load(folder / "config.yaml", [])
    for images, best in ((64, True), (128, False)):
        torch.manual_seed(images)
        weights = Weights(build_model(config.model, 2, 2))
        checkpoint = Checkpoint(
            folder / "checkpoints", CheckpointConfig(), Environment(), config.network(("a", "b")), step=weights
        )
        checkpoint.save(images, best=best)
        checkpoint.wait()
    return folder


def first_weight(config: Config, path: Path) -> float:
    return float(next(load_trained(config, path).model.parameters()).flatten()[0].detach())


def test_a_run_gives_its_best_checkpoint_and_a_checkpoint_itself(run: Path) -> None:
    config, path = find_trained(run, ["evaluate.side=96"])
    assert path.name.startswith("best-000000064-") and config.evaluate.side == 96
    newest = next((run / "checkpoints").glob("000000128-*.pt"))
    assert find_trained(newest, [])[1] == newest
    assert load_trained(config, path).classes == ("a", "b")
    assert first_weight(config, path) != first_weight(config, newest)


@pytest.mark.parametrize("lacking", ["step", "network"])
def test_a_best_checkpoint_that_lacks_a_part_is_passed_over(
    run: Path, lacking: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (run / "checkpoints").glob("best-*")
    state = torch.load(path, weights_only=True)
    path.unlink()
    torch.save({name: part for name, part in state.items() if name != lacking}, run / "content")
    odd = path.with_name(f"best-000000064-{sha256(run / 'content')[:16]}.pt")
    (run / "content").rename(odd)
    assert find_trained(run, [])[1].name.startswith("000000128-")
    assert f"checkpoint {odd} is skipped, " in capsys.readouterr().err
    assert local_file(str(run)).name.startswith("000000128-")
    for whole in (run / "checkpoints").glob("0*.pt"):
        whole.unlink()
    with pytest.raises(ValueError, match="no whole checkpoint under"):
        find_trained(run, [])


def test_averaged_weights_are_taken_where_there_are_any(run: Path) -> None:
    config, path = find_trained(run, [])
    state = torch.load(path, weights_only=True)
    state["step"]["ema"] = {name: value + 1 for name, value in state["step"]["model"].items()}
    torch.save(state, run / "checkpoints/averaged.pt")
    assert first_weight(config, run / "checkpoints/averaged.pt") == pytest.approx(1 + first_weight(config, path))


def test_weights_named_go_before_the_checkpoint_of_a_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "net.weights").touch()
    config, path = find_trained(run, [f"weights={tmp_path}/net.weights"])
    assert path == tmp_path / "net.weights"
    model = build_model(config.model, 2, 2)
    save_weights(model, path)
    trained = load_trained(config, path, ("a", "b"))
    assert trained.classes == ("a", "b")
    torch.testing.assert_close(trained.model.state_dict(), model.state_dict())


def test_darknets_own_two_files_are_enough(tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text(CFG)
    (tmp_path / "net.weights").touch()
    config, path = find_trained(tmp_path / "net.cfg", [f"weights={tmp_path}/net.weights", "data.classes=[cat,dog]"])
    assert config.evaluate.side == 96 and config.anchor_pairs == [(1, 1), (2, 2)]
    model = build_model(config.model, 2, 2)
    save_weights(model, path)
    trained = load_trained(config, path)
    assert trained.classes == ("cat", "dog")
    torch.testing.assert_close(trained.model.state_dict(), model.state_dict())


def test_what_is_missing_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a run folder or a config with weights=FILE, found neither"):
        find_trained(run / "config.yaml", [])
    (tmp_path / "stray.pt").touch()
    with pytest.raises(ValueError, match="expected the folder of a run, which has a config"):
        find_trained(tmp_path / "stray.pt", [])
    config, path = find_trained(run, [])
    with pytest.raises(ValueError, match=r"was trained on the classes a, b; the set at v holds b, a; choose a set of"):
        load_trained(config, path, ("b", "a"))
    save_weights(YOLOv2(2, 2, width=1 / 16), tmp_path / "net.weights")
    with pytest.raises(
        ValueError, match=r"was trained on the classes a, b; data\.classes says b, a; leave data\.classes"
    ):
        load_trained(find_trained(run, ["data.classes=[b,a]"])[0], path)
    with pytest.raises(ValueError, match=r"does not say what its classes are; name them: data.classes=\["):
        load_trained(config, tmp_path / "net.weights")
    for checkpoint in (run / "checkpoints").iterdir():
        checkpoint.unlink()
    with pytest.raises(ValueError, match=f"no checkpoint under {run}/checkpoints; train the run first"):
        find_trained(run, [])


def test_weights_of_other_programs_must_fill_the_whole_network(run: Path, tmp_path: Path) -> None:
    config, _ = find_trained(run, [])
    model = build_model(config.model, 2, 2)
    renamed = {f"layers.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save(renamed, tmp_path / "net.pth")
    trained = load_trained(config, tmp_path / "net.pth", ("a", "b"))
    torch.testing.assert_close(trained.model.state_dict(), model.state_dict())
    torch.save({name: tensor for name, tensor in renamed.items() if "output" not in name}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match="expected numbers for every convolution, found none that fit output"):
        load_trained(config, tmp_path / "net.pth", ("a", "b"))
