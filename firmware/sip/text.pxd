"""Comparing names natively: what two strings must have in common is looked at before their characters.

Cython's own `==` calls the interpreter for each comparison (`PyUnicode_Compare`, some 80 instructions); a registration compares 250 names.
"""

from libc.string cimport memcmp

cdef extern from "Python.h":
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    int PyUnicode_KIND(object text)
    void* PyUnicode_DATA(object text)


cdef inline bint same(str a, str b) noexcept:
    """Whether both are the same text; neither may be None."""
    if a is b:
        return True
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(a)
    cdef int kind = PyUnicode_KIND(a)       # bytes of a character; equal texts have the same
    return size == PyUnicode_GET_LENGTH(b) and kind == PyUnicode_KIND(b) and memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b), size * kind) == 0
