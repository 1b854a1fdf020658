"""Makes the rooms of the server from its settings; `tap` and `server` run them."""

from __future__ import annotations

from typing import Any

from aemos.config.schema import Settings
from aemos.figures import charts, count
from aemos.http.adapter import Intake
from aemos.http.auth import Authenticator
from aemos.http.bulk import BulkIntake
from aemos.http.endpoint import Api
from aemos.http.limits import ClientAddresses
from aemos.http.pages import pages
from aemos.http.routes.alarm_definitions import AlarmDefinitionRoutes
from aemos.http.routes.alarms import AlarmRoutes
from aemos.http.routes.api_keys import ApiKeyRoutes
from aemos.http.routes.areas import AreaRoutes
from aemos.http.routes.audit_log import AuditLogRoutes
from aemos.http.routes.auth import AuthRoutes
from aemos.http.routes.broadcasts import BroadcastRoutes
from aemos.http.routes.commands import CommandRoutes
from aemos.http.routes.datastreams import DataStreamRoutes
from aemos.http.routes.device_state_instances import DeviceStateInstanceRoutes
from aemos.http.routes.device_states import DeviceStateRoutes
from aemos.http.routes.device_tokens import DeviceTokenRoutes
from aemos.http.routes.devices import DeviceRoutes
from aemos.http.routes.documentation import DocumentationRoutes
from aemos.http.routes.events import EventRoutes
from aemos.http.routes.health import HealthRoutes, TestRoutes
from aemos.http.routes.insomnia import InsomniaRoutes
from aemos.http.routes.metrics import MetricsRoutes
from aemos.http.routes.mqtt import MqttRoutes
from aemos.http.routes.notification_channels import DeliveryRoutes, NotificationChannelRoutes
from aemos.http.routes.notifications import NotificationRoutes, TicketRoutes
from aemos.http.routes.organizations import OrganizationRoutes
from aemos.http.routes.permissions import PermissionRoutes
from aemos.http.routes.presence import PresenceRoutes
from aemos.http.routes.queries import HistoryRoutes, LatestRoutes
from aemos.http.routes.reports import ReportRoutes
from aemos.http.routes.retention import RetentionRoutes
from aemos.http.routes.roles import RoleRoutes
from aemos.http.routes.rule_chains import RuleChainRoutes
from aemos.http.routes.rule_trials import RuleTrialRoutes
from aemos.http.routes.sensors import SensorRoutes
from aemos.http.routes.system import SeriesRoutes, SystemRoutes
from aemos.http.routes.telemetry import TelemetryRoutes
from aemos.http.routes.user_roles import UserRoleRoutes
from aemos.http.routing import Group
from aemos.http.site import build_site
from aemos.mail.smtp import SmtpMailer
from aemos.messages.router import Router
from aemos.model import ANONYMOUS, Kind
from aemos.mqtt.administration import Administration
from aemos.mqtt.announcements import Announcements
from aemos.mqtt.broker import Broker
from aemos.mqtt.sys_topics import SysTopics
from aemos.observability.health import Health
from aemos.observability.logs import Observer
from aemos.observability.metrics import Metrics
from aemos.realtime.feed import Feed
from aemos.realtime.hub import Hub
from aemos.realtime.session import Sessions
from aemos.realtime.socketio_door import SocketIoDoor
from aemos.realtime.sse import EventStreams
from aemos.realtime.websocket import ChannelFactory, ChannelResource
from aemos.services.alarms.machinery import AlarmMachinery
from aemos.services.api_keys import ApiKeys
from aemos.services.areas import Areas
from aemos.services.audit import AuditLog
from aemos.services.auth import Authentication
from aemos.services.authorization import Authorization
from aemos.services.broadcasts import Broadcasts
from aemos.services.catalogue import Catalogue
from aemos.services.command_messages import CommandMessages
from aemos.services.commands import Commands
from aemos.services.device_login import DeviceLogin
from aemos.services.device_states import DeviceStates
from aemos.services.devices import Devices
from aemos.services.events import Events
from aemos.services.fail_safe import FailSafe
from aemos.services.history import History
from aemos.services.key_login import KeyLogin
from aemos.services.ledger import Ledger
from aemos.services.login import Login
from aemos.services.memberships import Memberships
from aemos.services.mqtt_clients import MqttClients
from aemos.services.notifications import Notifications, Tickets
from aemos.services.organizations import Organizations
from aemos.services.outbox import Outbox
from aemos.services.passed_on import PassedOn
from aemos.services.passwords import Passwords
from aemos.services.presence import Presences
from aemos.services.queries import Queries
from aemos.services.recovery import Recovery
from aemos.services.refusals import Refusals
from aemos.services.reports import Reports
from aemos.services.retention import Policies
from aemos.services.roles import Roles
from aemos.services.rules.machinery import RuleMachinery
from aemos.services.sensors import Sensors
from aemos.services.sign_in_limits import SignInLimits
from aemos.services.state_reports import StateReportIngest
from aemos.services.status import StatusIngest
from aemos.services.telemetry import ReadingIngest
from aemos.services.token_use import TokenUse
from aemos.services.tokens import DeviceTokens
from aemos.services.upkeep import Upkeep
from aemos.services.user_login import UserLogin
from aemos.services.variables import Variables
from aemos.services.web_tokens import WebTokens, signing_key
from aemos.storage.database import Database
from aemos.webhooks import WebhookSender


