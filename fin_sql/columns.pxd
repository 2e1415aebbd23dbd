# Arrow arrays as the drivers read and write them.
from libc.stdint cimport int32_t, uint8_t

from fin_sql.abi cimport cell


cdef class Column:              # 8-byte cells, and a validity bitmap where anything is NULL
    cdef const cell* values
    cdef const uint8_t* valid   # NULL: no row is NULL
    cdef Py_ssize_t valid_offset
    cdef readonly Py_ssize_t n
    cdef readonly bint floating
    cdef object keep


cdef class Slots:               # which state each row belongs to
    cdef const int32_t* values  # NULL: all rows belong to slot 0
    cdef readonly Py_ssize_t n
    cdef readonly Py_ssize_t top  # one more than the largest slot
    cdef object keep
