# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The usual writing of SIP, read in one pass over its characters (L1).

Theory of operation
-------------------
Nearly everything that telephones and carriers send is written in the plainest way that the grammar allows. Each function here reads
that way and gives None for every other: a folded header, an escaped quote, a fault. Then the reader in Python
decides (`parse.py`, `uri.py`, `message.py`, `auth.py`), which knows the whole grammar and says what is wrong. So a function here may
give up whenever it likes, but what it gives must be what that reader would have given: `tests/property/test_sip_scan.py`.
What is asked for most often, a parameter by its name and the way back to text, is here as well.
Invariants: nothing is kept; no function looks beyond the text it was given, nor at a character twice.
"""

from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcmp

from firmware.sip.text cimport same

cdef extern from "Python.h":
    int PyUnicode_IS_COMPACT_ASCII(object text)
    unsigned char* PyUnicode_1BYTE_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

DEF TOKEN = 1          # of a token (RFC 3261 section 25.1)
DEF VALUE = 2          # of a parameter's value without quotes
DEF HOST = 4           # of a host's name or IPv4 address
DEF SPACE = 8          # what separates words in Python's eyes
DEF UPPER = 16
DEF DIGIT = 32

cdef unsigned char KIND[256]


cdef void _fill() noexcept:
    cdef int char
    for char in range(256):
        KIND[char] = 0
        if char < 128:
            KIND[char] = VALUE
    for char in range(128):
        if 48 <= char <= 57:
            KIND[char] |= TOKEN | HOST | DIGIT
        elif 65 <= char <= 90:
            KIND[char] |= TOKEN | HOST | UPPER
        elif 97 <= char <= 122:
            KIND[char] |= TOKEN | HOST
    for char in b"-.!%*_+`'~":
        KIND[char] |= TOKEN
    for char in b"-._":
        KIND[char] |= HOST
    for char in b"\",;<>":
        KIND[char] &= ~VALUE
    for char in b" \t\n\v\f\r\x1c\x1d\x1e\x1f":
        KIND[char] = SPACE


_fill()


cdef inline bint _ascii(str text) noexcept:
    return PyUnicode_IS_COMPACT_ASCII(text)


cdef inline str _cut(const unsigned char* s, Py_ssize_t begin, Py_ssize_t end):
    return PyUnicode_DecodeASCII(<const char*> s + begin, end - begin, NULL)


cdef inline str _text(const unsigned char* s, Py_ssize_t begin, Py_ssize_t end):
    """Characters of any kind; bytes that are no UTF-8 are kept as surrogates."""
    cdef Py_ssize_t at
    for at in range(begin, end):
        if s[at] > 127:
            return PyUnicode_DecodeUTF8(<const char*> s + begin, end - begin, b"surrogateescape")
    return _cut(s, begin, end)


cdef tuple _params(const unsigned char* s, Py_ssize_t at, Py_ssize_t end):
    """Parameters from `at` to `end`, as pairs of name in lower case and value."""
    cdef list found = []
    cdef Py_ssize_t begin
    cdef bint upper
    cdef str key
    while at < end:
        if s[at] != c";":
            return None
        at += 1
        begin, upper = at, False
        while at < end and KIND[s[at]] & TOKEN:
            upper |= KIND[s[at]] & UPPER
            at += 1
        if at == begin:
            return None
        key = _cut(s, begin, at)
        if upper:
            key = key.lower()
        if at < end and s[at] == c"=":
            at += 1
            begin = at
            while at < end and KIND[s[at]] & VALUE:
                at += 1
            if at == begin:
                return None
            found.append((key, _cut(s, begin, at)))
        else:
            found.append((key, None))
    return tuple(found)


def params(str text):
    """";a=b;c" as pairs; see `uri.parse_params`."""
    if not _ascii(text):
        return None
    return _params(PyUnicode_1BYTE_DATA(text), 0, PyUnicode_GET_LENGTH(text))


def via(str text):
    """Transport, host, port (0 for none) and parameters of a Via value; see `message.parse_via`."""
    if not _ascii(text):
        return None
    cdef const unsigned char* s = PyUnicode_1BYTE_DATA(text)
    cdef Py_ssize_t end = PyUnicode_GET_LENGTH(text), at = 8, begin, host
    cdef int port = 0
    if end < 12 or memcmp(s, b"SIP/2.0/", 8) != 0:
        return None
    while at < end and KIND[s[at]] & TOKEN:
        at += 1
    if at == 8 or at >= end or s[at] != c" ":
        return None
    cdef str transport = _cut(s, 8, at).lower()
    begin = at + 1
    at = begin
    while at < end and KIND[s[at]] & HOST:
        at += 1
    if at == begin or s[begin] == c"-" or s[begin] == c"." or s[at - 1] == c"-":
        return None
    host = at
    if at < end and s[at] == c":":
        at += 1
        while at < end and KIND[s[at]] & DIGIT and at - host < 7:
            port = port * 10 + (s[at] - 48)
            at += 1
        if at == host + 1 or port > 65535 or at - host > 6:
            return None
    cdef tuple rest = _params(s, at, end)
    if rest is None:
        return None
    return transport, _cut(s, begin, host), port, rest


def name_addr(str text):
    """URI, display name and parameters of `<uri>;a=b` or `"name" <uri>;a=b`; see `uri.parse_name_addr`."""
    if not _ascii(text):
        return None
    cdef const unsigned char* s = PyUnicode_1BYTE_DATA(text)
    cdef Py_ssize_t end = PyUnicode_GET_LENGTH(text), at = 0, begin
    cdef const unsigned char* found
    cdef str display = ""
    if end and s[0] == c'"':
        found = <const unsigned char*> memchr(s + 1, c'"', end - 1)
        if found == NULL or memchr(s + 1, c"\\", found - s - 1) != NULL:
            return None
        at = found - s
        display = _cut(s, 1, at)
        at += 1
        while at < end and s[at] == c" ":
            at += 1
    if at >= end or s[at] != c"<":
        return None
    begin = at + 1
    found = <const unsigned char*> memchr(s + begin, c">", end - begin)
    if found == NULL:
        return None
    at = found - s
    cdef tuple rest = _params(s, at + 1, end)
    if rest is None:
        return None
    return _cut(s, begin, at), display, rest


def digest(str text):
    """Parameters of a Digest credential or challenge behind its scheme, by name in lower case; see `auth.parse_digest`."""
    if not _ascii(text):
        return None
    cdef const unsigned char* s = PyUnicode_1BYTE_DATA(text)
    cdef Py_ssize_t end = PyUnicode_GET_LENGTH(text), at = 0, begin, stop
    cdef const unsigned char* found
    cdef dict fields = {}
    cdef str key, value
    if memchr(s, c"\\", end) != NULL or memchr(s, c"%", end) != NULL or memchr(s, c"<", end) != NULL or memchr(s, c">", end) != NULL:
        return None
    while True:
        while at < end and s[at] == c" ":
            at += 1
        begin = at
        while at < end and KIND[s[at]] & TOKEN:
            at += 1
        if at == begin or at >= end or s[at] != c"=":
            return None
        key = _cut(s, begin, at).lower()
        at += 1
        if at < end and s[at] == c'"':
            found = <const unsigned char*> memchr(s + at + 1, c'"', end - at - 1)
            if found == NULL:
                return None
            begin, stop = at + 1, found - s
            at = stop + 1
        else:
            begin = at
            while at < end and KIND[s[at]] & VALUE:
                at += 1
            stop = at
        if key in fields:
            return None
        value = _cut(s, begin, stop)
        fields[key] = value
        while at < end and s[at] == c" ":
            at += 1
        if at == end:
            return fields
        if s[at] != c",":
            return None
        at += 1


cdef tuple _start_line(const unsigned char* s, Py_ssize_t end):
    """(status, reason) of a status line, (method, Request-URI) of a request line; both of version 2.0."""
    cdef Py_ssize_t at = 0, begin
    if end >= 11 and memcmp(s, b"SIP/2.0 ", 8) == 0:
        if not (KIND[s[8]] & KIND[s[9]] & KIND[s[10]] & DIGIT) or (end > 11 and s[11] != c" "):
            return None
        return (s[8] - 48) * 100 + (s[9] - 48) * 10 + (s[10] - 48), _cut(s, 12, end) if end > 12 else ""
    end -= 8
    if end < 3 or memcmp(s + end, b" SIP/2.0", 8) != 0:
        return None
    while at < end and KIND[s[at]] & TOKEN:
        at += 1
    if at == 0 or at >= end - 1 or s[at] != c" ":
        return None
    begin = at + 1
    at = begin
    while at < end:
        if KIND[s[at]] & SPACE:
            return None
        at += 1
    return _cut(s, 0, begin - 1), _cut(s, begin, end)


def head(bytes data, dict names, int most):
    """Start line (see `_start_line`) and at most `most` header lines as (canonical name, name, value); see `parse._parse_head`.

    `names` knows the canonical name of every customary writing.
    """
    cdef const unsigned char* s = data
    cdef Py_ssize_t end = len(data), at = 0, stop, begin, colon
    cdef const unsigned char* found
    cdef tuple start = None
    cdef list items = []
    cdef str name
    cdef object known
    while True:
        found = <const unsigned char*> memchr(s + at, c"\r", end - at)
        stop = end if found == NULL else found - s
        if found != NULL and (stop + 1 >= end or s[stop + 1] != c"\n"):
            return None
        if memchr(s + at, c"\n", stop - at) != NULL:
            return None
        if start is None:
            begin = at
            while begin < stop:
                if s[begin] > 127:
                    return None
                begin += 1
            start = _start_line(s, stop)
            if start is None:
                return None
        else:
            colon = at
            while colon < stop and KIND[s[colon]] & TOKEN:
                colon += 1
            if colon >= stop or s[colon] != c":" or len(items) >= most:
                return None
            name = _cut(s, at, colon)
            known = names.get(name)
            if known is None:
                if colon - at < 2:
                    return None
                known = name.lower()
            begin = colon + 1
            at = stop
            while begin < at and (s[begin] == c" " or s[begin] == c"\t"):
                begin += 1
            while at > begin and (s[at - 1] == c" " or s[at - 1] == c"\t"):
                at -= 1
            items.append((known, name, _text(s, begin, at)))
        if found == NULL:
            return start, items
        at = stop + 2


def cseq(str text):
    """Number and method of a CSeq value; see `message.parse_cseq`."""
    if not _ascii(text):
        return None
    cdef const unsigned char* s = PyUnicode_1BYTE_DATA(text)
    cdef Py_ssize_t end = PyUnicode_GET_LENGTH(text), at = 0, begin
    cdef long long number = 0
    while at < end and KIND[s[at]] & DIGIT and at < 10:
        number = number * 10 + (s[at] - 48)
        at += 1
    if at == 0 or at >= end or s[at] != c" " or number >= 2147483648:
        return None
    begin = at + 1
    at = begin
    while at < end and KIND[s[at]] & TOKEN:
        at += 1
    return (number, _cut(s, begin, end)) if begin < at == end else None


cdef str _connection(str value):
    """Address of a c= line, None where another must look at it; see `sdp._connection`."""
    cdef list fields = value.split()
    if len(fields) < 3 or <str> fields[0] != "IN" or (<str> fields[1] != "IP4" and <str> fields[1] != "IP6"):
        return None
    return (<str> fields[2]).split("/", 1)[0]


cdef tuple _media(str value):
    """Kind, port, profile and formats of an m= line; see `sdp._media_head`."""
    cdef list fields = value.split()
    cdef str port
    if len(fields) < 4:
        return None
    port = <str> fields[1]
    if len(port) > 5 or not port.isdigit() or int(port) > 65535:
        return None
    return (<str> fields[0]).lower(), int(port), fields[2], tuple(fields[3:])


def sdp(bytes data not None, int most, int most_media):
    """What `sdp.parse_sdp` makes of a description: the fields of a `Description` in order, of its media those of a `MediaLine` each.

    `most` and `most_media` are the limits of its lines and media lines.
    """
    cdef const unsigned char* s = data
    cdef const unsigned char* found
    cdef Py_ssize_t size = len(data), at, stop, colon
    cdef int lines = 1
    cdef unsigned char kind
    cdef list origin = None, times = [], attributes = [], session_attributes = attributes, media = []
    cdef tuple head = None
    cdef str name = "-", address = "", session_address = "", value, number
    if size < 5 or memcmp(s, b"v=0\r\n", 5) != 0:
        return None
    for at in range(size):
        if s[at] > 127:
            return None
    at = 5
    while at < size:
        found = <const unsigned char*> memchr(s + at, c"\r", size - at)
        if found == NULL:
            return None
        stop = found - s
        lines += 1
        # What is no line of a letter and a value that begins and ends with neither space nor line break is for the rule in Python.
        if (stop + 1 >= size or s[stop + 1] != c"\n" or stop < at + 2 or s[at + 1] != c"=" or lines >= most
                or memchr(s + at, c"\n", stop - at) != NULL):
            return None
        kind = s[at]
        at += 2
        if at < stop and (KIND[s[at]] & SPACE or KIND[s[stop - 1]] & SPACE):
            return None
        if kind == c"a":
            found = <const unsigned char*> memchr(s + at, c":", stop - at)
            colon = stop if found == NULL else found - s
            attributes.append((_cut(s, at, colon), _cut(s, colon + 1, stop) if colon < stop else ""))
        elif kind == c"m":
            if head is not None:
                media.append((*head, address, tuple(attributes)))
            head = _media(_cut(s, at, stop))
            if head is None or len(media) >= most_media:
                return None
            address, attributes = "", []
        elif kind == c"c":
            value = _connection(_cut(s, at, stop))
            if value is None:
                return None
            if head is None:
                session_address = value
            else:
                address = value
        elif kind == c"o":
            origin = _cut(s, at, stop).split()
        elif kind == c"s":
            name = _cut(s, at, stop) if at < stop else "-"
        elif kind == c"t":
            times.append(_cut(s, at, stop))
        at = stop + 2
    if head is not None:
        media.append((*head, address, tuple(attributes)))
    if origin is None or len(origin) != 6:
        return None
    number = <str> origin[2]
    if len(number) > 19 or not number.isdigit():
        return None
    for head in media:
        if head[1] and not (head[4] or session_address):
            return None
    return (origin[0], origin[1], int(number), origin[5], session_address, name, tuple(times) if times else ("0 0",),
            tuple(session_attributes), media)


def find_param(tuple params not None, str name not None):
    """Value of the named parameter, "" when it has none, None when it is absent; names compare without case."""
    cdef tuple pair
    cdef str key
    for pair in params:
        key = <str> pair[0]
        if same(key, name) or (len(key) == len(name) and key.lower() == name):
            return "" if pair[1] is None else pair[1]
    return None


def render_params(tuple params not None):
    """";a=b;c" of pairs."""
    cdef list parts = []
    cdef tuple pair
    for pair in params:
        parts.append(";")
        parts.append(pair[0])
        if pair[1] is not None:
            parts.append("=")
            parts.append(pair[1])
    return "".join(parts)


def with_params(tuple params not None, dict changes not None):
    """The same with parameters set: in place where they are present, else behind the others."""
    cdef list found = []
    cdef tuple pair
    cdef dict left = dict(changes)
    for pair in params:
        found.append((pair[0], left.pop(pair[0])) if pair[0] in left else pair)
    found.extend(left.items())
    return tuple(found)


def render_via(str version not None, str transport not None, str host not None, int port, tuple params not None):
    """Text of a Via value; see `message.Via`."""
    cdef str upper = "UDP" if same(transport, "udp") else transport.upper()
    cdef str by = f"[{host}]" if ":" in host else host
    return f"SIP/{version}/{upper} {by}:{port}{render_params(params)}" if port else f"SIP/{version}/{upper} {by}{render_params(params)}"
