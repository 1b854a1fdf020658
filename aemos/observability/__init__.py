"""Metrics, logs and health of the running server."""
