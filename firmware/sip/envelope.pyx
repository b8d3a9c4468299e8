# cython: language_level=3, boundscheck=False, wraparound=False
"""Requests and responses as objects, and what is asked of every one of them (L1).

Theory of operation
-------------------
RFC 3261 section 7. A message keeps its headers as received, in order; names compare without case and compact forms (section 7.3.3) are
the same name. Structured values (Via, CSeq, addresses) are parsed on demand and kept, because most of them are never looked at, and the
others again and again. `message.py` says what goes with them.
As in `scan.pyx` the usual case is decided here and every other in Python, which knows the whole rule: `datagram` gives None for what
`parse.py` has to look at, `plain` False for what `validate.py` has to judge (`tests/property/test_sip_scan.py` compares both).
Invariant: a header value never contains CR or LF, so a copied value cannot split a message.
"""

from cpython.unicode cimport PyUnicode_GET_LENGTH, PyUnicode_READ_CHAR

from firmware.sip.headers cimport Headers
from firmware.sip.text cimport same

from firmware.sip.errors import SyntaxProblem
from firmware.sip.scan import find_param, head, render_via, with_params
from firmware.sip.uri import parse_name_addr, parse_uri, split_outside
from firmware.sip.via import Via, parse_cseq, parse_via

DEF NEEDED = 5                 # of the kinds below, those that every message has
cdef object _Problem = SyntaxProblem, _Via = Via
cdef object _parse_via = parse_via, _parse_cseq = parse_cseq, _parse_name_addr = parse_name_addr, _parse_uri = parse_uri
cdef object _split = split_outside, _head = head, _find_param = find_param, _with_params = with_params, _render_via = render_via
# Headers that `plain` looks at: 0 to 4 must come once (Via at least once), 5 to 12 at most once, 13 and 14 are for the rule in Python.
cdef dict _kinds = {
    "via": 0, "from": 1, "to": 2, "call-id": 3, "cseq": 4, "max-forwards": 5, "content-length": 6, "content-type": 7, "expires": 8,
    "min-expires": 9, "date": 10, "contact": 11, "supported": 12, "route": 13, "record-route": 14,
}
cdef str MAGIC = "z9hG4bK"


cdef class Message:
    """What requests and responses share. Accessors parse on demand and raise SyntaxProblem."""

    cdef public Headers headers
    cdef public bytes body
    cdef public tuple problems
    cdef object _via, _from, _to, _cseq
    cdef str _call_id
    cdef tuple _key

    cdef object top(self):
        cdef str line
        if self._via is None:
            line = self.headers._first("via") or ""
            self._via = _parse_via(_split(line, ",")[0] if "," in line else line)
        return self._via

    cdef object sender(self):
        if self._from is None:
            self._from = _parse_name_addr(self.headers._first("from") or "")
        return self._from

    cdef object addressee(self):
        if self._to is None:
            self._to = _parse_name_addr(self.headers._first("to") or "")
        return self._to

    cdef object sequence(self):
        if self._cseq is None:
            self._cseq = _parse_cseq(self.headers._first("cseq") or "")
        return self._cseq

    cdef str identity(self):
        if self._call_id is None:
            self._call_id = (self.headers._first("call-id") or "").strip()
        return self._call_id

    @property
    def via(self):
        """The top Via."""
        return self.top()

    @property
    def from_(self):
        return self.sender()

    @property
    def to(self):
        return self.addressee()

    @property
    def cseq(self):
        return self.sequence()

    @property
    def call_id(self):
        return self.identity()

    @property
    def contact(self):
        """The first Contact, None when absent."""
        cdef list values = self.headers.values("contact")
        return _parse_name_addr(values[0]) if values else None

    @property
    def content_type(self):
        """Media type in lower case without parameters, "" when absent."""
        cdef str value = self.headers._first("content-type")
        return "" if value is None else value.split(";", 1)[0].strip().lower()

    cpdef str start_line(self):
        raise NotImplementedError

    cpdef set_top_via(self, via):
        self._via = via
        self._key = None
        self.headers.replace_first("via", _render_via(via.version, via.transport, via.host, via.port, via.params))

    cpdef bytes render(self):
        """Wire form; Content-Length is written last and from the body."""
        return self.headers.render(self.start_line(), self.body)


cdef class Request(Message):
    """A request; `uri` is the Request-URI as received."""

    cdef public str method
    cdef public str uri
    cdef public str version

    def __init__(
        self, str method not None, str uri not None, Headers headers not None, bytes body=b"", str version="2.0", tuple problems=()
    ):
        self.headers, self.body, self.problems = headers, body, problems
        self.method, self.uri, self.version = method, uri, version

    cpdef str start_line(self):
        return f"{self.method} {self.uri} SIP/{self.version}"


cdef class Response(Message):
    """A response."""

    cdef public int status
    cdef public str reason
    cdef public str version

    def __init__(
        self, int status, str reason not None, Headers headers not None, bytes body=b"", str version="2.0", tuple problems=()
    ):
        self.headers, self.body, self.problems = headers, body, problems
        self.status, self.reason, self.version = status, reason, version

    cpdef str start_line(self):
        return f"SIP/{self.version} {self.status} {self.reason}"


cdef Py_ssize_t _length(str text):
    """A Content-Length, -1 where another must look at it."""
    cdef Py_ssize_t found = 0, at, size = PyUnicode_GET_LENGTH(text)
    cdef unsigned int char
    if not 0 < size <= 9:
        return -1
    for at in range(size):
        char = <unsigned int> PyUnicode_READ_CHAR(text, at)
        if char < 48 or char > 57:
            return -1
        found = 10 * found + (char - 48)
    return found


