"""Every law for every kernel of the registry, and proof that the laws can fail."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from fin_sql.registry import KERNELS
from fin_sql.spec import Out
from fin_sql.testing import checks_for
from fin_sql.testing.checks import LAWS, Subject

CHECKS = [check for name in sorted(KERNELS) for check in checks_for(name)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.kernel.spec.name}-{c.name}")
def test_law(check):
    check()


def test_every_kernel_has_its_laws():
    assert len(KERNELS) >= 22
    for name, kernel in KERNELS.items():
        checks = list(checks_for(name))
        least = 6 if kernel.spec.shape == "scalar" else 9
        assert len({check.name for check in checks}) >= least, name
        assert len({check.seed for check in checks}) == len(checks), name
        assert [check.name for check in checks_for(kernel)] == [check.name for check in checks]


def test_every_law_has_a_kernel():
    names = {law.__name__ for law, _ in LAWS}
    assert names - {check.name for check in CHECKS} <= {"a_missing_argument_is_refused"}


def test_another_seed_draws_other_data():
    for name in KERNELS:
        one, two, again = (next(iter(checks_for(name, seed))) for seed in (1, 2, 1))
        drawn = [Subject(c.kernel, c.params, c.seed).draw(50) for c in (one, two, again)]
        assert [str(column) for column in drawn[0]] == [str(column) for column in drawn[2]]
        assert [str(column) for column in drawn[0]] != [str(column) for column in drawn[1]]


# ---------------------------------------------------------------- the laws can fail


def breaks(law, kernel, monkeypatch, subject):
    """Whether a law notices, under some of the kernel's parameters, that a subject errs."""
    monkeypatch.setattr("fin_sql.testing.checks.Subject", subject)
    chosen = [check for check in checks_for(kernel) if check.name == law]
    assert chosen
    broken = []
    for check in chosen:
        try:
            check()
        except AssertionError as error:
            who = f"kernel '{kernel}' {dict(check.params)}: {law}: "
            assert str(error).startswith(who)
            assert str(error).endswith(f"; seed {check.seed}")
            broken.append(check)
    return bool(broken)


def having(law, output=None):
    """Each kernel that a law holds for, or of them those with an output of a type."""
    specs = {c.kernel.spec.name: c.kernel.spec for c in CHECKS if c.name == law}
    return pytest.mark.parametrize(
        "kernel",
        sorted(
            name
            for name, spec in specs.items()
            if output in (None, *(leaf.type for leaf in spec.returns.leaves))
        ),
    )


