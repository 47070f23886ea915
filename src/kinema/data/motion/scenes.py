"""Scenes of the built-in dataset: how something moves, and the drawn things that do.

Shapes: T frames, H and W pixels. Positions are in units of the frame's side, x to the right and y downwards, so a
positive angle turns clockwise for who looks at the picture.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

AXES = ("horizontal", "vertical", "depth", "turn")

SCALE_PER_TRAVEL = 1.2
TURN_PER_TRAVEL = math.radians(220)

Matrix = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Trajectory:
    """How the content of a picture moves: what is seen goes to `position + scale * rotation(angle) * content`."""

    position: np.ndarray
    """Where the content's origin stands, from the middle of the frame. [T, 2]"""
    scale: np.ndarray
    """How large it is. [T]"""
    angle: np.ndarray
    """How far it is turned, in radians, clockwise. [T]"""

    def __len__(self) -> int:
        return len(self.scale)

    def sampling_matrix(self, frame: int, *, origin: tuple[float, float], side: float, frame_size: int) -> Matrix:
        """Returns Pillow's affine coefficients, which map a pixel of the frame to a point of the content.

        Args:
            frame: Which of the T frames.
            origin: The content's origin, in its pixels.
            side: How many of its pixels span the frame at scale 1.
            frame_size: Height and width of the frame.
        """
        step = side / (self.scale[frame] * frame_size)
        cos, sin = step * math.cos(self.angle[frame]), step * math.sin(self.angle[frame])
        x, y = (self.position[frame] + 0.5) * frame_size
        return (cos, sin, origin[0] - cos * x - sin * y, -sin, cos, origin[1] + sin * x - cos * y)


def draw_trajectory(
    axis: str, length: int, *, speed: float, base_position: np.ndarray, base_angle: float, rng: np.random.Generator
) -> Trajectory:
    """Draws a motion to the left, upwards, towards the eye, or clockwise; played in reverse it is the partner's.

    What turns, turns about the middle of the frame, like a hand of a clock. How far it goes is drawn alike for all
    axes; it speeds up or slows down in the middle, alike in both directions.

    Args:
        axis: One of `AXES`.
        length: Number of frames T.
        speed: Factor on how far it goes.
        base_position: Where the content is halfway. [2]
        base_angle: How it is turned halfway.
        rng: Source of all randomness.
    """
    travel = speed * rng.uniform(0.6, 1.0)
    ease = rng.uniform(-0.6, 0.6)
    time = np.linspace(0.0, 1.0, length)
    progress = travel * (time - 0.5 + ease * np.sin(2 * np.pi * time) / (2 * np.pi))
    position = np.tile(base_position, (length, 1))
    scale = np.ones(length)
    angle = np.full(length, base_angle)
    if axis == "horizontal":
        position[:, 0] -= progress
    elif axis == "vertical":
        position[:, 1] -= progress
    elif axis == "depth":
        scale = np.exp(SCALE_PER_TRAVEL * progress)
    else:
        turn = TURN_PER_TRAVEL * progress
        angle = angle + turn
        x, y = base_position
        position = np.stack([np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y], axis=1)
    return Trajectory(position=position, scale=scale, angle=angle)


