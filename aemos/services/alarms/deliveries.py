"""Sends what channels have to tell, some at a time, again and again until it has arrived."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from aemos.config.alarms import Alarms as Settings
from aemos.errors import AemosError, StorageUnavailable
from aemos.model import Instant
from aemos.services import leases
from aemos.services.alarms.shown import shown
from aemos.services.alarms.targets import body_of
from aemos.services.events import AlarmChanged, Events, NotificationSent
from aemos.services.outbox import Outbox
from aemos.storage import alarms, deliveries, notification_channels
from aemos.storage.database import Database
from aemos.storage.transaction import Row, Transaction

_PERIOD = 5.0  # seconds between looks for what is due
_AT_ONCE = 8  # a receiver that does not answer must not hold up the others
_LEASE = 120_000  # milliseconds that one attempt may take before another server may try
_FIRST_PAUSE = 10.0  # seconds after the first attempt; twice as long after each other one
_LONGEST_PAUSE = 3600.0
_JITTER = 0.25  # so that all that failed together do not come together again
_DAY = 86_400_000  # milliseconds


class DeliveryRefused(AemosError):
    """The receiver will never take it, or there is none: trying again would not help."""

    code = "delivery_refused"


class Webhooks(Protocol):
    """Sends requests to addresses that users have entered; bound in `aemos.assembly`."""

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], secret: str | None
    ) -> str:
        """@return: what the receiver answered, in a few words.

        @raise DeliveryRefused: it never will take it. @raise Exception: not now.
        """


@attrs.frozen
class _Claimed:
    """A delivery, its channel (None = gone), and what there is to tell of the alarm."""

    delivery: Row
    channel: Row | None
    told: AlarmChanged | None


class Deliveries:
    """Looks every few seconds, and whenever an alarm changes, for what is due."""

    _log = Logger()

    def __init__(
        self,
        database: Database,
        events: Events,
        outbox: Outbox,
        webhooks: Webhooks,
        clock: IReactorTime,
        settings: Settings,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._outbox, self._webhooks = outbox, webhooks
        self._settings, self._chance = settings, chance
        self._rounds: LoopingCall | None = None
        self._claiming: Deferred[None] | None = None
        self._again = False
        self._sending: set[Deferred[None]] = set()
        self._stopped = True
        self._send: dict[str, Callable[[Row, Row], Awaitable[str]]] = {
            "email": self._mail,
            "webhook": self._webhook,
            "mqtt": self._event,
            "realtime": self._event,
        }
        events.subscribe(AlarmChanged, lambda event: self.soon())

    def start(self) -> None:
        """Begin, also with what an earlier process has left."""
        self._stopped = False
        self._rounds = LoopingCall(self.soon)
        self._rounds.clock = self._clock
        self._rounds.start(_PERIOD).addErrback(
            lambda failure: self._log.failure("the rounds of deliveries ended", failure)
        )

    async def stop(self) -> None:
        """Begin nothing more, and wait for what is on its way."""
        self._stopped = True
        if self._rounds is not None:
            self._rounds.stop()
            self._rounds = None
        await self.settle()

    async def settle(self) -> None:
        """Wait until nothing is on its way."""
        while self._claiming is not None or self._sending:
            waiting = [*self._sending] + ([self._claiming] if self._claiming else [])
            await gatherResults([_following(one) for one in waiting], consumeErrors=True)

    def soon(self) -> None:
        """Send what is due now, without waiting for the next round."""
        if self._stopped:
            return
        if self._claiming is not None:
            self._again = True
            return
        self._claiming = claiming = ensureDeferred(self._claim_all())
        if claiming.called:
            self._claiming = None

    async def _claim_all(self) -> None:
        try:
            while not self._stopped and len(self._sending) < _AT_ONCE:
                self._again = False
                claimed = await self._database.transact(_claim)
                if claimed is not None:
                    self._begin(claimed)
                elif not self._again:
                    break
        except StorageUnavailable as error:
            self._log.debug("deliveries are put off: {error}", error=error)
        except Exception:
            self._log.failure("claiming deliveries failed")
        finally:
            self._claiming = None

    def _begin(self, claimed: _Claimed) -> None:
        if claimed.told is not None:
            self._events.publish(claimed.told)
        sending = ensureDeferred(self._deliver(claimed))
        if not sending.called:
            self._sending.add(sending)
        sending.addErrback(lambda failure: self._log.failure("a delivery failed", failure))
        sending.addCallback(lambda _: self._ended(sending))

    def _ended(self, sending: Deferred[None]) -> None:
        self._sending.discard(sending)
        self.soon()

    async def _deliver(self, claimed: _Claimed) -> None:
        delivery, channel = claimed.delivery, claimed.channel
        number, attempts = delivery["id"], delivery["attempts"]
        try:
            if channel is None or not channel["enabled"]:
                raise DeliveryRefused("the channel is switched off")
            answer = await self._send[channel["kind"]](channel, delivery)
        except DeliveryRefused as error:
            await self._note(deliveries.failed, number, str(error))
        except StorageUnavailable as error:
            self._log.debug("delivery {number} comes again: {error}", number=number, error=error)
        except Exception as error:
            detail = f"attempt {attempts}: {error or type(error).__name__}"
            if attempts >= self._settings.delivery_attempts:
                self._log.warn("delivery {number} is given up: {why}", number=number, why=detail)
                await self._note(deliveries.failed, number, detail)
            else:
                await self._note(deliveries.postpone, number, self._pause(attempts), detail)
        else:
            await self._note(deliveries.sent, number, answer)

    async def _note(self, outcome: Callable[..., None], number: int, *what: object) -> None:
        """Write down what became of a delivery, if the database can be had."""
        try:
            await leases.note(
                self._database, self._clock, _LEASE, lambda: self._stopped, outcome, number, *what
            )
        except StorageUnavailable as error:
            self._log.warn(
                "delivery {number} comes again, its outcome is not written down: {error}",
                number=number,
                error=error,
            )

    def _pause(self, attempts: int) -> int:
        """@return: milliseconds until the next attempt."""
        seconds = min(_FIRST_PAUSE * 2.0 ** (attempts - 1), _LONGEST_PAUSE)
        return int(1000 * seconds * (1 + _JITTER * (2 * self._chance() - 1)))

    async def _mail(self, channel: Row, delivery: Row) -> str:
        if not self._outbox.enabled:
            raise DeliveryRefused("there is no mail server (mail.host)")
        content, recipients = delivery["content"], channel["config"]["recipients"]
        expires_at = Instant(Instant.of(self._clock.seconds()) + _DAY)

        answer = f"handed to the outbox for {len(recipients)} recipients"

        def write(tx: Transaction) -> None:
            for recipient in recipients:
                body = f"{content['text']}\n\n{content['timestamp']}\n"
                self._outbox.put(tx, recipient, content["subject"], body, expires_at)
            # Together with the letters: after a crash in between they would be written again.
            deliveries.sent(tx, delivery["id"], answer)

        await self._database.transact(write)
        self._outbox.soon()
        return answer

    async def _webhook(self, channel: Row, delivery: Row) -> str:
        config, secrets = channel["config"], channel["secrets"] or {}
        headers = {
            **(secrets.get("headers") or {}),
            "Content-Type": config["contentType"],
            "X-Aemos-Delivery": str(delivery["id"]),
        }
        body = body_of(config, delivery["content"])
        return await self._webhooks.post(config["url"], body, headers, secrets.get("secret"))

    async def _event(self, channel: Row, delivery: Row) -> str:
        self._events.publish(
            NotificationSent(channel["kind"], channel["organization_id"], delivery["content"])
        )
        return "told to who listens"


def _claim(tx: Transaction) -> _Claimed | None:
    delivery = deliveries.claim(tx, _LEASE)
    if delivery is None:
        return None
    channel = notification_channels.find(tx, delivery["channel_id"])
    told = None
    if delivery["purpose"] == "escalated" and delivery["attempts"] == 1 and channel is not None:
        comment = f"told to {channel['name']}"
        alarms.note(tx, delivery["alarm_id"], "escalated", tx.now, comment)
        alarm = alarms.find(tx, delivery["alarm_id"])
        if alarm is not None:
            owner, uuid = alarm["organization_id"], alarm["uuid"]
            told = AlarmChanged("escalated", owner, uuid, tx.now, comment, shown("alarm", alarm))
    return _Claimed(delivery, channel, told)


def _following(one: Deferred[None]) -> Deferred[None]:
    """@return: fires when the other one does, whose result stays what it is."""
    done: Deferred[None] = Deferred()

    def fired(result: Any) -> Any:
        done.callback(None)
        return result

    one.addBoth(fired)
    return done
