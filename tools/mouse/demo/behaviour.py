"""What a synthetic mouse does, frame by frame: which action, and the posture that goes with it.

T frames, P=4 paws in the order L_front, R_front, L_hind, R_hind. A body unit (bu) is the snout-to-tail length of the
animal; the body frame has x forward and y to the animal's left. Seen from below, with image y down, left is heading
turned by +90 degrees.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

FPS = 30
REST, WITHDRAW, LICK, GUARD, SHAKE, FLINCH, WALK, ACTIVE = range(8)
NUM_ACTIONS = 8
STANCE = np.array([[0.27, 0.12], [0.27, -0.12], [-0.27, 0.17], [-0.27, -0.17]])  # bu; front paws from the mid spine
ARENA = (0.24, 0.76)  # share of the frame side the body centre stays in


@dataclass(frozen=True, kw_only=True)
class Habit:
    """How often and how long an action is done."""

    share: float  # of all frames
    shortest: int  # frames
    longest: int  # frames


HABITS = {
    WITHDRAW: Habit(share=0.021, shortest=12, longest=24),
    LICK: Habit(share=0.10, shortest=24, longest=60),
    GUARD: Habit(share=0.021, shortest=14, longest=34),
    SHAKE: Habit(share=0.06, shortest=12, longest=30),
    FLINCH: Habit(share=0.011, shortest=5, longest=9),
    WALK: Habit(share=0.16, shortest=18, longest=50),
    ACTIVE: Habit(share=0.13, shortest=18, longest=54),
}
# Pain sequences: what tends to come straight after what, as weights over a default of 1.
FOLLOWS = {WITHDRAW: {LICK: 5.0, SHAKE: 3.0, GUARD: 2.0}, SHAKE: {LICK: 3.0}, FLINCH: {WALK: 3.0, ACTIVE: 2.0}}
# What each trial of a video holds beside rest when trials are made to differ: whoever reads trial 1 for all of them must fail.
APART = ((WALK,), (LICK,), (ACTIVE, SHAKE))
APART_SHARE = 0.45  # of a trial's frames that are not rest
OPENERS = (WALK, ACTIVE)  # a trial may start in the middle of nothing else, so a late first label loses no rare bout


@dataclass(frozen=True, kw_only=True)
class Animal:
    """One mouse and its camera box. Everything a model must not rely on differs between animals."""

    name: str  # ear tag and sex: 267M
    body: float  # body unit as a share of the frame side
    girth: float  # width factor of the trunk
    tempo: float  # factor on speeds and rhythms
    sore_side: int  # +1 left, -1 right: the hind paw most pain actions use
    coat: int  # grey level 0..255, as the next two
    paw: int
    floor: int


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Posture of T frames; filled in place by the actions, then read-only."""

    centre: np.ndarray  # (T, 2) pixels
    heading: np.ndarray  # (T,) radians in the image
    bend: np.ndarray  # (T,) radians of the snout against the heading, + to the left
    stretch: np.ndarray  # (T,) factor on the trunk length
    nod: np.ndarray  # (T,) bu the snout reaches out
    paws: np.ndarray  # (T, P, 2) bu, body frame, added to STANCE
    lift: np.ndarray  # (T, P) 0 on the glass .. 1 held up
    speed: np.ndarray  # (T,) bu a frame along the heading
    turn: np.ndarray  # (T,) radians a frame
    jerk: np.ndarray  # (T, 2) bu, body frame, added to the centre


