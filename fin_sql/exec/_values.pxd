# What the summaries of rows are worth, as the standard functions give it; header only.
from libc.math cimport fabs, sqrt
from libc.stdint cimport int64_t

from fin_sql.abi cimport ABSENT, EMIT, cell
from fin_sql.exec._frames cimport Part


cdef inline int value_of_sum(Part* s, cell* out) noexcept nogil:
    # What was lost beside an infinity is no number.
    out[0].f = s.v[0].f + s.v[1].f if fabs(s.v[0].f) <= 1.7976931348623157e308 else s.v[0].f
    return EMIT if s.n else ABSENT


cdef inline int value_of_mean(Part* s, cell* out) noexcept nogil:
    if not s.n:
        return ABSENT
    value_of_sum(s, out)
    out[0].f /= <double> s.n
    return EMIT


cdef inline int value_of_first(Part* s, cell* out) noexcept nogil:
    out[0] = s.v[0]
    return EMIT if s.n else ABSENT


cdef inline int value_of_ordered(Part* s, cell* out) noexcept nogil:
    out[0].i = s.v[0].i ^ (s.v[0].i >> 63 & <int64_t> 0x7FFFFFFFFFFFFFFF)
    return EMIT if s.n else ABSENT


cdef inline int value_of_row(Part* s, cell* out) noexcept nogil:
    out[0] = s.v[0]
    return EMIT if s.n and s.v[1].i else ABSENT


cdef inline int value_of_count(Part* s, cell* out) noexcept nogil:
    out[0].i = s.n
    return EMIT


cdef inline int value_of_variance(Part* s, cell* out, int64_t ddof, bint root) noexcept nogil:
    if s.n <= ddof:
        return ABSENT
    out[0].f = s.v[1].f / <double> (s.n - ddof)
    if root:
        out[0].f = sqrt(out[0].f)
    return EMIT


cdef inline int value_of_covariance(Part* s, cell* out, int64_t ddof) noexcept nogil:
    if s.n <= ddof:
        return ABSENT
    out[0].f = s.v[4].f / <double> (s.n - ddof)
    return EMIT


cdef inline int value_of_correlation(Part* s, cell* out) noexcept nogil:
    cdef double product = s.v[2].f * s.v[3].f, r
    if s.n < 2 or s.v[2].f == 0.0 or s.v[3].f == 0.0:
        return ABSENT
    r = s.v[4].f / sqrt(product) if 1e-280 < product < 1e280 else (
        s.v[4].f / sqrt(s.v[2].f) / sqrt(s.v[3].f))
    out[0].f = max(-1.0, min(1.0, r)) if r == r else r
    return EMIT


ctypedef int (*value_of_fn)(Part* s, cell* out) noexcept nogil


cdef inline int var_samp(Part* s, cell* out) noexcept nogil:
    return value_of_variance(s, out, 1, False)


cdef inline int var_pop(Part* s, cell* out) noexcept nogil:
    return value_of_variance(s, out, 0, False)


cdef inline int stddev_samp(Part* s, cell* out) noexcept nogil:
    return value_of_variance(s, out, 1, True)


cdef inline int stddev_pop(Part* s, cell* out) noexcept nogil:
    return value_of_variance(s, out, 0, True)


cdef inline int covar_samp(Part* s, cell* out) noexcept nogil:
    return value_of_covariance(s, out, 1)


cdef inline int covar_pop(Part* s, cell* out) noexcept nogil:
    return value_of_covariance(s, out, 0)