class Services:
    """What aemos does, over one database; knows no door."""

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        events: Events,
        database: Database,
        passwords: Passwords,
    ) -> None:
        """@param database: started; @param passwords: started."""
        self.settings, self.reactor, self.events = settings, reactor, events
        self.database, self.passwords = database, passwords
        writer = database.writer
        self.catalogue = Catalogue(database, events, settings.ingest, reactor)
        self.presences = Presences(database, events, self.catalogue, settings.presence, reactor)
        self.token_use = TokenUse(database, reactor, settings.ingest.catalogue_size)
        self.ledger = Ledger(writer, events, settings.ingest)
        self.authentication = Authentication(
            database,
            events,
            passwords,
            WebTokens(signing_key(settings), settings.auth, reactor),
            reactor,
            settings.ingest.catalogue_refresh,
            SignInLimits(settings.auth, reactor),
        )
        self.login = Login(
            DeviceLogin(self.catalogue, reactor, self.token_use.used),
            UserLogin(self.authentication, reactor),
            settings.mqtt,
        )
        self.authorization = Authorization(
            self.catalogue, database, reactor, settings.mqtt.acl, settings.realtime.anonymous
        )
        self.authenticator = Authenticator(
            self.authentication,
            self.catalogue,
            reactor,
            self.token_use.used,
            KeyLogin(
                database, events, reactor, settings.ingest.catalogue_refresh, self.token_use.note
            ),
        )
        mailer = SmtpMailer(settings.mail, reactor) if settings.mail.host else None
        self.outbox = Outbox(database, mailer, reactor)
        self.recovery = Recovery(database, events, passwords, self.outbox, settings.mail.link)
        self.upkeep = Upkeep(database, self.catalogue, settings, reactor)
        self.commands = Commands(database, events, settings.commands, reactor)
        orders = CommandMessages(self.catalogue, writer, self.ledger, self.commands)
        passed_on = PassedOn(self.ledger)
        status = StatusIngest(self.catalogue, writer, events, self.ledger)
        self.rules = RuleMachinery(database, events, reactor, settings.rules)
        changes = self.rules.changes
        self.fail_safe = FailSafe(database, events, self.commands, changes, reactor)
        self.alarms = AlarmMachinery(
            database,
            events,
            self.outbox,
            WebhookSender(settings.alarms, reactor),
            reactor,
            settings.alarms,
        )
        states = StateReportIngest(
            self.catalogue, writer, events, self.ledger, changes, self.commands
        )
        readings = ReadingIngest(
            self.catalogue,
            writer,
            events,
            self.ledger,
            settings.ingest,
            self.rules.engine.watch,
        )
        self.router = Router(
            {
                Kind.DATASTREAM: readings.handle,
                Kind.STATUS: status.handle,
                Kind.STATE: states.handle,
                Kind.COMMAND: orders.command,
                Kind.COMMAND_ACK: orders.acknowledged,
                Kind.BROADCAST: passed_on.broadcast,
                Kind.RULE_CHAINS: passed_on.rule_chains,
            },
            self.ledger,
            {Kind.DATASTREAM: readings.handle_burst},
        )


