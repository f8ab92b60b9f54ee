"""The whole configuration: sections from their owners, filled from a YAML file and key=value overrides.

    python -m train.config                        # all keys: docs/config.md
    python -m train.config CONFIG [key=value ...] # nothing, or what is wrong with a key or value; takes sweep.KEY too

The only module that knows every section. What it returns is frozen and free of OmegaConf.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from data.demo import DrawnConfig
from data.files import write_whole
from data.loading.config import DataConfig
from data.remote.addresses import is_command
from launch.command import run
from launch.config_file import ALLOW_PIPE, escaped, parse_overrides, parse_yaml, read_yaml
from launch.jobs.sweep import members, split_sweep
from launch.keys import keys_of, text_keys
from launch.redact import redacted
from train.darknet.cfg import translated
from train.detection.validate import CELL_PX
from train.evaluation.config import EvaluateConfig
from train.keys.page import page
from train.keys.problems import outside_its_unit, unknown_key, wrong_value
from train.loss import LossConfig
from train.model import ModelConfig
from train.recipes import RECIPES, Recipe, with_recipe_defaults
from train.run.checkpoint import CheckpointConfig
from train.run.display.board import BoardConfig
from train.schedule.learning_rate import ScheduleConfig
from train.stepping.config import StepConfig

AUTO = "auto"
#: yolov2-voc.cfg: w, h in grid cells of 32 px of network input
VOC_ANCHORS = [1.3221, 1.73145, 3.19275, 4.00944, 5.05587, 8.09892, 9.47112, 4.84053, 11.2364, 10.0071]


@dataclass(frozen=True, kw_only=True)
class Config:
    run: str  #: folder of the run: a second start with the same folder resumes where the first ended
    data: DataConfig
    epochs: int = 160  #: [epochs] passes over `data.train`
    recipe: Recipe = "darknet"  #: defaults of all other keys; if not given: darknet with `weights`, else scratch
    seed: int = 0  #: [number] seed of the first weights, the order of samples and every augmentation
    anchors: Any = field(default_factory=lambda: list(VOC_ANCHORS))  #: [cells] w, h, w, h ...; auto: clusters
    weights: str | None = None  #: weights to start from: a run, a file or an address (docs/weights.md)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    step: StepConfig = field(default_factory=StepConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    board: BoardConfig = field(default_factory=BoardConfig)
    drawn: DrawnConfig | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs}: expected at least 1")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed}: expected 0 to 2^63 - 1")
        if self.anchors == AUTO:
            return
        try:
            object.__setattr__(self, "anchors", [float(number) for number in self.anchors])
            whole_pairs = len(self.anchors) > 0 and len(self.anchors) % 2 == 0
        except (TypeError, ValueError):
            whole_pairs = False
        if not whole_pairs:
            raise ValueError(f"anchors={self.anchors}: expected pairs w, h in grid cells of 32 px, or auto")
        most = 2 * max(416, *self.data.sides) // CELL_PX
        if not 0 < min(self.anchors) <= max(self.anchors) <= most:
            raise ValueError(
                f"anchors={self.anchors}: expected w, h in grid cells of 32 px, above 0 and at most {most}, twice the "
                "largest input; if these are pixels, divide them by 32"
            )

    @property
    def num_anchors(self) -> int:
        return len(VOC_ANCHORS if self.anchors == AUTO else self.anchors) // 2

    @property
    def anchor_pairs(self) -> list[tuple[float, float]]:
        """w, h in grid cells. ValueError if they are still `auto`."""
        if self.anchors == AUTO:
            raise ValueError(
                "anchors=auto: unknown until a run has started; name the run's folder, or list the anchors (python "
                "-m data.anchors SHARDS)"
            )
        return list(zip(self.anchors[::2], self.anchors[1::2], strict=True))

    def network(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """What decides the network's tensors and their meaning: a checkpoint must have the same values."""
        return {
            "variant": self.model.variant,
            "passthrough": self.model.passthrough,
            "width": self.model.width,
            **({"layers": self.model.layers} if self.model.layers else {}),
            **({"graph": list(self.model.graph)} if self.model.graph else {}),
            "anchors": [number for pair in self.anchor_pairs for number in pair],
            "classes": list(classes),
        }


def load(path: str | Path, overrides: Sequence[str], *, opens_sets: bool = True) -> Config:
    """Loads the file over the defaults of its recipe, and `key=value` over the file. ValueError names what is invalid.

    The file may also be a darknet .cfg, which `train.darknet.cfg` translates. opens_sets: False if nothing is read from
    data.train and data.val, so that commands there do no harm.
    """
    path, keys, texts = Path(path), keys_of(Config), text_keys(Config)
    if path.suffix == ".cfg" and path.is_file():
        written = parse_yaml(translated(path), str(path), texts)
    else:
        written = read_yaml(path, texts)
    layers = [OmegaConf.to_container(layer) for layer in (written, parse_overrides(overrides, texts))]
    if problem := unknown_key(layers, keys):
        raise ValueError(f"{path}: {problem}")
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), *with_recipe_defaults(layers)))
    except (OmegaConfBaseException, ValueError) as error:
        said = wrong_value(error, layers, keys) if isinstance(error, OmegaConfBaseException) else error
        raise ValueError(f"{path}: {said}") from None
    assert isinstance(config, Config)
    if problem := outside_its_unit(flat(config), keys):
        raise ValueError(f"{path}: {problem}")
    if opens_sets:
        require_own_commands(config, overrides)
    return config


def require_own_commands(config: Config, overrides: Sequence[str]) -> None:
    """ValueError if a command (data.val=pipe:...) would run that the user did not write.

    A config may come from a third party: commands are only run from the command line, or with --allow-pipe.
    """
    typed = parse_overrides(overrides, text_keys(Config))
    for name in ("train", "val"):
        address = getattr(config.data, name)
        if is_command(address) and ALLOW_PIPE not in overrides and OmegaConf.select(typed, f"data.{name}") != address:
            raise ValueError(
                f"data.{name} is a command, {redacted(address)!r}, and commands in a config are not run; if you trust "
                f"it, write it on the command line, data.{name}='pipe:...', or add {ALLOW_PIPE}"
            )


def save(config: Config, path: Path, remarks: Sequence[str] = ()) -> None:
    """Writes a config as YAML, without passwords and tokens of addresses. remarks: comment lines at the top."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tree: Any = OmegaConf.create(escaped(asdict(config)))
    for name, value in flat(config).items():
        if isinstance(value, str):
            OmegaConf.update(tree, name, escaped(value))
    comments = "".join(f"# {remark}\n" for remark in remarks)
    write_whole(path, comments + OmegaConf.to_yaml(tree))


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """{"data.batch": 64, ...}, without passwords and tokens of addresses."""
    found: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        value = redacted(value) if isinstance(value, str) else value
        found |= flat(value, f"{prefix}{item.name}.") if is_dataclass(value) else {prefix + item.name: value}
    return found


def all_keys() -> str:
    """docs/config.md."""
    return page(Config, RECIPES)


def main(words: Sequence[str]) -> None:
    if not words:
        print(all_keys())
        return
    sweep, overrides = split_sweep(words[1:])
    for extra in [member.overrides for member in members("", sweep)] or [[]]:
        load(words[0], [*overrides, *extra])


if __name__ == "__main__":
    sys.exit(run(main, lambda: __doc__ or ""))
