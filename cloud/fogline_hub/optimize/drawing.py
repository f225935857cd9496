"""The Pareto front as one SVG: bytes across, latency up, memory as the size of a mark."""

import math
from xml.sax.saxutils import escape

from fogline_hub.optimize.measurement import Measurement
from fogline_hub.optimize.optimization import OptimizationResult

WIDTH, HEIGHT = 860, 480
LEFT, RIGHT, TOP, BOTTOM = 80, 180, 50, 60
_OPENING = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
    'font-family="sans-serif" font-size="12">'
)
_FRONT, _OTHER, _CHOSEN = "#0b6e4f", "#9aa0a6", "#c8553d"


def draw_front(result: OptimizationResult) -> str:
    """An SVG file; logarithmic scales, because variants differ by factors."""
    shown = [m for m in result.measurements if m.timing is not None]
    across = _Scale([m.size_bytes for m in shown], LEFT, WIDTH - RIGHT)
    up = _Scale([_p50(m) for m in shown], HEIGHT - BOTTOM, TOP)
    parts = [
        _OPENING,
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 24, f"{result.bundle}: bytes and latency of one row at one thread", size=15),
        _text(LEFT, 41, _legend(result), colour="#5f6368"),
    ]
    for value in across.ticks():
        x = across(value)
        parts.append(_line(x, TOP, x, HEIGHT - BOTTOM))
        parts.append(_text(x, HEIGHT - BOTTOM + 18, _bytes(value), anchor="middle"))
    for value in up.ticks():
        parts.append(_line(LEFT, up(value), WIDTH - RIGHT, up(value)))
        parts.append(_text(LEFT - 8, up(value) + 4, f"{value:.4g} us", anchor="end"))
    front = sorted((m for m in shown if m.is_pareto), key=lambda m: m.size_bytes)
    path = " ".join(f"{across(m.size_bytes):.1f},{up(_p50(m)):.1f}" for m in front)
    parts.append(
        f'<polyline points="{path}" fill="none" stroke="{_FRONT}" stroke-dasharray="4 3"/>'
    )
    parts += [_mark(m, result, across(m.size_bytes), up(_p50(m))) for m in shown]
    return "\n".join([*parts, "</svg>", ""])


class _Scale:
    """Values to places, logarithmically, with a margin at both ends."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        low, high = (math.log(v) for v in (min(values), max(values)))
        margin = max(0.08 * (high - low), 0.05)
        self._low, self._high = low - margin, high + margin
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (math.log(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self, count: int = 5) -> list[float]:
        step = (self._high - self._low) / (count + 1)
        return [math.exp(self._low + step * (i + 1)) for i in range(count)]


def _mark(one: Measurement, result: OptimizationResult, x: float, y: float) -> str:
    colour = _FRONT if one.is_pareto else _OTHER
    if one.name == result.choice.name:
        colour = _CHOSEN
    radius = 3 + math.sqrt(one.peak_memory_bytes / 2**20) / 3
    loss = one.quality.loss if one.quality and one.quality.loss is not None else 0.0
    label = f"{one.name} (loss {loss:.4f}{', unproven' if one.evidence == 'unproven' else ''})"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}" fill-opacity="0.75"/>'
        + _text(x + radius + 3, y + 4, label)
    )


def _legend(result: OptimizationResult) -> str:
    choice = result.choice.name or "nothing fits"
    latency = "measured" if result.profile.is_host else "measured here, not on the device"
    return f"{result.profile.name}: {choice}; latencies {latency}; marks grow with peak memory"


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, colour: str = "#202124"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{colour}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#e8eaed"/>'


def _bytes(value: float) -> str:
    for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def _p50(one: Measurement) -> float:
    return max(one.timing.p50, 1e-3) if one.timing else 1e-3
