"""Which part of a network learns: the backbone may stand still for a while, and each part must do as it is told."""

from tarpon.train.engine import Engine
from tarpon.train.parameter_check import ParameterCheck
from tarpon.train.task import Problem

PROOF_STEPS = 10  # optimizer steps after which a trained part must have moved


class Freezing:
    """Holds the backbone still or lets it learn, and proves that it does."""

    def __init__(self, problem: Problem, engine: Engine, *, frozen: bool) -> None:
        self._problem, self._engine = problem, engine
        self.frozen = frozen
        problem.freeze(frozen)
        self._watched = {part: ParameterCheck(problem.groups, part) for part in ("backbone", "rest")}
        self._steps = {"backbone": 0, "rest": 0}  # optimizer steps since the part began to learn

    def set(self, frozen: bool) -> None:
        if frozen == self.frozen:
            return
        self._watched["backbone"].expect_still()
        self.frozen = frozen
        self._problem.freeze(frozen)
        self._engine.restart("backbone")

    def count(self) -> None:
        for part in self._steps:
            self._steps[part] += not (part == "backbone" and self.frozen)

    def check(self) -> None:
        """Once per part, when it has learnt for a while."""
        if self.frozen and "backbone" in self._watched:
            self._watched["backbone"].expect_still()
        for part in [part for part, watch in self._watched.items() if self._steps[part] >= PROOF_STEPS]:
            still = self._watched.pop(part).expect_moved()
            if still and self._engine.context.first:
                print(
                    f"warning: {len(still)} parameters of the {part} have not moved (unused by the model?): "
                    f"{', '.join(still[:5])}",
                    flush=True,
                )
