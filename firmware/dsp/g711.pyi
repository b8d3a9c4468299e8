from typing import Literal

from typing_extensions import Buffer

Law = Literal["ulaw", "alaw", 0, 8]

def encode(law: Law, samples: Buffer) -> bytes: ...
def decode(law: Law, data: Buffer) -> bytes: ...