def schedule(trials: int, *, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Actions of one video, every action at least once.

    Bout lengths are dealt from a quota a video, so shares hold in every video; order and gaps are random.

    Returns:
        (trials, frames) int64 actions 0..7.
    """
    bouts: list[tuple[int, int]] = []
    for action, habit in HABITS.items():
        quota = habit.share * trials * frames
        mean = (habit.shortest + habit.longest) / 2
        count = max(1, int(quota / mean + rng.random()))
        weights = rng.uniform(0.6, 1.4, count)
        lengths = np.clip(np.rint(quota * weights / weights.sum()), habit.shortest, habit.longest)
        bouts += [(action, int(length)) for length in lengths]
    loads: list[list[tuple[int, int]]] = [[] for _ in range(trials)]
    for bout in sorted(bouts, key=lambda b: -b[1]):  # longest first into the emptiest trial keeps every trial mixed
        busy = [sum(length for _, length in load) + rng.uniform(0, 12) for load in loads]
        loads[int(np.argmin(busy))].append(bout)
    return np.stack([_trial(load, frames=frames, rng=rng) for load in loads])


def schedule_apart(trials: int, *, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Actions of one video whose trials have none in common but rest: trial k has those of APART[k % 3].

    Returns:
        (trials, frames) int64 actions 0..7.
    """
    made = []
    for trial in range(trials):
        load, left = [], APART_SHARE * frames
        actions = APART[trial % len(APART)]
        while left > 0:
            action = actions[len(load) % len(actions)]
            load.append((action, int(rng.integers(HABITS[action].shortest, HABITS[action].longest + 1))))
            left -= load[-1][1]
        made.append(_trial(load, frames=frames, rng=rng))
    return np.stack(made)


def _trial(bouts: list[tuple[int, int]], *, frames: int, rng: np.random.Generator) -> np.ndarray:
    order: list[tuple[int, int]] = []
    left = list(bouts)
    while left:
        wishes = FOLLOWS.get(order[-1][0], {}) if order else {}
        weights = np.array([wishes.get(action, 1.0) for action, _ in left])
        order.append(left.pop(int(rng.choice(len(left), p=weights / weights.sum()))))
    gaps = rng.gamma(1.5, size=len(order) + 1)
    least = np.full(len(order) + 1, 8)  # frames of rest that separate two bouts
    least[0] = 16
    for place, ((before, _), (after, _)) in enumerate(pairwise(order), start=1):
        if before != after and rng.random() < (0.6 if after in FOLLOWS.get(before, {}) else 0.25):
            gaps[place] = least[place] = 0
    if order[0][0] in OPENERS and order[0][1] >= 16 and rng.random() < 0.5:
        gaps[0] = least[0] = 0
    rest = frames - sum(length for _, length in order) - least.sum()
    gaps = least + np.floor(gaps / gaps.sum() * max(rest, 0)).astype(int)
    pieces = [np.zeros(gaps[0], int)]
    for (action, length), gap in zip(order, gaps[1:], strict=True):
        pieces += [np.full(length, action), np.zeros(gap, int)]
    labels = np.concatenate(pieces)[:frames]
    return np.pad(labels, (0, frames - len(labels)))


def perform(labels: np.ndarray, *, animal: Animal, size: int, avoid: np.ndarray | None, rng: np.random.Generator) -> Motion:
    """Move one trial's mouse through its actions.

    Args:
        labels: (T,) actions.
        size: frame side in pixels.
        avoid: (2,) pixels where the trial before ended: this one starts well away from it, as between real trials.
    """
    count = len(labels)
    clock = np.arange(count)
    phase = rng.uniform(0, 2 * np.pi, 3)
    sway = 0.07 * np.sin(clock / 47 + phase[0]) + 0.04 * np.sin(clock / 23 + phase[1])
    motion = Motion(
        centre=np.zeros((count, 2)), heading=np.zeros(count), bend=sway, nod=np.zeros(count),
        stretch=1 + 0.006 * np.sin(2 * np.pi * 2.2 * clock / FPS + phase[2]),  # breathing
        paws=np.tile(rng.normal(0, 0.012, (4, 2)), (count, 1, 1)), lift=np.zeros((count, 4)),
        speed=np.zeros(count), turn=np.zeros(count), jerk=np.zeros((count, 2)),
    )  # fmt: skip
    for first, last in bouts_of(labels):
        if labels[first] != REST:
            side = animal.sore_side if rng.random() < 0.85 else -animal.sore_side
            ACTS[int(labels[first])](motion, slice(first, last), side, animal.tempo, rng)
    _travel(motion, labels=labels, unit=animal.body * size, size=size, avoid=avoid, rng=rng)
    return motion


def bouts_of(labels: Sequence[int] | np.ndarray) -> list[tuple[int, int]]:
    """Maximal runs of one label as (first, last + 1)."""
    edges = np.flatnonzero(np.diff(labels)) + 1
    starts = [0, *edges.tolist()]
    return list(zip(starts, [*starts[1:], len(labels)], strict=True))


def _travel(motion: Motion, *, labels: np.ndarray, unit: float, size: int, avoid: np.ndarray | None, rng) -> None:
    """Integrate speed and turn into centre and heading; walking steers to goals inside the arena."""
    low, high = ARENA[0] * size, ARENA[1] * size
    place = rng.uniform(low, high, 2) if avoid is None else _goal(avoid, low=low, high=high, rng=rng)
    heading = rng.uniform(-np.pi, np.pi)
    goal = place
    for frame in range(len(labels)):
        if labels[frame] == WALK:
            if frame == 0 or labels[frame - 1] != WALK or np.linalg.norm(goal - place) < 0.25 * unit:
                goal = _goal(place, low=low, high=high, rng=rng)
            away = np.arctan2(goal[1] - place[1], goal[0] - place[0]) - heading
            heading += np.clip((away + np.pi) % (2 * np.pi) - np.pi, -0.13, 0.13)
        heading += motion.turn[frame]
        ahead = np.array([np.cos(heading), np.sin(heading)])
        place = np.clip(place + motion.speed[frame] * unit * ahead, low, high)
        side = np.array([-ahead[1], ahead[0]])
        motion.centre[frame] = place + unit * (motion.jerk[frame, 0] * ahead + motion.jerk[frame, 1] * side)
        motion.heading[frame] = heading


def _goal(place: np.ndarray, *, low: float, high: float, rng: np.random.Generator) -> np.ndarray:
    """(2,) a point of the arena well away from `place`; the corners make sure there is one."""
    goal = rng.uniform(low, high, 2)
    while np.linalg.norm(goal - place) < 0.5 * (high - low):
        goal = rng.uniform(low, high, 2)
    return goal


def _swell(count: int, *, rise: float, fall: float) -> np.ndarray:
    """(count,) 0..1: up within `rise` frames from the first, down within `fall` to the last; never 0, so onsets are crisp."""
    clock = np.arange(count)
    ramp = np.minimum((clock + 1) / rise, (count - clock) / (fall + 1))
    ramp = np.clip(ramp, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _hind(side: int) -> int:
    return 2 if side > 0 else 3


def _withdraw(motion: Motion, span: slice, side: int, tempo: float, rng: np.random.Generator) -> None:
    count = span.stop - span.start
    swell = _swell(count, rise=2.5, fall=0.4 * count)
    depth = rng.uniform(0.85, 1.15)
    motion.paws[span, _hind(side)] += depth * swell[:, None] * [0.11, -0.10 * side]
    motion.lift[span, _hind(side)] += swell
    motion.bend[span] += 0.12 * side * swell


def _guard(motion: Motion, span: slice, side: int, tempo: float, rng: np.random.Generator) -> None:
    swell = _swell(span.stop - span.start, rise=3, fall=3)
    motion.paws[span, _hind(side)] += swell[:, None] * [0.05, -rng.uniform(0.11, 0.13) * side]
    motion.lift[span, _hind(side)] += 0.85 * swell


def _lick(motion: Motion, span: slice, side: int, tempo: float, rng: np.random.Generator) -> None:
    count = span.stop - span.start
    swell = _swell(count, rise=4, fall=4)
    rhythm = np.sin(2 * np.pi * rng.uniform(4.0, 5.2) * tempo * np.arange(count) / FPS)
    motion.bend[span] += side * swell * (rng.uniform(2.2, 2.5) + 0.08 * rhythm)
    motion.nod[span] += 0.04 * swell * rhythm
    motion.paws[span, _hind(side)] += swell[:, None] * np.stack([0.13 + 0.015 * rhythm, np.full(count, 0.16 * side)], 1)
    motion.lift[span, _hind(side)] += 0.5 * swell
    motion.stretch[span] -= 0.05 * swell


def _shake(motion: Motion, span: slice, side: int, tempo: float, rng: np.random.Generator) -> None:
    count = span.stop - span.start
    swell = _swell(count, rise=1.5, fall=1)
    phase = 2 * np.pi * rng.uniform(6.5, 8.5) * tempo * np.arange(count) / FPS + 0.8
    reach = np.stack([0.03 + 0.05 * np.cos(phase), side * (0.05 + 0.10 * np.sin(phase))], 1)
    motion.paws[span, _hind(side)] += swell[:, None] * reach
    motion.lift[span, _hind(side)] += swell * (0.6 + 0.3 * np.cos(phase))


def _flinch(motion: Motion, span: slice, side: int, tempo: float, rng: np.random.Generator) -> None:
    clock = np.arange(span.stop - span.start)
    pulse = np.exp(-clock / 4.0) * np.cos(1.5 * clock)  # full at the first frame, then it rings out
    motion.jerk[span] += pulse[:, None] * [-rng.uniform(0.09, 0.13), 0.06 * -side]
    motion.stretch[span] -= 0.14 * pulse
    motion.paws[span] += pulse[:, None, None] * 0.05 * np.sign(STANCE)
    motion.lift[span] += 0.7 * np.abs(pulse)[:, None]


def _walk(motion: Motion, span: slice, side: int, tempo: float, rng: np.random.Generator) -> None:
    count = span.stop - span.start
    swell = _swell(count, rise=2.5, fall=2)
    motion.speed[span] += rng.uniform(0.028, 0.045) * tempo * swell
    _step(motion, span, swell=swell, stride=0.09, hertz=3.4 * tempo, paws=(0, 1, 2, 3), rng=rng)


def _active(motion: Motion, span: slice, side: int, tempo: float, rng: np.random.Generator) -> None:
    """Turning, rearing or sniffing on the spot; all three bob the snout and shuffle the front paws."""
    count = span.stop - span.start
    clock = np.arange(count) / FPS * tempo
    swell = _swell(count, rise=3, fall=3)
    kind, way = rng.integers(3), rng.choice([-1, 1])
    motion.nod[span] += 0.035 * swell * np.sin(2 * np.pi * 4.5 * clock)
    if kind == 0:
        motion.turn[span] += way * rng.uniform(0.05, 0.08) * tempo * swell
        motion.bend[span] += way * swell * (0.4 + 0.15 * np.sin(2 * np.pi * 1.6 * clock))
    elif kind == 1:
        motion.stretch[span] -= 0.28 * swell
        motion.lift[span, :2] += swell[:, None]
        motion.bend[span] += way * 0.4 * swell * np.sin(2 * np.pi * 1.4 * clock + 0.6)
    else:
        motion.bend[span] += way * 0.65 * swell * np.sin(2 * np.pi * 1.4 * clock + 0.5)
    _step(motion, span, swell=swell, stride=0.05, hertz=3.0 * tempo, paws=(0, 1), rng=rng)


def _step(motion: Motion, span: slice, *, swell, stride: float, hertz: float, paws, rng: np.random.Generator) -> None:
    """Trot: diagonal paws together, swinging forward while lifted. `stride` is in bu."""
    start = rng.uniform(0, 2 * np.pi)
    for paw in paws:
        phase = 2 * np.pi * hertz * np.arange(len(swell)) / FPS + start + np.pi * (paw in (1, 2))
        motion.paws[span, paw, 0] += stride * swell * np.sin(phase)
        motion.lift[span, paw] += 0.6 * swell * np.clip(np.cos(phase), 0, 1)


ACTS: dict[int, Callable[[Motion, slice, int, float, np.random.Generator], None]] = {
    WITHDRAW: _withdraw, LICK: _lick, GUARD: _guard, SHAKE: _shake, FLINCH: _flinch, WALK: _walk, ACTIVE: _active,
}  # fmt: skip
