"""A fish seen from the side, in its water. All that the labels say is to be seen.

Order: the body plan. Family: its proportions, tail and hue. Species: pattern and colours. Trophic level: mouth and teeth.
Feeding path: height in the water and where the mouth is. Each of the eight habitats: something of its own in the scene.

Bodies are drawn in their own coordinates: u from snout (0) to tail base (1), v from back (-1) to belly (1).
"""

import colorsys
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from tarpon.tools.fish.demo.water import FINE, Habitat, water

Colour = tuple[int, int, int]
ALONG = np.linspace(0, 1, 33)
ROUND = np.stack([np.cos(np.linspace(0, 2 * np.pi, 15)[:-1]), np.sin(np.linspace(0, 2 * np.pi, 15)[:-1])], 1)
SHADES = np.linspace(0.72, 1.3, 9)  # of the body's colour, back to belly
PATTERNS = ("plain", "bars", "stripes", "spots", "two_tone", "saddle", "eye_spot", "dots")
# (x behind the tail base, y) in body lengths, the upper outline from the base backwards
TAILS = {
    "fork": ((0, 0.05), (0.2, 0.19), (0.11, 0.0)),
    "lunate": ((0, 0.03), (0.19, 0.25), (0.07, 0.0)),
    "fan": ((0, 0.06), (0.17, 0.13), (0.17, 0.0)),
    "round": ((0, 0.06), (0.09, 0.11), (0.16, 0.07), (0.18, 0.0)),
    "point": ((0, 0.03), (0.08, 0.02), (0.12, 0.0)),
}
SHARK_TAIL = ((0, 0.03), (0.14, -0.24), (0.2, -0.25), (0.09, -0.02), (0.13, 0.12), (0.0, 0.04))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A body plan."""

    depth: float  # of the body, in lengths
    blunt: float = 0.6  # exponent at the snout: small is a round head
    taper: float = 0.75  # exponent at the tail
    stem: float = 0.25  # least depth before the tail, of the greatest
    tail: str = "fork"
    dorsal: tuple[tuple[float, float, float], ...] = ((0.35, 0.75, 0.1),)  # fins on the back: from u, to u, height
    anal: tuple[tuple[float, float, float], ...] = ((0.6, 0.8, 0.08),)
    wave: float = 0.02  # bending of the body, in lengths
    beak: float = 0.0  # in lengths
    barbels: bool = False
    thorns: bool = False
    length: float = 0.62  # of the picture's width


PLANS: dict[str, Plan] = {
    "perch": Plan(depth=0.36, dorsal=((0.3, 0.52, 0.13), (0.56, 0.82, 0.1)), tail="fan"),
    "carp": Plan(depth=0.33, blunt=0.65, dorsal=((0.42, 0.62, 0.12),)),
    "disc": Plan(depth=0.66, blunt=0.7, taper=0.6, stem=0.2, dorsal=((0.3, 0.93, 0.13),), anal=((0.5, 0.93, 0.13),),
                 tail="fan"),
    "eel": Plan(depth=0.085, blunt=0.25, taper=0.3, stem=0.5, tail="point", wave=0.09, length=0.8,
                dorsal=((0.15, 1.0, 0.03),), anal=((0.4, 1.0, 0.03),)),
    "catfish": Plan(depth=0.24, blunt=0.35, taper=1.0, tail="fork", barbels=True,
                    dorsal=((0.28, 0.4, 0.14), (0.75, 0.84, 0.05)), anal=((0.6, 0.9, 0.08),)),
    "puffer": Plan(depth=0.6, blunt=0.5, taper=0.95, stem=0.2, tail="round", thorns=True, length=0.52,
                   dorsal=((0.75, 0.88, 0.12),), anal=((0.75, 0.88, 0.1),)),
    "shark": Plan(depth=0.2, blunt=0.75, taper=1.2, stem=0.2, tail="shark", length=0.7,
                  dorsal=((0.38, 0.52, 0.17), (0.8, 0.86, 0.05)), anal=((0.78, 0.84, 0.05),)),
    "flatfish": Plan(depth=0.5, blunt=0.6, taper=0.65, tail="round", dorsal=((0.08, 0.95, 0.08),), anal=((0.15, 0.95, 0.08),)),
    "needle": Plan(depth=0.09, blunt=0.5, taper=0.5, stem=0.4, beak=0.17, length=0.7,
                   dorsal=((0.78, 0.95, 0.06),), anal=((0.78, 0.95, 0.06),)),
    "goby": Plan(depth=0.2, blunt=0.33, taper=0.6, stem=0.45, tail="round",
                 dorsal=((0.3, 0.45, 0.13), (0.52, 0.86, 0.1)), anal=((0.55, 0.86, 0.08),)),
    "tuna": Plan(depth=0.29, blunt=0.75, taper=1.0, stem=0.12, tail="lunate", length=0.68,
                 dorsal=((0.32, 0.48, 0.1), (0.56, 0.66, 0.12)), anal=((0.6, 0.7, 0.12),)),
    "herring": Plan(depth=0.21, blunt=0.7, taper=0.8, dorsal=((0.45, 0.58, 0.09),), anal=((0.7, 0.85, 0.05),)),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one species looks like."""

    plan: Plan
    body: Colour
    mark: Colour
    pattern: str
    troph: float  # 2 eats plants: a small mouth; 5 eats fish: a wide mouth with teeth
    benthic: bool