def off(value):
    """A value that is slightly wrong."""
    if isinstance(value, Mapping):
        return {name: off(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [off(inner) for inner in value]
    if value is None:
        return value
    if isinstance(value, (bool, str)):
        return not value if isinstance(value, bool) else f"not {value}"
    return value + 1 if isinstance(value, int) else value * 1.00001 + 1e-300


class Doctored(Subject):
    """A subject whose Spec is not the kernel's."""

    def __init__(self, kernel, params, seed):
        super().__init__(kernel, params, seed)
        self.spec = replace(self.spec, **self.doctored())


@having("equals_its_definition")
def test_a_wrong_definition_is_seen(kernel, monkeypatch):
    class Off(Subject):
        def textbook(self, columns):
            return off(super().textbook(columns))

    assert breaks("equals_its_definition", kernel, monkeypatch, Off)


@having("equals_its_definition")
def test_a_definition_that_lacks_a_value_is_seen(kernel, monkeypatch):
    class Less(Subject):
        def textbook(self, columns):
            found = super().textbook(columns)
            if not isinstance(found, list):
                return None
            last = max((i for i, value in enumerate(found) if value is not None), default=0)
            return [*found[:last], None, *found[last + 1 :]]

    assert breaks("equals_its_definition", kernel, monkeypatch, Less)


@having("outputs_scale_as_their_units_say", "float64")
def test_a_wrong_unit_is_seen(kernel, monkeypatch):
    class Off(Doctored):
        def doctored(self):
            letters = {arg.unit for arg in self.spec.args} - {"1"}
            wrong = "*".join(f"{letter}^3" for letter in letters)
            out = self.spec.returns
            if out.fields:
                leaves = tuple(replace(leaf, unit=wrong) for leaf in out.fields)
                return {"returns": Out(fields=leaves)}
            return {"returns": replace(out, unit=wrong)}

    assert breaks("outputs_scale_as_their_units_say", kernel, monkeypatch, Off)


@having("the_future_leaves_the_past")
def test_a_look_one_row_further_ahead_is_seen(kernel, monkeypatch):
    class Ahead(Subject):
        def apply(self, columns, **params):
            found = super().apply(columns, **params)
            return found.take(np.minimum(np.arange(len(found)) + 1, len(found) - 1))

    assert breaks("the_future_leaves_the_past", kernel, monkeypatch, Ahead)


@having("any_cut_with_a_restart_is_one_pass")
def test_a_state_that_is_lost_between_batches_is_seen(kernel, monkeypatch):
    class Forgets(Subject):
        def run(self, columns, states=None, slots=None):
            return super().run(columns, None, slots)

    for law in ("any_cut_with_a_restart_is_one_pass", "batches_and_other_keys_do_not_matter"):
        assert breaks(law, kernel, monkeypatch, Forgets)


@having("batches_and_other_keys_do_not_matter")
def test_keys_that_share_a_state_are_seen(kernel, monkeypatch):
    class Shares(Subject):
        def run(self, columns, states=None, slots=None):
            return super().run(columns, states, None)

    assert breaks("batches_and_other_keys_do_not_matter", kernel, monkeypatch, Shares)


@having("a_skipped_row_changes_no_other")
def test_a_skipped_row_that_counts_is_seen(kernel, monkeypatch):
    class Counts(Subject):
        def run(self, columns, states=None, slots=None):
            filled = [column.fill_null(1) for column in columns]
            return super().run(filled, states, slots)

    assert breaks("a_skipped_row_changes_no_other", kernel, monkeypatch, Counts)


@having("a_spike_leaves_with_its_row")
def test_a_spike_that_stays_is_seen(kernel, monkeypatch):
    class Stays(Subject):
        def run(self, columns, states=None, slots=None):
            found = super().run(columns, states, slots)
            huge = any(
                max(c.drop_null().to_pylist(), key=abs, default=0) > 1e15
                for c in columns
                if pa.types.is_floating(c.type)
            )
            return pa.nulls(len(found), found.type) if huge else found

    assert breaks("a_spike_leaves_with_its_row", kernel, monkeypatch, Stays)


@having("merged_parts_are_one_pass")
def test_a_lossy_merge_is_seen(kernel, monkeypatch):
    class Loses(Subject):
        def fold(self, columns):
            return super().fold([column.slice(10 * (len(column) > 150)) for column in columns])

    assert breaks("merged_parts_are_one_pass", kernel, monkeypatch, Loses)


@having("rows_taken_back_leave_no_trace")
def test_a_retraction_that_leaves_a_row_is_seen(kernel, monkeypatch):
    class Leaves(Subject):
        def fold(self, columns):
            found = super().fold(columns)
            again = [pa.concat_arrays([column, column.slice(5, 9)]) for column in columns]
            return super().fold(again) if len(columns[0]) == 200 else found

    assert breaks("rows_taken_back_leave_no_trace", kernel, monkeypatch, Leaves)


@having("an_operator_that_is_lost_and_loaded_is_one_pass")
def test_an_operator_that_differs_from_its_kernel_is_seen(kernel, monkeypatch):
    class Other(Subject):
        def run(self, columns, states=None, slots=None):
            return super().run([column.slice(1) for column in columns], states, slots)

    law = "an_operator_that_is_lost_and_loaded_is_one_pass"
    assert breaks(law, kernel, monkeypatch, Other)


@having("sql_is_the_direct_call")
def test_sql_that_differs_from_the_direct_call_is_seen(kernel, monkeypatch):
    class Other(Subject):
        def apply(self, columns, by=None, **params):
            return super().apply(
                [c.take(np.arange(len(c))[::-1].copy()) for c in columns], by, **params
            )

    assert breaks("sql_is_the_direct_call", kernel, monkeypatch, Other)
