"""The bounded buffer between live events and one consumer that may be slow."""

from __future__ import annotations


class Outbox:
    """Frames that wait for one consumer, in order.

    Up to `limit` bytes all are kept. Beyond it only the newest frame of each subject stays, and if
    that is too much still, the oldest of them go; each frame lost so is counted. Frames without a
    subject are answers to the consumer itself: they always stay, the door bounds them by not
    reading from a consumer that does not read.
    """

    def __init__(self, limit: int) -> None:
        """@param limit: bytes of frames with a subject."""
        self._limit = limit
        self._frames: list[tuple[str, bytes]] = []
        self._newest: dict[object, bytes] | None = None
        self._size = 0
        self.dropped = 0

    def __bool__(self) -> bool:
        return bool(self._frames) or bool(self._newest)

    @property
    def size(self) -> int:
        """Bytes of the waiting frames that have a subject."""
        return self._size

    def add(self, frame: bytes, subject: str = "") -> None:
        """Append a frame; an older one of the same subject may give way to it."""
        if subject:
            self._size += len(frame)
        if self._newest is None:
            self._frames.append((subject, frame))
            if self._size > self._limit:
                self._thin()
        else:
            self._replace(self._newest, subject, frame)
            self._shrink(self._newest)

    def take(self) -> tuple[list[bytes], int]:
        """Empty the outbox.

        @return: the frames in order, and how many were dropped since the last time.
        """
        frames = [frame for _, frame in self._frames] + list((self._newest or {}).values())
        dropped, self.dropped = self.dropped, 0
        self._frames, self._newest, self._size = [], None, 0
        return frames, dropped

    def _thin(self) -> None:
        newest: dict[object, bytes] = {}
        for subject, frame in self._frames:
            self._replace(newest, subject, frame)
        self._frames, self._newest = [], newest
        self._shrink(newest)

    def _replace(self, newest: dict[object, bytes], subject: str, frame: bytes) -> None:
        older = newest.pop(subject, None) if subject else None
        if older is not None:
            self._size -= len(older)
            self.dropped += 1
        newest[subject or object()] = frame  # a key of its own for what nothing replaces

    def _shrink(self, newest: dict[object, bytes]) -> None:
        while self._size > self._limit:
            oldest = next((subject for subject in newest if isinstance(subject, str)), None)
            if oldest is None:
                return
            self._size -= len(newest.pop(oldest))
            self.dropped += 1