def family_plan(order: str, rng: np.random.Generator) -> Plan:
    """A family's variation of its order's plan."""
    plan = PLANS[order]
    grow = rng.uniform(0.75, 1.4)
    tails = [plan.tail] if plan.tail in ("shark", "point", "lunate") else ["fork", "fan", "round"]
    raised = tuple((begin, end, height * grow) for begin, end, height in plan.dorsal)
    tail = str(rng.choice([plan.tail, *tails]))
    return replace(
        plan, depth=plan.depth * rng.uniform(0.85, 1.18), blunt=plan.blunt * rng.uniform(0.8, 1.2), dorsal=raised, tail=tail
    )


def colours(hue: float, rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Body and mark of a species whose family has this hue."""
    near = (hue + rng.normal(0, 0.025)) % 1
    body = colorsys.hsv_to_rgb(near, rng.uniform(0.35, 0.8), rng.uniform(0.6, 0.85))
    away = (near + rng.choice([0.12, 0.5, -0.14]) + rng.normal(0, 0.03)) % 1
    dark = rng.random() < 0.6
    mark = colorsys.hsv_to_rgb(away, rng.uniform(0.3, 0.9), rng.uniform(0.1, 0.3) if dark else rng.uniform(0.85, 1.0))
    return _colour(np.array(body) * 255), _colour(np.array(mark) * 255)


def draw(look: Look, habitat: Habitat, *, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """A picture of `width` x `height` pixels."""
    scene = water(habitat, width=width * FINE, height=height * FINE, rng=rng)
    body = _Body(look, scene, rng=rng)
    body.fins()
    body.flank()
    body.head()
    return scene.reduce(FINE)


class _Body:
    """One fish on its scene."""

    def __init__(self, look: Look, scene: Image.Image, *, rng: np.random.Generator) -> None:
        self.look, self.pen, self.rng = look, ImageDraw.Draw(scene), rng
        plan = look.plan
        half = ALONG**plan.blunt * (1 - ALONG) ** plan.taper
        half = np.maximum(half / half.max(), plan.stem * np.clip((ALONG - 0.4) / 0.4, 0, 1))
        self.half = half * plan.depth / 2
        self.wave = plan.wave * rng.uniform(0.5, 1.2), rng.uniform(0, 2 * np.pi)
        self.scale = scene.width * plan.length * rng.uniform(0.85, 1.05)
        self.scale = min(self.scale, 0.75 * scene.height / (plan.depth + 0.16))
        low = 0.62 if look.benthic else 0.44
        self.middle = np.array([scene.width * rng.uniform(0.46, 0.54), scene.height * (low + rng.uniform(-0.05, 0.05))])
        turn = rng.normal(0, 0.1)
        flip = rng.choice([-1.0, 1.0])
        self.turn = np.array([[flip * np.cos(turn), -flip * np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        self.light = rng.uniform(0.85, 1.12)

    def place(self, x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
        """Body lengths from the snout, and off the middle line, to pixels."""
        size, phase = self.wave
        y = np.asarray(y) + size * np.sin(2 * np.pi * np.asarray(x) * (2 if size > 0.04 else 0.8) + phase)
        points = np.stack([np.asarray(x) - 0.56, y], -1) * self.scale
        return [tuple(point) for point in points @ self.turn.T + self.middle]

    def on(self, u: np.ndarray, v: np.ndarray) -> list[tuple[float, float]]:
        return self.place(u, np.asarray(v) * np.interp(u, ALONG, self.half))

    def lit(self, colour: Colour, shade: float = 1.0) -> Colour:
        return _colour(np.array(colour) * shade * self.light)

    def fins(self) -> None:
        """Behind the flank: tail, back and belly fins."""
        plan, colour = self.look.plan, self.lit(self.look.mark if self.look.pattern == "two_tone" else self.look.body, 0.82)
        edge = self.lit(self.look.mark, 0.8)
        if plan.tail == "shark":
            outline = np.array(SHARK_TAIL)
        else:
            upper = np.array(TAILS[plan.tail])
            outline = np.concatenate([upper * [1, -1], upper[::-1]])
        outline = outline * min(1.0, (plan.depth / 0.2) ** 0.5)
        self.pen.polygon(self.place(0.985 + outline[:, 0], outline[:, 1]), fill=colour, outline=edge)
        for side, fins in ((-1, plan.dorsal), (1, plan.anal)):
            for begin, end, height in fins:
                u = np.linspace(begin, end, 12)
                t = (u - begin) / (end - begin)
                rise = height * np.clip(np.minimum(t * 4, 1.25 * (1 - t) + 0.25), 0, 1)
                base = np.interp(u, ALONG, self.half) * 0.9
                ring = self.place(
                    np.concatenate([u + 0.03 * t, u[::-1]]), side * np.concatenate([base + rise, base[::-1] * 0.5])
                )
                self.pen.polygon(ring, fill=colour, outline=edge)
                for ray in range(2, 11, 2):
                    self.pen.line([ring[ray], ring[23 - ray]], fill=edge, width=FINE // 2)
        if plan.thorns:
            for u in np.linspace(0.15, 0.85, 12):
                for side in (-1, 1):
                    self.pen.line(self.on(np.array([u, u + 0.02]), side * np.array([0.9, 1.14])), fill=edge, width=FINE)

    def flank(self) -> None:
        """The body, lighter towards the belly, with the species' pattern."""
        edges = np.linspace(-1, 1, len(SHADES) + 1)
        for top, bottom, shade in zip(edges, edges[1:], SHADES, strict=False):
            self.band((0, 1), (top, bottom), self.lit(self.look.body, shade))
        getattr(self, f"_{self.look.pattern}")()
        fin = np.array([[0.3, 0.2], [0.44, 0.1], [0.47, 0.5], [0.36, 0.55]])
        self.pen.polygon(
            self.on(fin[:, 0], fin[:, 1]), fill=self.lit(self.look.body, 0.75), outline=self.lit(self.look.mark, 0.7)
        )

    def band(self, u: tuple[float, float], v: tuple[float, float], colour: Colour) -> None:
        """A patch of the flank between two u and two v."""
        along = np.linspace(*u, 25)
        ring = self.on(np.concatenate([along, along[::-1]]), np.repeat([v[0], v[1] + 0.02], len(along)))
        self.pen.polygon(ring, fill=colour)

    def spot(self, u: float, v: float, radius: float, colour: Colour) -> None:
        """A disc; its radius is in body lengths."""
        deep = max(float(np.interp(u, ALONG, self.half)), 1e-3)
        self.pen.polygon(self.on(u + radius * ROUND[:, 0], np.clip(v + radius / deep * ROUND[:, 1], -1, 1)), fill=colour)

    def _plain(self) -> None:
        self.band((0.05, 0.98), (-0.12, -0.04), self.lit(self.look.mark, 1.0))  # the lateral line

    def _bars(self) -> None:
        for u in np.linspace(0.24, 0.9, 6):
            self.band((u - 0.03, u + 0.03), (-1, 0.9), self.lit(self.look.mark))

    def _stripes(self) -> None:
        for v in (-0.65, -0.2, 0.25):
            self.band((0.03, 0.99), (v, v + 0.18), self.lit(self.look.mark))

    def _spots(self) -> None:
        for u in np.linspace(0.25, 0.85, 6):
            for v in (-0.6, 0.0, 0.5):
                self.spot(u + 0.05 * (v == 0), v, min(0.15 * self.look.plan.depth, 0.04), self.lit(self.look.mark))

    def _dots(self) -> None:
        for u, v in zip(self.rng.uniform(0.2, 0.95, 40), self.rng.uniform(-0.9, 0.5, 40), strict=True):
            self.spot(u, v, 0.012, self.lit(self.look.mark))

    def _two_tone(self) -> None:
        self.band((0.52, 1), (-1, 1), self.lit(self.look.mark))

    def _saddle(self) -> None:
        for u in (0.3, 0.55, 0.8):
            self.band((u - 0.07, u + 0.07), (-1, -0.15), self.lit(self.look.mark))

    def _eye_spot(self) -> None:
        radius = 0.3 * self.look.plan.depth / 2 + 0.012
        for share, colour in ((1.0, (245, 240, 225)), (0.7, self.look.mark)):
            self.spot(0.78, -0.15, radius * share, self.lit(colour))

    def head(self) -> None:
        """Gill, eye, mouth, and what hangs from it."""
        look, plan = self.look, self.look.plan
        dark, gill = (25, 20, 22), np.linspace(-0.6, 0.7, 9)
        self.pen.line(self.on(0.27 + 0.03 * (1 - (gill / 0.7) ** 2), gill), fill=self.lit(look.body, 0.55), width=FINE)
        deep = float(np.interp(0.13, ALONG, self.half))
        radius = min(max(0.3 * deep, 0.016), 0.035)
        for v in (-0.35, 0.25) if plan.depth > 0.4 and plan.dorsal[0][0] < 0.1 else (-0.35,):  # a flatfish shows both
            for share, colour in ((1.0, (250, 245, 220)), (0.6, dark)):
                self.spot(0.13, v, radius * share, colour)
        if plan.beak:
            self.pen.polygon(self.place([0.03, -plan.beak, 0.03], [-0.025, 0.0, 0.025]), fill=self.lit(look.body, 0.9))
        wide = np.clip((look.troph - 2) / 2.6, 0, 1)  # 0 grazer, 1 hunter
        reach, low = (0.03 + 0.12 * wide) * (1 - 3 * plan.beak), 0.45 if look.benthic else 0.05
        gape = (0.008 + 0.045 * wide) * min(1.0, (plan.depth / 0.2) ** 0.5)
        y = low * float(np.interp(reach, ALONG, self.half))
        jaw = self.place([-0.005 - plan.beak, reach, -0.005 - plan.beak], [y - gape, y, y + gape])
        self.pen.polygon(jaw, fill=(70, 18, 26))
        if wide > 0.5:
            teeth = -plan.beak + np.linspace(0.05, 0.75, 5) * (reach + plan.beak)
            for side in (-1, 1):
                for x in teeth:
                    rim = y + side * gape * (1 - (x + plan.beak) / (reach + plan.beak))
                    self.pen.polygon(
                        self.place([x - 0.009, x + 0.009, x], [rim, rim, rim - side * 0.028 * wide]), fill=(252, 252, 246)
                    )
        if plan.barbels:
            for lean in (0.03, 0.09, 0.15):
                self.pen.line(self.place([0.02, -0.03 - lean / 2, -0.06 + lean], [y, y + 0.05 + lean / 2, y + 0.1 + lean]),
                              fill=self.lit(look.body, 0.6), width=FINE)  # fmt: skip


def _colour(values: np.ndarray) -> Colour:
    return tuple(int(value) for value in np.clip(values, 0, 255))
