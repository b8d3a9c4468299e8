"""Any bytes over a WebSocket: none raises, and nothing is left of them."""

from __future__ import annotations

import asyncio
import socket
import ssl

from hypothesis import given
from hypothesis import strategies as st

from firmware.net import sip_ws
from firmware.net.sip_ws import SipWss
from tests.unit.test_net_sip_tls import LOCAL
from tests.unit.test_net_sip_ws import PAGE, frame, upgrade
from tools.fuzz_targets import Deaf, Wire

PIECES = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda opcode, data, fin, masked, rsv: frame(opcode, data, fin=fin, masked=masked, rsv=rsv),
        st.integers(0, 15), st.binary(max_size=300), st.booleans(), st.booleans(), st.sampled_from([0, 0, 0, 4]),
    ),
)  # fmt: skip


@given(
    request_=st.sampled_from([upgrade(), upgrade(origin="https://evil.example"), upgrade(protocol=None)]),
    spoilt=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 255)), max_size=3),
    pieces=st.lists(PIECES, max_size=8),
    size=st.integers(1, 500),
)
def test_no_bytes_raise_and_nothing_is_left_of_them(
    request_: bytes, spoilt: list[tuple[int, int]], pieces: list[bytes], size: int
) -> None:
    async def work() -> None:
        owner = Deaf()
        with socket.create_server((LOCAL, 0)) as listener:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            shell = SipWss(listener, owner, asyncio.get_running_loop(), context, context, admit=lambda origin: origin == PAGE)
            head = bytearray(request_)
            for place, value in spoilt:
                head[place] = value
            connection = shell.accepted()
            connection.connection_made(Wire())
            data = b"".join(pieces)
            for part in (bytes(head), *(data[place : place + size] for place in range(0, len(data), size))):
                connection.data_received(part)
            connection.connection_lost(None)
            figures = shell.statistics()
            assert (figures["connections"], figures["upgrades"]) == (0, 0)
            assert owner.made == owner.lost and owner.longest <= sip_ws.MAX_MESSAGE

    asyncio.run(work())
