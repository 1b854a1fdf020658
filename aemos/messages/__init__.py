"""From a door's message to the service that judges it."""
