"""aemos: an IoT backend in which an acknowledged message is a stored message."""

__version__ = "0.1.0"
