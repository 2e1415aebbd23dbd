# One call of decode, and the Arrow rows that become of it.
from libc.stdint cimport int64_t

from fin_sql.catalog._batch cimport Batch, Message
from fin_sql.catalog._cells cimport Column
from fin_sql.catalog._scan cimport Wrong


cdef class Call:
    cdef Batch batch
    cdef Message* messages
    cdef Py_ssize_t n
    cdef tuple held                 # the messages: none of them may be freed while it is read
    cdef bint binary                # the messages are no texts
    cdef dict refused               # why the schema of a number cannot be used; Avro alone
    cdef int take_up(self, object messages) except -1
    cdef int check(self, Wrong wrong, int64_t message) except -1
    cdef object decoded(self, tuple fields, object schema, tuple unnest)
    cdef object array(self, Column* c, object kind)
    cdef object bad(self, tuple fields, tuple unnest)
    cdef str reason(self, dict bad, bytes message, tuple fields, tuple unnest)


cdef void* zeros(int64_t n, int64_t size) except NULL
cdef Column* lay_columns(tuple fields, list slots, object encoded) except NULL
cdef object schema_of(tuple fields, object encoded)