def datagram(bytes data not None, dict names not None, int most, Py_ssize_t longest):
    """The message of a datagram in the usual writing, None for every other; see `parse.parse_datagram`.

    `names` knows the canonical name of every customary writing; at most `most` header lines, of `longest` bytes together.
    """
    cdef Py_ssize_t size = len(data), end, length = -1
    cdef const unsigned char* s = data
    cdef tuple usual, item
    cdef Headers headers
    cdef Request request
    cdef Response response
    if size < 16 or s[0] == c"\r" or s[0] == c"\n":
        return None
    end = data.find(b"\r\n\r\n")
    if end < 0 or end > longest:
        return None
    usual = _head(data[:end], names, most)
    if usual is None:
        return None
    headers = Headers.__new__(Headers)
    headers.items = usual[1]
    for item in headers.items:
        if same(<str> item[0], "content-length"):
            if length >= 0:
                return None
            length = _length(<str> item[2])
            if length < 0:
                return None
    end += 4
    if length < 0:
        length = size - end
    elif length > size - end:
        return None
    first, second = usual[0]
    if isinstance(first, str):
        request = Request.__new__(Request)
        request.method, request.uri, request.version = first, second, "2.0"
        request.headers, request.body, request.problems = headers, data[end : end + length], ()
        return request
    response = Response.__new__(Response)
    response.status, response.reason, response.version = first, second, "2.0"
    response.headers, response.body, response.problems = headers, data[end : end + length], ()
    return response


cdef bint _word(str text):
    """Printable ASCII without what separates values: most Call-IDs."""
    cdef Py_ssize_t at, size = PyUnicode_GET_LENGTH(text)
    cdef unsigned int char
    for at in range(size):
        char = <unsigned int> PyUnicode_READ_CHAR(text, at)
        if char <= 32 or char >= 127 or char == 44 or char == 59:          # comma, semicolon
            return False
    return size > 0


def plain(Request request not None):
    """True for a request with which nothing is wrong whoever sent it; False where `validate.check_syntax` must say. Raises nothing."""
    cdef int seen[15]
    cdef int kind
    cdef tuple item
    cdef list contacts
    cdef str method = request.method
    if request.version != "2.0" or request.problems or request.uri.startswith("<"):
        return False
    for kind in range(15):
        seen[kind] = 0
    for item in request.headers.items:
        found = _kinds.get(item[0])
        if found is None:
            continue
        kind = found
        seen[kind] += 1
        if kind >= 13 or (seen[kind] > 1 and kind != 0) or (kind == 5 and not same(<str> item[2], "70")) or (kind == 12 and '"' in <str> item[2]):
            return False
    for kind in range(NEEDED):
        if not seen[kind]:
            return False
    try:
        if request.top().version != "2.0" or request.sequence().method != method or not _word(request.identity()):
            return False
        request.sender()
        to = request.addressee().uri.scheme
        if method == "REGISTER" and to != "sip" and to != "sips":
            return False
        uri = _parse_uri(request.uri)
        if (uri.scheme != "sip" and uri.scheme != "sips") or uri.headers:
            return False
        if seen[11]:
            contacts = request.headers.values("contact")
            if len(contacts) != 1:
                return False
            _parse_name_addr(contacts[0])
    except _Problem:
        return False
    return True


def usable(Response response not None):
    """True for an answer that can be given to a transaction; False where `validate.usable_response` must say. Raises nothing."""
    cdef tuple item
    cdef int vias = 0
    if response.version != "2.0" or response.status < 100 or response.status > 699 or response.problems:
        return False
    for item in response.headers.items:
        if same(<str> item[0], "via"):
            vias += 1
            if vias > 1 or "," in <str> item[2]:
                return False
    if not vias:
        return False
    try:
        if not _find_param(response.top().params, "branch"):
            return False
        response.sequence()
        return bool(response.sender().uri.scheme) and bool(response.addressee().uri.scheme)
    except _Problem:
        return False


def server_key(Request request not None):
    """Key that all retransmissions of a request share; an ACK has the key of its INVITE."""
    cdef str method, branch
    if request._key is not None:
        return request._key
    method = "INVITE" if request.method == "ACK" else request.method
    via, cseq = request.top(), request.sequence()
    branch = _find_param(via.params, "branch") or ""
    if branch.startswith(MAGIC) and len(branch) > len(MAGIC):
        request._key = (branch, request.identity(), str(cseq.number), method)
        return request._key
    # RFC 2543 matching (section 17.2.3)
    return ("", request.uri, request.sender().tag, request.identity(), str(cseq.number), method, f"{via.host}:{via.port}{branch}")


def stamp(Request request not None, str host not None, port):
    """Write `received` and `rport` into the top Via where its sender asks for that (RFC 3581); whether it does. Raises SyntaxProblem."""
    via = request.top()
    cdef tuple before = via.params, pair
    cdef list params
    cdef str number
    cdef int rport = 0, received = 0
    for pair in before:
        if same(<str> pair[0], "rport"):
            rport += 1
        elif same(<str> pair[0], "received"):
            received += 1
    number = str(port)
    if rport == 1 and not received:          # nearly always
        params = [("rport", number) if same(<str> pair[0], "rport") else pair for pair in before]
        params.append(("received", host))
        before = tuple(params)
    elif _find_param(before, "rport") is None:
        return False
    else:
        before = _with_params(before, {"rport": number, "received": host})
    request.set_top_via(_Via(via.transport, via.host, via.port, before, via.version))
    return True
