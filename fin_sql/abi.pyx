"""The kernel contract: definition, binding of parameters, and the header of kept state."""

import hashlib

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fin_sql import registry


cdef class Kernel:
    """A defined kernel: its Spec and its C functions."""

    @property
    def mergeable(self):
        """Whether partial states can be merged."""
        return self.c.merge != NULL

    @property
    def retractable(self):
        """Whether a row can be taken back, so that frames may slide."""
        return self.c.retract != NULL

    def bind(self, values=(), **named):
        """Fix the parameters.

        Raises:
            SqlError: a parameter is missing, NULL, of another type or out of range.
        """
        return Bound(self, self.spec.resolve(values, **named))

    def __repr__(self):
        return f"<kernel {self.spec.signature()}>"


cdef class Bound:
    """A kernel with its parameters: what states are made for."""

    def __cinit__(self, Kernel kernel, dict params):
        cdef Py_ssize_t i
        extra = list(kernel.spec.prepare(params)) if kernel.spec.prepare else []
        self.kernel = kernel
        self.params = params
        self.p = <cell*> calloc(len(params) + len(extra) + 1, sizeof(cell))
        if self.p == NULL:
            raise MemoryError
        for i, param in enumerate(kernel.spec.params):
            value = params[param.name]
            if param.type == "float64":
                self.p[i].f = value
            elif param.type == "text":
                self.p[i].i = param.choices.index(value)
            else:
                self.p[i].i = value
        for i in range(len(extra)):
            self.p[len(params) + i].f = extra[i]
        self.state_size = kernel.c.size
        if kernel.c.sizer != NULL:
            self.state_size = kernel.c.sizer(self.p)
        # Blocks lie one behind the other: each must begin where a double may.
        self.state_size = (self.state_size + 7) // 8 * 8
        said = repr(sorted(params.items())).encode()
        digest = hashlib.blake2b(said, digest_size=8).digest()
        self.params_hash = int.from_bytes(digest, "little")
        name = kernel.spec.name.encode()
        self.header = (
            bytes([len(name)]) + name + int(kernel.spec.version).to_bytes(4, "little") + digest
        )

    def __dealloc__(self):
        free(self.p)

    def __repr__(self):
        said = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        return f"<{self.kernel.spec.name}({said})>"


cdef object define_scalar(object spec, step_fn step, count_fn count=NULL):
    cdef Kernel kernel = named(spec, step)
    kernel.c.count = count
    take_up(kernel)


cdef object define_window(object spec, step_fn step, int64_t size, loop_fn loop=NULL):
    cdef Kernel kernel = named(spec, step)
    kernel.c.size = size
    kernel.c.loop = loop
    take_up(kernel)


cdef object define_ring(object spec, step_fn step, size_fn sizer, loop_fn loop=NULL):
    cdef Kernel kernel = named(spec, step)
    kernel.c.sizer = sizer
    kernel.c.loop = loop
    take_up(kernel)


cdef object define_aggregate(object spec, step_fn step, value_fn value, merge_fn merge,
                             int64_t size, step_fn retract=NULL, bint grows=False,
                             loop_fn loop=NULL):
    cdef Kernel kernel = named(spec, step)
    kernel.c.value = value
    kernel.c.merge = merge
    kernel.c.size = size
    kernel.c.retract = retract
    kernel.c.loop = loop
    kernel.grows = grows
    take_up(kernel)


cdef Kernel named(object spec, step_fn step):
    cdef Kernel kernel = Kernel.__new__(Kernel)
    kernel.spec = spec
    module = getattr(spec.definition, "__module__", None) or ""
    kernel.family = spec.family or module.rpartition(".")[2]
    kernel.n_args = len(spec.args)
    kernel.n_outs = len(spec.returns.leaves)
    memset(&kernel.c, 0, sizeof(Functions))
    kernel.c.step = step
    return kernel


cdef take_up(Kernel kernel):
    """A kernel whose parts do not fit together stops the import, with the reason."""
    spec = kernel.spec
    aggregate = spec.shape == "aggregate"
    stateless = kernel.c.size == 0 and kernel.c.sizer == NULL
    reasons = {
        f"more than {MAX_ARGS} arguments": kernel.n_args > MAX_ARGS,
        f"more than {MAX_OUTS} outputs": kernel.n_outs > MAX_OUTS,
        "an aggregate, and nothing else, has value and merge functions":
            aggregate != (kernel.c.value != NULL and kernel.c.merge != NULL),
        "a scalar has no state, and everything else has one":
            (spec.shape == "scalar") != stateless,
        "columns with a default come last":
            any(not a.required and b.required for a, b in zip(spec.args, spec.args[1:])),
        "a LIST output needs a count function, and a scalar shape":
            spec.returns.many != (kernel.c.count != NULL)
            or (spec.returns.many and spec.shape != "scalar"),
        "only a scalar propagates NULL": spec.nulls == "propagate" and spec.shape != "scalar",
        "the example does not call it": spec.name not in spec.example,
        "the state of a kernel that grows begins with its Room":
            kernel.grows and kernel.c.size < <int64_t> sizeof(Room),
        "codes of its own are -1 to -99": any(not -99 <= code <= -1 for code in spec.errors),
        "its definition is missing": spec.definition is None,
    }
    for reason, broken in reasons.items():
        if broken:
            raise ValueError(f"kernel '{spec.name}' is not sound: {reason}")
    for param in spec.params:
        if not param.required:
            param.accept(param.default, spec.who)
    for case in spec.cases:
        spec.resolve(**case)
    registry.add(kernel)
