# Keys interned by value: a slot for each distinct key, and what happened to it.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from fin_sql.columns cimport Slots


cdef struct Entry:
    uint32_t mark               # part of the hash, so that most misses stay in the table
    int32_t slot                # -1: free


cdef struct Known:              # what is known of a slot
    uint64_t hashed
    int64_t at                  # where its bytes but the first lie in the arena
    int32_t length              # -1: the slot is free
    int32_t group               # -1: not asked yet
    uint32_t tick               # when it was last touched
    uint8_t tag                 # its first byte; 0 for the key of no columns
    uint8_t changed


cdef class Keys:
    cdef readonly Py_ssize_t n_slots      # one more than the largest slot ever used
    cdef readonly Py_ssize_t n_keys
    cdef readonly uint32_t tick
    cdef Entry* table
    cdef Py_ssize_t mask
    cdef Known* known
    cdef Py_ssize_t capacity
    cdef uint8_t* arena
    cdef int64_t arena_used, arena_size, arena_garbage
    cdef int32_t* spare                   # a stack of free slots
    cdef Py_ssize_t n_spare
    cdef int32_t* fresh                   # slots added since they were last asked for
    cdef Py_ssize_t n_fresh
    cdef object dictionary                # the last one, and the slots of its values
    cdef object remap                     # -1 where a value was not used yet
    cdef Py_ssize_t unresolved            # how many such there are
    cdef object dictionary_before, remap_before         # the one before it
    cdef Py_ssize_t unresolved_before
    cdef int32_t find(self, uint8_t tag, const uint8_t* rest, int64_t n) except -1 nogil
    cdef int32_t add(self, uint8_t tag, const uint8_t* rest, int64_t n,
                     uint64_t hashed) except -1 nogil
    cdef int grow(self) except -1 nogil
    cdef int forget(self, int32_t slot) except -1 nogil
    cdef Slots _intern_dictionary(self, object array)
    cdef bint known_dictionary(self, object values)
    cdef int _resolve(self, object codes, int32_t* found, Py_ssize_t n_values) except -1
    cdef Slots _intern_rows(self, list arrays, Py_ssize_t n)
    cdef int _compact(self) except -1
