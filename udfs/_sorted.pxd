# The last w values in order of time and in order of size; header only.
from libc.math cimport INFINITY, isnan
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
        base += half & -<int64_t> (base[half - 1] < x)      # a mask: a branch would be a guess
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


cdef inline double ranked_mad(const double* ranked, int64_t n, double centre) noexcept nogil:
    """Median of the absolute deviations from `centre`, in O(log n).

    Deviations grow to the left of the centre and to the right of it: the k smallest are the first
    i of the left list and the first k - i of the right one, and i is found by bisection.
    """
    cdef int64_t split = lower_bound(ranked, n, centre)
    cdef int64_t k = (n >> 1) + (n & 1)
    cdef int64_t low = k - (n - split) if k > n - split else 0
    cdef int64_t high = k if k < split else split
    cdef int64_t i, half, less, rest = high - low
    cdef double left, right, largest
    while rest > 0:
        half = rest >> 1
        i = low + half
        less = -<int64_t> (centre - ranked[split - 1 - i] < ranked[split + k - i - 1] - centre)
        low += (half + 1) & less
        rest = (half & ~less) | ((rest - half - 1) & less)
    left = centre - ranked[split - low] if low > 0 else 0.0
    right = ranked[split + k - low - 1] - centre if k > low else 0.0
    largest = left if left > right else right
    if n & 1:
        return largest
    left = centre - ranked[split - 1 - low] if low < split else INFINITY
    right = ranked[split + k - low] - centre if split + k - low < n else INFINITY
    return largest / 2 + (left if left < right else right) / 2
