"""Which files of TLS the doors use, and whether they can be used."""

from __future__ import annotations

from aemos.config.schema import Settings
from aemos.errors import ConfigurationError, StartError
from aemos.tls import TlsContext, TlsFiles


def tls_files(settings: Settings) -> dict[str, TlsFiles]:
    """@return: the files of the doors `http` and `mqtt`, as far as they are configured."""
    http, tls = settings.http, settings.mqtt.tls
    asked = tls.client_certificates != "off"
    return {
        "http": TlsFiles(http.tls_cert, http.tls_key),
        "mqtt": TlsFiles(
            tls.cert,
            tls.key,
            tls.ca if asked else "",
            tls.crl,
            required=tls.client_certificates == "required",
        ),
    }


def check_tls_files(settings: Settings) -> None:
    """Read the files of the doors that are open for TLS.

    @raise ConfigurationError: a line for each door whose files cannot be used.
    """
    http, mqtt = settings.http, settings.mqtt
    tls = mqtt.tls
    ports = {
        "http": http.enabled and (http.tls_port or http.tls_endpoint),
        "mqtt": mqtt.enabled
        and (tls.port or tls.endpoint or tls.websocket_port or tls.websocket_endpoint),
    }
    problems = []
    for door, files in tls_files(settings).items():
        try:
            if ports[door]:
                TlsContext(files)
        except StartError as error:
            problems.append(f"{door}: {error}")
    if problems:
        raise ConfigurationError("\n".join(problems))
