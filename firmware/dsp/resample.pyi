from typing_extensions import Buffer

class Resampler:
    source: int
    target: int
    def __init__(self, source: int, target: int) -> None: ...
    def process(self, samples: Buffer) -> bytes: ...
