"""Why the packets of a connection are not looked at for now: bits of `Connection.held`.

While any is set nothing is read from the socket, and the keep-alive clock stands still.
"""

CONNECTING = 1  # who the client is has not been decided yet
AUTHORIZING = 2  # what it may do is being looked up
UNACKNOWLEDGED = 4  # too many of its messages wait for their commit
WRITER_FULL = 8  # too many rows of all clients wait for their commit
STOPPING = 16  # the server takes nothing new
UNSENT = 32  # it does not take what the server sends
CLOSED = 64  # for good
TOO_FAST = 128  # it has sent more than it may for now
