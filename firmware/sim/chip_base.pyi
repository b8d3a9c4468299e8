ILLEGAL: tuple[str, ...]
HISTORY: tuple[str, ...]
