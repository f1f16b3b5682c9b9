"""Lines over time as SVG: two panels below each other, on white, to be read in light and dark pages alike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 760, 170, 64, 16, 34, 82
COLOURS = ("#1b7837", "#c2591a")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a point for each second, or None where there is none."""

    name: str
    points: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Panel:
    """Some lines with a common vertical axis from 0 to ``top``."""

    title: str
    top: float
    lines: Sequence[Line]


def svg(panels: Sequence[Panel]) -> str:
    """A whole SVG document."""
    height = TOP + len(panels) * (PANEL + GAP)
    parts = [part for at, panel in enumerate(panels) for part in _panel(panel, TOP + at * (PANEL + GAP))]
    box, font = f'viewBox="0 0 {WIDTH} {height}"', 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} {font} role="img">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>', *parts, "</svg>\n"])


def _panel(panel: Panel, y: float) -> Iterator[str]:
    seconds = max(len(line.points) for line in panel.lines)
    yield f'<text x="{LEFT}" y="{y - 14}" font-weight="bold">{escape(panel.title)}</text>'
    for quarter in range(5):
        level = y + PANEL * (1 - quarter / 4)
        yield f'<path d="M{LEFT} {level:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 8}" y="{level + 4:.1f}" text-anchor="end">{panel.top * quarter / 4:g}</text>'
    for second in range(0, seconds + 1, max(1, seconds // 6)):
        x = LEFT + second * (WIDTH - LEFT - RIGHT) / seconds
        yield f'<text x="{x:.1f}" y="{y + PANEL + 18}" text-anchor="middle">{second} s</text>'
    for at, (line, colour) in enumerate(zip(panel.lines, COLOURS, strict=False)):
        yield f'<path d="{_path(line, panel.top, y)}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield f'<text x="{LEFT + 150 * at}" y="{y + PANEL + 36}" fill="{colour}">{escape(line.name)}</text>'


def _path(line: Line, top: float, y: float) -> str:
    step = (WIDTH - LEFT - RIGHT) / len(line.points)
    places = [
        f"{LEFT + (second + 0.5) * step:.1f} {y + PANEL * (1 - min(point / top, 1)):.1f}"
        for second, point in enumerate(line.points)
        if point is not None
    ]
    return "M" + "L".join(places) if places else ""
