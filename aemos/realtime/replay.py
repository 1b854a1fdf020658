"""The events of the last moments, for those who come back after their connection broke."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import dropwhile
from typing import Generic, TypeVar

T = TypeVar("T")

_OVERHEAD = 1250  # bytes of memory that an event takes beside its JSON text


class Replay(Generic[T]):
    """A ring of events in order of their ids, bounded by their number and by their size."""

    def __init__(self, events: int, octets: int) -> None:
        """@param octets: of memory, as far as that can be told."""
        self._limit, self._max_octets = events, octets
        self._kept: deque[tuple[str, T, Sequence[str], int]] = deque()
        self._octets = 0
        self.forgotten = ""
        """The id of the newest event that is kept no more; "" = none was forgotten."""

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, event_id: str, event: T, rooms: Sequence[str], size: int) -> None:
        """Keep an event that is newer than all others; the oldest give way to it."""
        self._kept.append((event_id, event, rooms, size + _OVERHEAD))
        self._octets += size + _OVERHEAD
        while len(self._kept) > self._limit or self._octets > self._max_octets:
            self.forgotten, _, _, freed = self._kept.popleft()
            self._octets -= freed

    def after(self, event_id: str) -> Iterator[tuple[T, Sequence[str]]]:
        """@return: the events that are newer than the one of this id, with their rooms."""
        for _, event, rooms, _ in dropwhile(lambda kept: kept[0] <= event_id, self._kept):
            yield event, rooms
