# States of one bound kernel, a block for each slot.
from libc.stdint cimport int64_t

from fin_sql.abi cimport Bound, Functions, step_fn
from fin_sql.columns cimport Slots


cdef class Cancel:
    cdef int flag


cdef class States:
    cdef readonly Bound bound
    cdef readonly Py_ssize_t capacity
    cdef readonly int64_t max_state_bytes
    cdef Functions c
    cdef int64_t size
    cdef Py_ssize_t room                # slots that there is memory for
    cdef char* states
    cdef char** blocks
    cdef Py_ssize_t first_row           # what messages add to the number of a row
    cdef char* block(self, Py_ssize_t slot) noexcept nogil
    cdef int64_t block_bytes(self, Py_ssize_t slot) noexcept nogil
    cdef int enlarge(self, Py_ssize_t slot) noexcept nogil
    cdef Py_ssize_t _blocks(self, list columns, Slots slots, Cancel cancel, list values,
                            object emitted, step_fn step) except -1
    cdef int _raise(self, int code, list columns, Py_ssize_t row) except -1
