"""What other native modules may ask of `headers.pyx` without going through Python."""


cdef class Headers:
    cdef public list items

    cdef str _first(self, str key)
    cdef list _lines(self, str key)
    cpdef str get(self, str name, str default=*)
    cpdef list get_all(self, str name)
    cpdef list values(self, str name)
    cpdef str lacks(self, tuple names)
    cpdef bint any_of(self, tuple names)
    cpdef bint repeated(self)
    cpdef Py_ssize_t count(self, str name)
    cpdef add(self, str name, str value)
    cpdef replace_first(self, str name, str new)
    cpdef Headers answering(self, str to_tag, bint record_route, has_tag)
    cpdef bytes render(self, str start, bytes body)
