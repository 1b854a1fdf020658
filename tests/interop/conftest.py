"""The running server of the integration tests, for clients that are programs of others."""

from tests.integration.conftest import server

__all__ = ["server"]