def draw_scene(
    axis: str,
    length: int,
    *,
    frame_size: int,
    contrast: float,
    clutter: int,
    noise: float,
    speed: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draws a textured object that moves over a textured background.

    Args:
        axis: One of `AXES`.
        length: Number of frames T.
        frame_size: Height and width in pixels.
        contrast: 1: the object is brighter than everything else; 0: it is as bright as anything.
        clutter: Number of still objects behind it, as dim as the background.
        noise: Standard deviation of each frame's own noise, of values in [0, 1].
        speed: Factor on how far the object goes.
        rng: Source of all randomness.

    Returns:
        Frames, uint8. [T, H, W, 3]
    """
    dim, bright = (0.05, 1.0 - 0.65 * contrast), (0.05 + 0.65 * contrast, 1.0)
    background = _background(frame_size, brightness=dim, rng=rng)
    for _ in range(clutter):
        resting = Trajectory(rng.uniform(-0.45, 0.45, (1, 2)), np.ones(1), rng.uniform(-np.pi, np.pi, 1))
        texture, mask = _object(frame_size, brightness=dim, rng=rng)
        _paste(background, texture, mask, resting, frame=0, diameter=rng.uniform(0.15, 0.35))
    away, direction = rng.uniform(0.18, 0.3), rng.uniform(-np.pi, np.pi)
    trajectory = draw_trajectory(
        axis,
        length,
        speed=speed,
        base_position=away * np.array([np.cos(direction), np.sin(direction)]),
        base_angle=rng.uniform(-np.pi, np.pi),
        rng=rng,
    )
    texture, mask = _object(frame_size, brightness=bright, rng=rng)
    diameter = rng.uniform(0.4, 0.65)
    frames = np.empty((length, frame_size, frame_size, 3), np.uint8)
    for frame in range(length):
        picture = background.copy()
        _paste(picture, texture, mask, trajectory, frame=frame, diameter=diameter)
        frames[frame] = np.asarray(picture)
    return add_noise(frames, noise, rng)


def add_noise(frames: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Adds to each frame its own grey noise: a window, at a place drawn anew, of one larger noise picture.

    Args:
        frames: uint8. [T, H, W, 3]
        noise: Standard deviation, of values in [0, 1].
        rng: Source of all randomness.

    Returns:
        Frames, uint8. [T, H, W, 3]
    """
    if noise == 0.0:
        return frames
    length, height, width = frames.shape[:3]
    grain = rng.standard_normal((2 * height, 2 * width), dtype=np.float32) * np.float32(255 * noise)
    grain = np.rint(grain).astype(np.int16)[..., None].repeat(3, axis=2)
    noisy = np.empty_like(frames)
    for frame, (top, left) in enumerate(rng.integers([height, width], size=(length, 2))):
        own = grain[top : top + height, left : left + width]
        noisy[frame] = np.clip(frames[frame] + own, 0, 255)
    return noisy


def _paste(
    picture: Image.Image,
    texture: Image.Image,
    mask: Image.Image,
    trajectory: Trajectory,
    *,
    frame: int,
    diameter: float,
) -> None:
    origin, side, size = texture.width / 2, texture.width / diameter, picture.width
    matrix = trajectory.sampling_matrix(frame, origin=(origin, origin), side=side, frame_size=size)
    radius = 0.5 * diameter * trajectory.scale[frame]
    corners = size * (0.5 + trajectory.position[frame] + radius * np.array([[-1.0], [1.0]]))
    (left, top), (right, bottom) = np.clip(np.rint(corners + np.array([[-1], [1]])), 0, size).astype(int).tolist()
    if left >= right or top >= bottom:
        return
    a, b, c, d, e, f = matrix
    inside = (a, b, a * left + b * top + c, d, e, d * left + e * top + f)
    moved = [
        layer.transform((right - left, bottom - top), Image.Transform.AFFINE, inside, Image.Resampling.BILINEAR)
        for layer in (texture, mask)
    ]
    picture.paste(moved[0], (left, top), moved[1])


def _object(
    frame_size: int, *, brightness: tuple[float, float], rng: np.random.Generator
) -> tuple[Image.Image, Image.Image]:
    side = max(16, 3 * frame_size // 4)
    colors = _color(brightness, saturation=(0.3, 1.0), rng=rng), _color(brightness, saturation=(0.0, 1.0), rng=rng)
    first, second = (np.array(color) for color in colors)
    weight = _texture(side, rng)[..., None]
    dark = rng.uniform(0.2, 0.5)
    texture = first * weight + dark * second * (1 - weight)
    outline = [(side * (0.5 + 0.48 * x), side * (0.5 + 0.48 * y)) for x, y in _outline(rng)]
    mask = Image.new("L", (2 * side, 2 * side))
    ImageDraw.Draw(mask).polygon([(2 * x, 2 * y) for x, y in outline], fill=255)
    return Image.fromarray(_to_bytes(texture)), mask.reduce(2)


def _background(side: int, *, brightness: tuple[float, float], rng: np.random.Generator) -> Image.Image:
    color = np.array(_color(brightness, saturation=(0.0, 0.6), rng=rng))
    change = np.array(_color((0.0, 0.25), saturation=(0.0, 1.0), rng=rng))
    return Image.fromarray(_to_bytes(color + (_blobs(side, rng)[..., None] - 0.5) * change))


def _color(
    brightness: tuple[float, float], *, saturation: tuple[float, float], rng: np.random.Generator
) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*brightness))


def _texture(side: int, rng: np.random.Generator) -> np.ndarray:
    """Draws stripes, checks or blobs, in [0, 1] and of shape [side, side]."""
    kind = rng.choice(["stripes", "checks", "blobs"])
    if kind == "blobs":
        return 0.5 + 0.5 * np.tanh(8 * (_blobs(side, rng) - 0.5))
    y, x = (np.mgrid[:side, :side] / side - 0.5) * 2 * np.pi
    direction, cycles, phase = rng.uniform(0, np.pi), rng.uniform(0.8, 2.0), rng.uniform(0, 2 * np.pi, 2)
    along = np.cos(direction) * x + np.sin(direction) * y
    across = np.cos(direction) * y - np.sin(direction) * x
    wave = np.sin(cycles * along + phase[0])
    if kind == "checks":
        wave = wave * np.sin(cycles * across + phase[1])
    return 0.5 + 0.5 * np.tanh(4 * wave)


def _blobs(side: int, rng: np.random.Generator) -> np.ndarray:
    grid = Image.fromarray(rng.uniform(size=(5, 5)).astype(np.float32))
    return np.clip(np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC)), 0, 1)


def _outline(rng: np.random.Generator) -> list[tuple[float, float]]:
    """Draws the corners of a disc, a regular polygon, a rectangle or a star within the unit circle."""
    kind = rng.choice(["disc", "polygon", "rectangle", "star"])
    if kind == "rectangle":
        half = rng.uniform(0.45, 0.75)
        wide = math.sqrt(1 - half * half)
        return [(-wide, -half), (wide, -half), (wide, half), (-wide, half)]
    num_corners = {"disc": 48, "polygon": int(rng.integers(3, 7)), "star": 2 * int(rng.integers(4, 7))}[str(kind)]
    inner = rng.uniform(0.45, 0.65) if kind == "star" else 1.0
    radii = [inner if corner % 2 else 1.0 for corner in range(num_corners)]
    turns = [2 * math.pi * corner / num_corners for corner in range(num_corners)]
    return [(radius * math.cos(turn), radius * math.sin(turn)) for radius, turn in zip(radii, turns, strict=True)]


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
