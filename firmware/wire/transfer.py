"""Both halves of a file transfer over a link, without files (L0).

Theory of operation
-------------------
The sender asks its owner for pieces (event "want") as long as little waits in the link and not more than `AHEAD` pieces go beyond what the
receiver's owner has written (flow control: a slow disk slows the line, nothing piles up). The receiver takes pieces at exactly the place
it waits for; another place is a fault of the peer. Resume is agreed before: the receiver tells how much it has and its SHA-256, the
sender's owner compares and begins there, or at 0.
"""

AHEAD = 16
PIECE_MOST = 16384
PIECE_HEAD = 9


class Sender:
    """The end that has the file."""

    def __init__(self, size: int, offset: int) -> None:
        self.size = size
        self.next = offset
        self.written = offset
        self.wanted = 0
        self.finished = False

    def want(self, frame_payload: int, queued: int, message_most: int) -> tuple[int, int] | None:
        """(offset, count) of the piece to ask for now, or None."""
        if self.wanted or self.next >= self.size:
            return None
        piece = min(PIECE_MOST, message_most - PIECE_HEAD, max(1, frame_payload * 8 - PIECE_HEAD))
        if queued > piece or self.next - self.written >= AHEAD * piece:
            return None
        self.wanted = min(piece, self.size - self.next)
        return self.next, self.wanted

    def take(self, offset: int, count: int) -> bool:
        """The owner gave a piece; False when it is not the one that was asked for."""
        if not self.wanted or offset != self.next or count != self.wanted:
            return False
        self.next += count
        self.wanted = 0
        return True

    def progress(self, offset: int) -> bool:
        """The peer has written so much; False when that cannot be."""
        if not self.written <= offset <= self.next:
            return False
        self.written = offset
        return True


class Receiver:
    """The end that gets the file."""

    def __init__(self, size: int, offset: int) -> None:
        self.size = size
        self.next = offset

    def take(self, offset: int, count: int) -> bool:
        """A piece came; False when it is not the next one or goes beyond the end."""
        if offset != self.next or not count or offset + count > self.size:
            return False
        self.next += count
        return True
