"""What the figures of the last minutes were: sampled every few seconds, in bounded memory."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from aemos.model import Instant

Read = Callable[[], Mapping[str, float]]


class Series:
    """The last `span` seconds of gauges as they were, and of counters as rates per second."""

    _log = Logger()

    def __init__(
        self,
        gauges: Read,
        counters: Read,
        clock: IReactorTime,
        *,
        every: float = 5.0,
        span: float = 900.0,
    ) -> None:
        """@param gauges, counters: give the figures by name, always the same ones.

        @param every: seconds between two samples. @param span: seconds that are kept.
        """
        self._gauges, self._counters, self._clock = gauges, counters, clock
        self._every, self._length = every, int(span // every)
        self._at: deque[Instant] = deque(maxlen=self._length)
        self._samples: deque[array[float]] = deque(maxlen=self._length)
        self._names: list[str] = []
        self._totals: Mapping[str, float] = {}
        self._read_at = 0.0
        self._sampling: LoopingCall | None = None

    def start(self) -> None:
        """Begin; the first sample comes after one period, as rates need two readings."""
        self._totals, self._read_at = self._counters(), self._clock.seconds()
        self._names = [*self._gauges(), *self._totals]
        self._sampling = LoopingCall(self._sample)
        self._sampling.clock = self._clock
        self._sampling.start(self._every, now=False).addErrback(
            lambda failure: self._log.failure("sampling of figures ended", failure)
        )

    def stop(self) -> None:
        """Take no more samples."""
        if self._sampling is not None and self._sampling.running:
            self._sampling.stop()

    def shown(self) -> dict[str, object]:
        """@return: `{"every": seconds, "times": [...], "series": {name: [value of each time]}}`."""
        columns = zip(*self._samples, strict=True) if self._samples else [()] * len(self._names)
        series = {
            name: [round(value, 3) for value in column]
            for name, column in zip(self._names, columns, strict=True)
        }
        return {"every": self._every, "times": list(self._at), "series": series}

    def _sample(self) -> None:
        now, totals = self._clock.seconds(), self._counters()
        seconds = now - self._read_at
        if seconds <= 0:  # the clock was set back
            seconds = self._every
        rates = (max(0.0, totals[name] - self._totals[name]) / seconds for name in totals)
        self._at.append(Instant.of(now))
        self._samples.append(array("d", [*self._gauges().values(), *rates]))
        self._totals, self._read_at = totals, now
