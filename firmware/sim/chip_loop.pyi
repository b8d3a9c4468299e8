TRUNK_PARAMETERS: tuple[str, ...]
PHONE_PARAMETERS: tuple[str, ...]
