"""Learns how often something happens, from the gaps in between, in three numbers."""

from __future__ import annotations

import attrs

_ENOUGH = 8  # gaps until there is an answer; from then on a new one has this part of the weight
_OUTAGE = 3  # a gap counts as at most so many intervals,
_PAUSE = 60.0  # or seconds, if that is more: it may be the pause between two bursts


@attrs.define(slots=True, eq=False)
class Interval:
    """The length of the gap that a moment picked at random falls into.

    That is the mean of the squares of all gaps over their mean, both exponentially weighted. For
    something regular it is the interval; for something that comes in bursts it is that of the
    bursts, where a mean or a median would nearly be zero. One long gap, an outage, moves it
    by less than two thirds, or to less than a minute, and is soon forgotten.
    """

    _mean: float = 0.0
    _square: float = 0.0
    _gaps: int = 0

    @classmethod
    def of(cls, seconds: float) -> Interval:
        """@return: one that has learned this interval; 0 = nothing yet."""
        return cls(seconds, seconds * seconds, _ENOUGH) if seconds else cls()

    @property
    def seconds(self) -> float | None:
        """The interval; None = too little is known."""
        return self._square / self._mean if self._gaps >= _ENOUGH else None

    def learn(self, gap: float) -> None:
        """@param gap: seconds, more than 0."""
        if self._gaps < _ENOUGH:
            self._gaps += 1
        else:
            gap = min(gap, max(_PAUSE, _OUTAGE * self._square / self._mean))
        self._mean += (gap - self._mean) / self._gaps
        self._square += (gap * gap - self._square) / self._gaps
