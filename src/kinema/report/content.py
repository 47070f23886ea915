"""What a report is made of: sections of text, charts, tables and clips, free of any look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph."""

    text: str
    """Plain words; escaped when the page is written."""
    kind: str = field(default="text", init=False)
    """Names the block for the template."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One picture drawn as inline SVG."""

    svg: str
    """The `<svg>` element, as `svg.inline_svg` makes it."""
    alt: str
    """What a person who cannot see the picture should know."""
    caption: str
    """The sentence under the picture."""


@dataclass(frozen=True, kw_only=True)
class Charts:
    """Pictures that stand side by side where the page is wide enough."""

    charts: Sequence[Chart]
    """The pictures, in reading order."""
    beside: str = ""
    """A paragraph that stands beside them where the page is wide enough, else above."""
    kind: str = field(default="charts", init=False)
    """Names the block for the template."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; the first column names its rows."""

    header: Sequence[str]
    """One name a column."""
    rows: Sequence[Sequence[str]]
    """Cells as text, numbers already formatted."""
    caption: str = ""
    """The sentence above the table."""
    kind: str = field(default="table", init=False)
    """Names the block for the template."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """Commands to be typed, or a listing."""

    text: str
    """Lines as they are typed."""
    kind: str = field(default="code", init=False)
    """Names the block for the template."""


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What one network says about one clip."""

    name: str
    """The network's name."""
    color: int
    """The network's place in the palette."""
    top: Sequence[tuple[str, float]]
    """Class names and probabilities, best first."""
    correct: bool
    """Whether the best one is the true one."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The frames that a network saw, the truth, and what networks said."""

    title: str
    """Where the clip comes from."""
    picture: str
    """The frames in a row, as a data URI."""
    num_frames: int
    """How many frames stand in the row."""
    truth: str
    """The true class name."""
    guesses: Sequence[Guess]
    """One a network."""


@dataclass(frozen=True, kw_only=True)
class Clips:
    """A contact sheet."""

    clips: Sequence[Clip]
    """The clips, in reading order."""
    kind: str = field(default="clips", init=False)
    """Names the block for the template."""


Block = Text | Charts | Table | Code | Clips


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    """The question that the section answers, or its subject."""
    blocks: Sequence[Block]
    """Text, charts, tables and clips, in reading order."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A number that a reader should take home."""

    value: str
    """The number, formatted."""
    label: str
    """What it is the number of."""
    note: str
    """A few words more."""
    color: int
    """Its place in the palette."""
