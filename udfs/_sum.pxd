# A sum that keeps what rounding loses (Neumaier 1974); header only.
from libc.math cimport fabs


cdef struct Sum:
    double total
    double lost


cdef inline void sum_add(Sum* s, double x) noexcept nogil:
    cdef double t = s.total + x
    if fabs(s.total) >= fabs(x):
        s.lost += (s.total - t) + x
    else:
        s.lost += (x - t) + s.total
    s.total = t


cdef inline double sum_value(const Sum* s) noexcept nogil:
    return s.total + s.lost
