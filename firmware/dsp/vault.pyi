SIZE: int
HEADER: int
HEAD: int
TAG: int
FINAL: int
CODED: int
MU_LAW: int
BYTES: int

def seal(key: bytes, ident: bytes, index: int, content: bytes, final: bool = False, coding: int = 0) -> bytes: ...
def open_piece(key: bytes, ident: bytes, piece: bytes) -> bytes | None: ...
