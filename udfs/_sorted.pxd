# The last w values in order of time and in order of size; header only.
from libc.math cimport isnan
from libc.stdint cimport int64_t
from libc.string cimport memmove


cdef struct SortedWindow:       # followed by double x[w] by time, double ranked[w] by size
    int64_t at                  # where the next value goes
    int64_t rows                # at most w
    int64_t n                   # of them not missing: the length of ranked


cdef inline int64_t sorted_bytes(int64_t w) noexcept nogil:
    return sizeof(SortedWindow) + w * 2 * sizeof(double)


cdef inline double* sorted_rows(SortedWindow* s) noexcept nogil:
    return <double*> (s + 1)


cdef inline int64_t lower_bound(const double* ranked, int64_t n, double x) noexcept nogil:
    """The first place whose value is not less than x, found without a branch."""
    cdef const double* base = ranked
    cdef int64_t half
    if n == 0:
        return 0
    while n > 1:
        half = n >> 1
        base = base + half if base[half - 1] < x else base
        n -= half
    return (base - ranked) + (base[0] < x)


cdef inline double* sorted_push(SortedWindow* s, int64_t w, double x) noexcept nogil:
    """Take a value, NaN for a missing one, and let the oldest go; returns the ranked values."""
    cdef double* rows = sorted_rows(s)
    cdef double* ranked = rows + w
    cdef bint leaves = s.rows == w and not isnan(rows[s.at])
    cdef bint enters = not isnan(x)
    cdef int64_t source = 0, target = 0
    x = x + 0.0                 # -0.0 is 0.0
    if leaves:
        source = lower_bound(ranked, s.n, rows[s.at])
    if enters:
        target = lower_bound(ranked, s.n, x)
    if leaves and enters:       # one move between the two places
        if source < target:
            target -= 1
            memmove(ranked + source, ranked + source + 1, (target - source) * sizeof(double))
        else:
            memmove(ranked + target + 1, ranked + target, (source - target) * sizeof(double))
        ranked[target] = x
    elif leaves:
        s.n -= 1
        memmove(ranked + source, ranked + source + 1, (s.n - source) * sizeof(double))
    elif enters:
        memmove(ranked + target + 1, ranked + target, (s.n - target) * sizeof(double))
        ranked[target] = x
        s.n += 1
    rows[s.at] = x
    s.at = s.at + 1 if s.at + 1 < w else 0
    s.rows += s.rows < w
    return ranked


cdef inline double ranked_quantile(const double* ranked, int64_t n, double q) noexcept nogil:
    """Type-7: linear between the order statistics."""
    cdef double place = (n - 1) * q
    cdef int64_t low = <int64_t> place
    if low >= n - 1:
        return ranked[n - 1]
    return ranked[low] + (ranked[low + 1] - ranked[low]) * (place - low)


cdef inline double ranked_median(const double* ranked, int64_t n) noexcept nogil:
    if n & 1:
        return ranked[n >> 1]
    return ranked[(n >> 1) - 1] / 2 + ranked[n >> 1] / 2


cdef inline double kth_deviation(const double* ranked, int64_t n, double centre,
                                 int64_t k) noexcept nogil:
    """The k-th smallest |x - centre|, k from 0: a search over two sorted lists."""
    cdef int64_t split = lower_bound(ranked, n, centre)
    # Deviations grow to the left of split and to the right of it. Of the k + 1 smallest, i come
    # from the left: the least i whose next left one is not smaller than the last right one.
    cdef int64_t low = k + 1 - (n - split) if k + 1 > n - split else 0
    cdef int64_t high = k + 1 if k + 1 < split else split
    cdef int64_t i, j
    cdef double left, right
    while low < high:
        i = (low + high) >> 1
        j = k + 1 - i
        if centre - ranked[split - 1 - i] < ranked[split + j - 1] - centre:
            low = i + 1
        else:
            high = i
    left = centre - ranked[split - low] if low > 0 else 0.0
    right = ranked[split + k - low] - centre if k + 1 > low else 0.0
    return left if left > right else right


cdef inline double ranked_mad(const double* ranked, int64_t n, double centre) noexcept nogil:
    """Median of the absolute deviations, in O(log n)."""
    if n & 1:
        return kth_deviation(ranked, n, centre, n >> 1)
    return (kth_deviation(ranked, n, centre, (n >> 1) - 1)
            + kth_deviation(ranked, n, centre, n >> 1)) / 2
