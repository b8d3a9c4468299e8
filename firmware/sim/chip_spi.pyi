BUS_PARAMETERS: tuple[str, ...]
