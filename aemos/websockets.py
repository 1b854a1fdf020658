"""What all WebSockets need of Autobahn that it does at too high a cost by itself."""

from __future__ import annotations

from typing import Any


def with_options(protocol: type[Any], factory: Any) -> type[Any]:
    """Give a class of connections the options of its factory.

    Autobahn would copy them into each connection and print them all for a line of its debug log,
    whether there is one or not: half of what a connection costs.

    @param protocol: a subclass of Autobahn's `WebSocketServerProtocol`.
    @param factory: a `WebSocketServerFactory` whose options are set.
    """
    members: dict[str, Any] = {"CONFIG_ATTRS": ()}  # nothing is left to be copied
    for name in protocol.CONFIG_ATTRS:
        option = getattr(factory, name)
        # A function among them is called as it is, not as a method.
        members[name] = staticmethod(option) if callable(option) else option
    return type(protocol.__name__, (protocol,), members)
