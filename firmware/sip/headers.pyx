# cython: language_level=3, boundscheck=False, wraparound=False
"""The headers of a message: ordered, looked up without case, written out (L1).

Theory of operation
-------------------
RFC 3261 section 7.3. Headers are kept as received, in order, each as (canonical name, name as written, value). A message has a dozen
of them and each is asked for now and then, so that looking through all costs less than an index that every change drops.
Invariant: `add` and `set` take no value with a line break, so that a copied value cannot split a message.
"""

from firmware.sip.text cimport same

from firmware.sip.errors import SyntaxProblem
from firmware.sip.names import COMPACT, CANONICAL, DISPLAY
from firmware.sip.uri import split_outside

cdef dict _compact = COMPACT, _canonical = CANONICAL, _display = DISPLAY
cdef object _split = split_outside


cpdef str canonical(str name):
    """Lower-case long form of a header name."""
    known = _canonical.get(name)
    if known is not None:
        return <str> known
    cdef str key = name.lower()
    return <str> _compact.get(key, key) if len(key) == 1 else key


cpdef str display_name(str key):
    """Customary capitals of a canonical name."""
    known = _display.get(key)
    return <str> known if known is not None else "-".join([part.capitalize() for part in key.split("-")])


cdef class Headers:
    """Ordered headers: `items` are (canonical name, name as written, value). Its attributes are in headers.pxd."""

    def __init__(self, pairs=()):
        self.items = [(canonical(name), name, value) for name, value in pairs]

    def __iter__(self):
        return iter([(item[1], item[2]) for item in self.items])

    def __len__(self):
        return len(self.items)

    cdef str _first(self, str key):
        cdef tuple item
        for item in self.items:
            if same(<str> item[0], key):
                return <str> item[2]
        return None

    cdef list _lines(self, str key):
        cdef list found = []
        cdef tuple item
        for item in self.items:
            if same(<str> item[0], key):
                found.append(item[2])
        return found

    def __contains__(self, str name not None):
        return self._first(canonical(name)) is not None

    cpdef str get(self, str name, str default=""):
        """First value of a header."""
        cdef str found = self._first(canonical(name))
        return default if found is None else found

    cpdef list get_all(self, str name):
        """Each header line's value, unsplit."""
        return self._lines(canonical(name))

    cpdef list values(self, str name):
        """All values of a comma-separated header, empty ones left out. Raises SyntaxProblem on unbalanced quotes."""
        cdef list found = []
        cdef str line
        for line in self._lines(canonical(name)):
            if "," in line or '"' in line:
                found += [part for part in _split(line, ",") if part]
            else:
                line = line.strip()
                if line:
                    found.append(line)
        return found

    def tokens(self, str name):
        """Values in lower case (Require, Supported, Accept...), parameters cut off."""
        return [(<str> value).split(";", 1)[0].strip().lower() for value in self.values(name)]

    cpdef str lacks(self, tuple names):
        """The first of these canonical names that is not there, None when all are."""
        cdef str name
        for name in names:
            if self._first(name) is None:
                return name
        return None

    cpdef bint any_of(self, tuple names):
        """Whether any of these canonical names is there."""
        cdef tuple item
        cdef str name
        for item in self.items:
            for name in names:
                if same(<str> item[0], name):
                    return True
        return False

    cpdef bint repeated(self):
        """Whether any name comes more than once."""
        cdef tuple item
        cdef set seen = set()
        for item in self.items:
            seen.add(item[0])
        return len(seen) != len(self.items)

    cpdef Py_ssize_t count(self, str name):
        """How many lines there are of a canonical name."""
        cdef tuple item
        cdef Py_ssize_t found = 0
        for item in self.items:
            if same(<str> item[0], name):
                found += 1
        return found

    cpdef add(self, str name, str value):
        if "\r" in value or "\n" in value:
            raise SyntaxProblem(f"line break in {name}")
        self.items.append((canonical(name), name, value))

    def set(self, str name not None, str value not None):
        """Replace every line of this name by one, at the place of the first."""
        cdef str key = canonical(name)
        cdef list kept = []
        cdef tuple item
        cdef Py_ssize_t at = -1
        if "\r" in value or "\n" in value:
            raise SyntaxProblem(f"line break in {name}")
        for item in self.items:
            if same(<str> item[0], key):
                if at < 0:
                    at = len(kept)
            else:
                kept.append(item)
        kept.insert(at if at >= 0 else len(kept), (key, name, value))
        self.items = kept

    def remove(self, str name not None):
        cdef str key = canonical(name)
        self.items = [item for item in self.items if not same(<str> (<tuple> item)[0], key)]

    cpdef replace_first(self, str name, str new):
        """Replace the first comma-separated value of a header (used on the top Via)."""
        cdef str key = canonical(name), value
        cdef tuple item
        cdef Py_ssize_t index
        for index in range(len(self.items)):
            item = <tuple> self.items[index]
            if same(<str> item[0], key):
                value = <str> item[2]
                if "," in value:
                    rest = _split(value, ",")[1:]
                    value = ", ".join([new, *rest]) if rest else new
                else:
                    value = new
                self.items[index] = (key, item[1], value)
                return

    cpdef Headers answering(self, str to_tag, bint record_route, has_tag):
        """The headers that an answer copies (RFC 3261 section 8.2.6); `to_tag` goes to a To for which `has_tag(value)` is False."""
        cdef Headers out = Headers.__new__(Headers)
        cdef list items = []
        cdef tuple item
        cdef str key, value
        for item in self.items:
            key = <str> item[0]
            if (same(key, "via") or same(key, "from") or same(key, "to") or same(key, "call-id") or same(key, "cseq")
                    or (record_route and same(key, "record-route"))):
                value = <str> item[2]
                if "\r" in value or "\n" in value:
                    continue
                if to_tag and same(key, "to") and (";" not in value or not has_tag(value)):
                    value = f"{value};tag={to_tag}"
                items.append((key, display_name(key), value))
        out.items = items
        return out

    cpdef bytes render(self, str start, bytes body):
        """Wire form behind a start line; Content-Length is written last and from the body."""
        cdef list parts = [start]
        cdef tuple item
        for item in self.items:
            if not same(<str> item[0], "content-length"):
                parts.append("\r\n")
                parts.append(item[1])
                parts.append(": ")
                parts.append(item[2])
        parts.append(f"\r\nContent-Length: {len(body)}\r\n\r\n")
        cdef str text = "".join(parts)
        cdef bytes head = text.encode("utf-8", "surrogateescape")
        return head + body if body else head
