"""The state of a run, apart from weights."""

from dataclasses import asdict, dataclass


@dataclass
class Progress:
    images: int = 0  #: images seen; the position in the endless stream of samples
    images_evaluated: int = 0  #: the position at the last evaluation
    best_map: float = -1.0
    evaluations_since_best: int = 0

    def evaluation_due(self, every_images: int, end: int) -> bool:
        """Whether a multiple of `every_images`, or the end, has been passed and not evaluated yet.

        Stays true across a stop and a resume.
        """
        passed = self.images // every_images > self.images_evaluated // every_images
        return passed or self.images >= end > self.images_evaluated

    def evaluated(self, mean_ap: float) -> bool:
        """Records an evaluation of the current weights; returns whether it is the best so far."""
        best, self.best_map = mean_ap > self.best_map, max(mean_ap, self.best_map)
        self.images_evaluated = self.images
        self.evaluations_since_best = 0 if best else self.evaluations_since_best + 1
        return best

    def out_of_patience(self, patience: int | None) -> bool:
        """Whether `patience` evaluations in a row brought no improvement."""
        return patience is not None and self.evaluations_since_best >= patience

    def state_dict(self) -> dict[str, int | float]:
        return asdict(self)

    def load_state_dict(self, state: dict[str, int | float]) -> None:
        """ValueError for what is not a position."""
        known = {name: value for name, value in state.items() if name in asdict(self)}
        counts = {name: value for name, value in known.items() if name != "best_map"}
        if bad := {name: value for name, value in counts.items() if not isinstance(value, int) or value < 0}:
            raise ValueError(f"expected whole numbers from 0, found {bad}")
        if not isinstance(best := known.get("best_map", -1.0), int | float):
            raise ValueError(f"expected a number as best mAP, found {best!r}")
        for name, value in {"images_evaluated": state["images"], **known}.items():  # older states counted epochs
            setattr(self, name, value)
