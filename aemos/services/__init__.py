"""What aemos does, whatever door asked: no sockets, no wire formats, no SQL text."""
