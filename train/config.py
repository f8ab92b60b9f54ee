"""The whole configuration: sections from their owners, filled from a YAML file and key=value overrides.

The only module that knows every section. Nothing that leaves here knows of OmegaConf, and all of it is frozen.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from data.demo import DrawnConfig
from data.loading.config import DataConfig
from train.darknet.cfg import as_config, read_cfg
from train.evaluation.evaluator import EvaluateConfig
from train.loss import LossConfig
from train.model import ModelConfig
from train.run.board import BoardConfig
from train.run.checkpoint import CheckpointConfig
from train.stepping.config import StepConfig
from train.stepping.schedule import ScheduleConfig

#: yolov2-voc.cfg: w, h in grid cells of 32 px of network input
VOC_ANCHORS = [1.3221, 1.73145, 3.19275, 4.00944, 5.05587, 8.09892, 9.47112, 4.84053, 11.2364, 10.0071]


@dataclass(frozen=True, kw_only=True)
class Config:
    run: str  #: folder of the run: a second start with the same one goes on where the first ended
    data: DataConfig
    epochs: int = 160
    seed: int = 0
    anchors: list[float] = field(default_factory=lambda: list(VOC_ANCHORS))  #: w, h, w, h ... in grid cells
    weights: str | None = None  #: to start from: a run, a file or an address (docs/weights.md)
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
        if len(self.anchors) % 2 or not self.anchors:
            raise ValueError(f"anchors={self.anchors}: expected pairs w, h in grid cells of 32 px")
        most = 2 * max(416, *self.data.sides) // 32
        if not 0 < min(self.anchors) <= max(self.anchors) <= most:
            raise ValueError(
                f"anchors={self.anchors}: expected w, h in grid cells of 32 px, above 0 and at most {most}, twice what "
                "the largest input has; if these are pixels divide them by 32"
            )

    @property
    def anchor_pairs(self) -> list[tuple[float, float]]:
        return list(zip(self.anchors[::2], self.anchors[1::2], strict=True))

    def network(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """What a checkpoint must agree on to fit."""
        return {
            "variant": self.model.variant,
            "passthrough": self.model.passthrough,
            "width": self.model.width,
            **({"layers": self.model.layers} if self.model.layers else {}),
            "anchors": list(self.anchors),
            "classes": list(classes),
        }


def load(path: str | Path, overrides: list[str]) -> Config:
    """The file over the defaults, `key=value` over the file. ValueError names what is not understood.

    A darknet .cfg is such a file too, as `train.darknet.cfg` translates it.
    """
    is_darknets = Path(path).suffix == ".cfg"
    if not Path(path).is_file():
        raise ValueError(f"no config at {path}; configs/ holds those of this project")
    for override in overrides:
        if "=" not in override:
            raise ValueError(f"{override!r}: expected key=value, such as data.batch=32")
    try:
        written = (
            OmegaConf.create(as_config(read_cfg(Path(path)), Path(path).stem)) if is_darknets else OmegaConf.load(path)
        )
        if not isinstance(written, DictConfig):
            raise ValueError(f"{path}: expected `key: value` lines, such as those of configs/demo.yaml")
        tree = OmegaConf.merge(OmegaConf.structured(Config), written, OmegaConf.from_dotlist(overrides))
        config = OmegaConf.to_object(tree)
    except (OSError, UnicodeDecodeError) as error:  # OmegaConf's OSError: the file is a mere number
        raise ValueError(f"{path}: expected YAML in UTF-8 ({error})") from None
    except (OmegaConfBaseException, YAMLError) as error:
        raise ValueError(f"{' '.join([str(path), *overrides])}: {_first_lines(error)}") from None
    assert isinstance(config, Config)
    return config


def save(config: Config, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.structured(config), path)


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """{"data.batch": 64, ...}"""
    found: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        found |= flat(value, f"{prefix}{item.name}.") if is_dataclass(value) else {prefix + item.name: value}
    return found


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(line for line in lines if not line.startswith(("reference_type", "object_type")))
