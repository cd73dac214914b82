"""Has the head's training step replayed as CUDA graphs, where a run asks for it (`engine.cuda_graph_head`)."""

from tarpon.models.head_graph import HeadGraph
from tarpon.train.config import Run
from tarpon.train.engine import Engine
from tarpon.train.task import Problem


def capture_head(run: Run, problem: Problem, engine: Engine) -> None:
    """Capture what the run will need, and say so in `engine.speed`. Call before any loader of the problem has begun.

    Recorded here and not at the first step, at which the loader's threads are at work on the same GPU: while something is
    recorded, a call of theirs that waits for the whole device is an error.

    Raises:
        ValueError: the head cannot be recorded.
    """
    if not run.engine.cuda_graph_head:
        return
    device = engine.context.device
    if device.type != "cuda":
        engine.speed += ", head without CUDA graphs: there is no GPU"
    elif problem.sample is None:
        engine.speed += ", head without CUDA graphs: this task's network has no head of its own"
    else:
        try:
            record_head(run, problem, engine)
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(f"engine.cuda_graph_head=true: the head cannot be recorded ({reason}); leave it out") from error
        engine.speed += ", head as CUDA graphs"


def record_head(run: Run, problem: Problem, engine: Engine) -> HeadGraph:
    """Put recorded steps in the place of the network's head, for a frozen backbone and one that learns as the run has them."""
    sample = {name: value.to(engine.context.device) for name, value in problem.sample().items()}
    graph = HeadGraph(problem.model)
    engine.train()
    for frozen in frozen_states(run):
        with engine.matrix_precision():  # of the backward too
            graph.capture(sample, frozen=frozen, autocast=engine.autocast)
    return graph


def frozen_states(run: Run) -> list[bool]:
    """Whether the backbone stands still, for all that a run may come through."""
    held = run.freeze_backbone_epochs
    return [True] * (held > 0) + [False] * (run.steps is not None or held < run.epochs)
