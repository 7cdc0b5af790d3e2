"""A row of a benchmark: name, value, unit, reference, ratio, target, met."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Row:
    name: str
    value: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None

    def line(self) -> str:
        reference = "" if self.reference is None else f"{self.reference:.1f}"
        ratio = "" if self.ratio is None else f"{self.ratio:.3f}"
        met = "" if self.met is None else ("yes" if self.met else "NO")
        return f"{self.name:<58} {self.value:>12.1f} {self.unit:<8} {reference:>12} {ratio:>7} {self.target:>12} {met:>4}"


def at_most(name: str, value: float, unit: str, limit: float) -> Row:
    return Row(name, value, unit, target=f"<= {limit:g}", met=value <= limit)


def ratio_row(name: str, value: float, unit: str, reference: float, least: float | None = None, most: float | None = None) -> Row:
    ratio = value / reference if reference else float("nan")
    target = f">= {least:g}" if least is not None else f"<= {most:g}" if most is not None else ""
    met = ratio >= least if least is not None else ratio <= most if most is not None else None
    return Row(name, value, unit, reference, ratio, target, met)


def pair_row(name: str, pair: tuple[float, float], unit: str, least: float | None = None, most: float | None = None) -> Row:
    """A row of a value and its reference, as volumes.compare returns them."""
    value, reference = pair
    return ratio_row(name, value, unit, reference, least, most)
