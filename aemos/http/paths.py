"""Folds the case of the literal segments of a path, since Klein matches exactly.

Existing clients rely on paths in any case, with or without a final slash (spec/http-api.md section
1.1); parameters such as a uuid or a variable name keep their case.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_Pattern = tuple[str | None, ...]  # None = a parameter


class Paths:
    """Knows the rules of the routes and writes a path the way they do."""

    def __init__(self, rules: Iterable[str]) -> None:
        """@param rules: absolute, lower case, `<name>` for a parameter."""
        self._by_start: dict[tuple[int, tuple[str | None, ...]], list[_Pattern]] = {}
        for rule in rules:
            pattern = tuple(
                None if part.startswith("<") else part for part in rule.strip("/").split("/")
            )
            self._by_start.setdefault((len(pattern), pattern[:_START]), []).append(pattern)
        for patterns in self._by_start.values():
            # Literals win over parameters, as in the router.
            patterns.sort(key=lambda pattern: [part is None for part in pattern])

    def fold(self, segments: Sequence[str]) -> list[str]:
        """@return: the segments as a rule writes them, without empty ones at the end; what no rule
        knows stays as it is."""
        kept = list(segments)
        while kept and not kept[-1]:
            kept.pop()
        lowered = [segment.lower() for segment in kept]
        for pattern in self._by_start.get((len(kept), tuple(lowered[:_START])), ()):
            if all(
                part is None or part == segment
                for part, segment in zip(pattern, lowered, strict=True)
            ):
                return [
                    segment if part is None else part
                    for part, segment in zip(pattern, kept, strict=True)
                ]
        return kept


_START = 3
"""Rules are indexed by their first segments (`api`, `v1`, the group), which are always literal."""
