"""Where a run stands: all of it that is not weights."""

from dataclasses import asdict, dataclass


@dataclass
class Progress:
    images: int = 0  #: seen; the position in the endless stream of samples
    epochs_evaluated: int = 0
    best_map: float = -1.0

    def evaluation_due(self, images_per_epoch: int) -> bool:
        """An epoch has ended and was not evaluated yet; stays true over a stop and a resume in between."""
        return self.images // images_per_epoch > self.epochs_evaluated

    def evaluated(self, mean_ap: float, images_per_epoch: int) -> bool:
        """Takes note of an evaluation; whether it is the best so far."""
        self.epochs_evaluated = self.images // images_per_epoch
        best, self.best_map = mean_ap > self.best_map, max(mean_ap, self.best_map)
        return best

    def state_dict(self) -> dict[str, int | float]:
        return asdict(self)

    def load_state_dict(self, state: dict[str, int | float]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
