"""MQTT 3.1 and 3.1.1: codec, sessions, broker and listeners."""
