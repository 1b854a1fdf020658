"""Reads cron expressions with 5 fields, or 6 with the seconds in front, in a time zone."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from aemos.errors import BadRequest
from aemos.model import Instant


def times(expression: str, zone: str, after: Instant) -> CronSim:
    """@param zone: an IANA name. @return: gives the times after that, as aware datetimes.

    @raise BadRequest: the text names the field that is wrong.
    """
    try:
        start = after.datetime().astimezone(ZoneInfo(zone))
    except (ValueError, OSError, LookupError):
        raise BadRequest('"timezone" must be an IANA name such as Europe/Berlin') from None
    try:
        return CronSim(expression, start)
    except CronSimError as error:
        raise BadRequest(
            '"cronExpression" must have 5 fields, or 6 with the seconds in front:'
            f" {str(error).lower()}"
        ) from None


def instant(moment: datetime) -> Instant:
    """@return: a time that `times` gave; it is of whole seconds."""
    return Instant.of(round(moment.timestamp()))
