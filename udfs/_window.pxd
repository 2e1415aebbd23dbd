# Rolling statistics over the last w rows without subtraction; header only.
#
# Rows come in blocks of w. A window is the end of one block and the beginning of the next, so
# what is needed is one running summary of the block that fills (`back`), and the summaries of all
# ends of the block before it, which are worked out once, backwards, when a block is full. Nothing
# is ever taken out again: a NaN or a spike leaves with its row, a constant stays exactly constant,
# and the points of recomputation depend on the row number within the key alone.
from libc.math cimport sqrt
from libc.stdint cimport int64_t

from fin_sql.abi cimport cell


cdef struct Turn:
    int64_t at                  # rows in the block that fills
    int64_t full                # whether a block is complete


# ---------------------------------------------------------------- mean and variance

cdef struct Spread:
    double mean
    double m2                   # sum of squared deviations


cdef struct SpreadWindow:       # followed by double x[w], Spread ends[w]
    Turn turn
    Spread back


cdef inline void spread_add(Spread* s, double x, double one_by_n) noexcept nogil:
    cdef double d = x - s.mean
    s.mean += d * one_by_n
    s.m2 += d * (x - s.mean)


cdef inline int64_t spread_bytes(int64_t w) noexcept nogil:
    return sizeof(SpreadWindow) + w * (sizeof(double) + sizeof(Spread))


# Take a row; True when `found` covers w rows. `inverse[k]` is 1/k.
cdef inline bint spread_push(SpreadWindow* s, int64_t w, const cell* inverse, double x,
                             Spread* found) noexcept nogil:
    cdef double* rows = <double*> (s + 1)
    cdef Spread* ends = <Spread*> (rows + w)
    cdef Spread run
    cdef int64_t j = s.turn.at, k
    cdef double d
    if j == 0:
        s.back.mean = x
        s.back.m2 = 0.0 * x
    else:
        spread_add(&s.back, x, inverse[j + 1].f)
    rows[j] = x
    found[0] = s.back
    if j + 1 < w:
        s.turn.at = j + 1
        if not s.turn.full:
            return False
        d = s.back.mean - ends[j + 1].mean
        found.mean = ends[j + 1].mean + d * ((j + 1) * inverse[w].f)
        found.m2 += ends[j + 1].m2 + d * d * ((w - 1 - j) * (j + 1) * inverse[w].f)
        return True
    run.mean = rows[w - 1]
    run.m2 = 0.0 * run.mean
    ends[w - 1] = run
    for k in range(w - 2, 0, -1):
        spread_add(&run, rows[k], inverse[w - k].f)
        ends[k] = run
    s.turn.at = 0
    s.turn.full = 1
    return True


# ---------------------------------------------------------------- third and fourth moments

cdef struct Shape:
    double mean
    double m2
    double m3
    double m4


cdef struct ShapeWindow:        # followed by double x[w], Shape ends[w]
    Turn turn
    Shape back


cdef inline void shape_add(Shape* s, double x, double n, double one_by_n) noexcept nogil:
    cdef double d = x - s.mean
    cdef double e = d * one_by_n
    cdef double e2 = e * e
    cdef double t = d * e * (n - 1.0)
    s.m4 += t * e2 * (n * n - 3.0 * n + 3.0) + 6.0 * e2 * s.m2 - 4.0 * e * s.m3
    s.m3 += t * e * (n - 2.0) - 3.0 * e * s.m2
    s.m2 += t
    s.mean += e


cdef inline Shape shape_merge(const Shape* a, double na, const Shape* b, double nb,
                              double one_by_n) noexcept nogil:
    """Pebay (2008), merging sums of powers of deviations."""
    cdef Shape s
    cdef double d = b.mean - a.mean
    cdef double e = d * one_by_n
    cdef double product = na * nb
    s.mean = a.mean + e * nb
    s.m2 = a.m2 + b.m2 + d * e * product
    s.m3 = a.m3 + b.m3 + d * e * e * product * (na - nb) + 3.0 * e * (na * b.m2 - nb * a.m2)
    s.m4 = (a.m4 + b.m4
            + d * e * e * e * product * (na * na - product + nb * nb)
            + 6.0 * e * e * (na * na * b.m2 + nb * nb * a.m2)
            + 4.0 * e * (na * b.m3 - nb * a.m3))
    return s


cdef inline int64_t shape_bytes(int64_t w) noexcept nogil:
    return sizeof(ShapeWindow) + w * (sizeof(double) + sizeof(Shape))


cdef inline bint shape_push(ShapeWindow* s, int64_t w, const cell* inverse, double x,
                            Shape* found) noexcept nogil:
    cdef double* rows = <double*> (s + 1)
    cdef Shape* ends = <Shape*> (rows + w)
    cdef Shape run
    cdef int64_t j = s.turn.at, k
    if j == 0:
        s.back.mean = x
        s.back.m2 = s.back.m3 = s.back.m4 = 0.0 * x
    else:
        shape_add(&s.back, x, <double> (j + 1), inverse[j + 1].f)
    rows[j] = x
    found[0] = s.back
    if j + 1 < w:
        s.turn.at = j + 1
        if not s.turn.full:
            return False
        found[0] = shape_merge(&ends[j + 1], <double> (w - 1 - j), &s.back, <double> (j + 1),
                               inverse[w].f)
        return True
    run.mean = rows[w - 1]
    run.m2 = run.m3 = run.m4 = 0.0 * run.mean
    ends[w - 1] = run
    for k in range(w - 2, 0, -1):
        shape_add(&run, rows[k], <double> (w - k), inverse[w - k].f)
        ends[k] = run
    s.turn.at = 0
    s.turn.full = 1
    return True