class Doors:
    """How the world gets in: MQTT, HTTP, and the realtime channel on the HTTP port."""

    def __init__(self, services: Services, observer: Observer) -> None:
        """@param observer: of the log, whose level administrators may change."""
        settings, reactor, events = services.settings, services.reactor, services.events
        self._observer = observer
        self.broker = Broker(
            router=services.router,
            login=services.login,
            authorization=services.authorization,
            events=events,
            settings=settings.mqtt,
            reactor=reactor,
            writer=services.database.writer,
            database=services.database,
        )
        services.commands.publisher = self.broker
        Announcements(self.broker, settings.mqtt).listen(events)
        self.sys_topics = SysTopics(self.broker, events, reactor)
        self.clients = MqttClients(
            services.database,
            events,
            reactor,
            Administration(self.broker),
            settings.mqtt.client_records,
        )
        self.hub = Hub(reactor, settings.realtime)
        self.feed = Feed(self.hub, events, reactor)
        self.sessions = Sessions(
            self.hub,
            services.authentication,
            services.authorization,
            events,
            settings.realtime,
            reactor,
        )
        self.channel = ChannelFactory(self.sessions, reactor)
        self.socket_io = SocketIoDoor(
            events,
            services.authentication,
            services.authorization,
            settings.realtime,
            reactor,
            ClientAddresses(settings.http.trusted_proxies).of,
        )
        self.streams = EventStreams(self.sessions)
        self.ports: dict[str, int] = {}  # of the listeners, when they are open
        self.health = Health(reactor)
        self.health.add("database", services.database.ping)
        self.metrics = Metrics()
        count(self.metrics, services, self)
        self.series = charts(services, self)
        self.api = Api(self._routes(services), services.authenticator)
        self.site = build_site(
            self.api,
            settings.http,
            reactor,
            children={
                "/ws/v1": ChannelResource(self.channel),
                **self.socket_io.children(),
                **pages(self.ports),
            },
            observe=self.metrics.http_answered,
        )

    def _routes(self, services: Services) -> list[Group]:
        database, events, clock = services.database, services.events, services.reactor
        history, queries = History(database, events), Queries(database)
        intake = Intake(
            services.router,
            services.ledger,
            database.writer,
            clock,
            services.settings.http.store_timeout,
        )
        tokens = DeviceTokens(database, events, clock)
        changes, rules = services.rules.changes, services.rules
        roles, memberships = Roles(database, events), Memberships(database, events)
        groups: list[Group] = [
            HealthRoutes(
                self.health,
                clock,
                congested=lambda: database.writer.full,
                figures={
                    "mqtt": self._mqtt_figures,
                    "realtime": self._realtime_figures,
                    "socketio": self.socket_io.figures,
                    "ruleEngineQueue": services.rules.queue.overview,
                },
            ),
            TestRoutes(),
            MetricsRoutes(self.metrics.render, services.rules.queue),
            AuthRoutes(services.authentication, services.recovery),
            OrganizationRoutes(Organizations(database)),
            RoleRoutes(roles),
            PermissionRoutes(roles, memberships),
            UserRoleRoutes(memberships),
            AreaRoutes(Areas(database, events)),
            SensorRoutes(Sensors(database, events, show=services.presences.show)),
            TelemetryRoutes(Variables(database, events)),
            DeviceTokenRoutes(tokens, services.authenticator),
            DeviceRoutes(Devices(database, events, show=services.presences.show), changes, tokens),
            DeviceStateRoutes(DeviceStates(database, events)),
            ApiKeyRoutes(ApiKeys(database, events, clock)),
            AuditLogRoutes(AuditLog(database)),
            DeviceStateInstanceRoutes(changes),
            CommandRoutes(services.commands),
            BroadcastRoutes(
                Broadcasts(
                    database, events, self.broker, clock, services.settings.http.store_timeout
                )
            ),
            RuleChainRoutes(rules.chains, rules.runs),
            RuleTrialRoutes(rules.journal, rules.replays),
            AlarmDefinitionRoutes(services.alarms.definitions),
            AlarmRoutes(services.alarms.alarms),
            NotificationChannelRoutes(services.alarms.channels),
            DeliveryRoutes(services.alarms.channels),
            NotificationRoutes(Notifications(database)),
            TicketRoutes(Tickets(database)),
            DataStreamRoutes(intake, history),
            HistoryRoutes(queries, BulkIntake(services.router, history, database.writer, clock)),
            LatestRoutes(queries),
            MqttRoutes(self.clients),
            PresenceRoutes(services.presences),
            EventRoutes(self.streams),
            RetentionRoutes(Policies(database)),
            ReportRoutes(Reports(database)),
            SystemRoutes(
                services.settings,
                self._observer,
                Refusals(database, services.ledger.refused),
            ),
            SeriesRoutes(self.series),
        ]
        groups += [InsomniaRoutes(groups, clock), DocumentationRoutes(groups)]
        return groups

    def _mqtt_figures(self) -> dict[str, Any]:
        """The original's `getStats()` (spec/mqtt.md section 7)."""
        clients = self.broker.clients()
        return {
            "isInitialized": self.broker.draining is None,
            "connectedClients": len(clients),
            "authenticatedClients": sum(client.principal != ANONYMOUS.key for client in clients),
        }

    def _realtime_figures(self) -> dict[str, Any]:
        return {"connections": len(self.sessions), "rooms": self.hub.rooms}