# ---------------------------------------------------------------- two columns together

cdef struct Joint:
    double mx
    double my
    double cxx
    double cyy
    double cxy


cdef struct JointWindow:        # followed by double xy[2 w], Joint ends[w]
    Turn turn
    Joint back


cdef inline void joint_start(Joint* s, double x, double y) noexcept nogil:
    s.mx = x
    s.my = y
    s.cxx = 0.0 * x
    s.cyy = 0.0 * y
    s.cxy = 0.0 * x * y


cdef inline void joint_add(Joint* s, double x, double y, double one_by_n) noexcept nogil:
    cdef double dx = x - s.mx, dy = y - s.my
    s.mx += dx * one_by_n
    s.my += dy * one_by_n
    s.cxx += dx * (x - s.mx)
    s.cyy += dy * (y - s.my)
    s.cxy += dx * (y - s.my)


cdef inline double correlated(double cxy, double cxx, double cyy) noexcept nogil:
    """cxy / sqrt(cxx cyy) within [-1, 1]; a product out of range is avoided."""
    cdef double product = cxx * cyy
    cdef double r
    if 1e-280 < product < 1e280:
        r = cxy / sqrt(product)
    else:
        r = cxy / sqrt(cxx) / sqrt(cyy)
    r = r if r < 1.0 else (1.0 if r >= 1.0 else r)
    return r if r > -1.0 else (-1.0 if r <= -1.0 else r)


cdef inline int64_t joint_bytes(int64_t w) noexcept nogil:
    return sizeof(JointWindow) + w * (2 * sizeof(double) + sizeof(Joint))


cdef inline bint joint_push(JointWindow* s, int64_t w, const cell* inverse, double x, double y,
                            Joint* found) noexcept nogil:
    cdef double* rows = <double*> (s + 1)
    cdef Joint* ends = <Joint*> (rows + 2 * w)
    cdef Joint run
    cdef const Joint* end
    cdef int64_t j = s.turn.at, k
    cdef double dx, dy, weight
    if j == 0:
        joint_start(&s.back, x, y)
    else:
        joint_add(&s.back, x, y, inverse[j + 1].f)
    rows[2 * j] = x
    rows[2 * j + 1] = y
    found[0] = s.back
    if j + 1 < w:
        s.turn.at = j + 1
        if not s.turn.full:
            return False
        end = &ends[j + 1]
        dx = s.back.mx - end.mx
        dy = s.back.my - end.my
        weight = (w - 1 - j) * (j + 1) * inverse[w].f
        found.mx = end.mx + dx * ((j + 1) * inverse[w].f)
        found.my = end.my + dy * ((j + 1) * inverse[w].f)
        found.cxx += end.cxx + dx * dx * weight
        found.cyy += end.cyy + dy * dy * weight
        found.cxy += end.cxy + dx * dy * weight
        return True
    joint_start(&run, rows[2 * w - 2], rows[2 * w - 1])
    ends[w - 1] = run
    for k in range(w - 2, 0, -1):
        joint_add(&run, rows[2 * k], rows[2 * k + 1], inverse[w - k].f)
        ends[k] = run
    s.turn.at = 0
    s.turn.full = 1
    return True


# ---------------------------------------------------------------- extremes and sums

cdef struct PlainWindow:        # followed by double x[w], double ends[w]
    Turn turn
    double back


# As functions of two values that let a NaN through, from either side.
cdef inline double lesser(double a, double b) noexcept nogil:
    return b if b < a or b != b else a


cdef inline double greater(double a, double b) noexcept nogil:
    return b if b > a or b != b else a


cdef inline double added(double a, double b) noexcept nogil:
    return a + b


ctypedef double (*joining)(double, double) noexcept nogil


cdef inline int64_t plain_bytes(int64_t w) noexcept nogil:
    return sizeof(PlainWindow) + w * 2 * sizeof(double)


cdef inline bint plain_push(PlainWindow* s, joining join, int64_t w, double x,
                            double* found) noexcept nogil:
    cdef double* rows = <double*> (s + 1)
    cdef double* ends = rows + w
    cdef int64_t j = s.turn.at, k
    s.back = join(s.back, x) if j else x
    rows[j] = x
    found[0] = s.back
    if j + 1 < w:
        s.turn.at = j + 1
        if s.turn.full:
            found[0] = join(ends[j + 1], s.back)
        return s.turn.full
    ends[w - 1] = rows[w - 1]
    for k in range(w - 2, 0, -1):
        ends[k] = join(ends[k + 1], rows[k])
    s.turn.at = 0
    s.turn.full = 1
    return True
