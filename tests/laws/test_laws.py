"""Every law for every kernel of the registry, and proof that the laws can fail."""

from dataclasses import replace

import numpy as np
import pytest

import fin_sql
from fin_sql.registry import KERNELS
from fin_sql.testing import checks_for
from fin_sql.testing.checks import Check, Subject

CHECKS = [check for name in sorted(KERNELS) for check in checks_for(name)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.kernel.spec.name}-{c.name}")
def test_law(check):
    check()


def test_every_kernel_has_its_laws():
    assert len(KERNELS) >= 22
    for name in KERNELS:
        laws = {check.name for check in checks_for(name)}
        assert len(laws) >= 6, name


def test_another_seed_draws_other_data():
    one, two = (next(iter(checks_for("ewma", seed))) for seed in (1, 2))
    drawn = [Subject(c.kernel, c.params, c.seed).draw(50)[0].to_pylist() for c in (one, two)]
    assert drawn[0] != drawn[1]


class Wrong(Subject):
    """A subject whose kernel errs in one way."""

    doctored = {}

    def __init__(self, kernel, params, seed):
        super().__init__(kernel, params, seed)
        self.spec = replace(self.spec, **self.doctored)


def run_wrong(name, kernel, monkeypatch, subject):
    monkeypatch.setattr("fin_sql.testing.checks.Subject", subject)
    chosen = [check for check in checks_for(kernel) if check.name == name]
    assert chosen
    for check in chosen:
        assert isinstance(check, Check)
        check()


def test_a_wrong_definition_is_seen(monkeypatch):
    class Off(Wrong):
        doctored = {"definition": lambda x, alpha, adjust: [v * 1.000001 for v in x]}

    with pytest.raises(AssertionError, match="kernel 'ewma' .*definition: row .*seed"):
        run_wrong("equals_its_definition", "ewma", monkeypatch, Off)


def test_a_wrong_unit_is_seen(monkeypatch):
    class Off(Wrong):
        doctored = {"returns": fin_sql.kernel("ewma").spec.returns}

    with pytest.raises(AssertionError, match="unit u of output"):
        run_wrong("outputs_scale_as_their_units_say", "rsi", monkeypatch, Off)


def test_a_look_into_the_future_is_seen(monkeypatch):
    class Ahead(Subject):
        def apply(self, columns, **params):
            found = super().apply(columns, **params)
            return found.take(np.minimum(np.arange(len(found)) + 1, len(found) - 1))

    with pytest.raises(AssertionError, match="past: row 119"):
        run_wrong("the_future_leaves_the_past", "ewma", monkeypatch, Ahead)


def test_a_state_that_depends_on_batches_is_seen(monkeypatch):
    class Forgets(Subject):
        def run(self, columns, states=None, slots=None):
            return super().run(columns, None, slots)

    for name in ("any_cut_with_a_restart_is_one_pass", "batches_and_other_keys_do_not_matter"):
        with pytest.raises(AssertionError, match="row"):
            run_wrong(name, "ewma", monkeypatch, Forgets)


def test_a_lossy_merge_is_seen(monkeypatch):
    class Loses(Subject):
        def fold(self, columns):
            return super().fold([column.slice(10 * (len(column) > 150)) for column in columns])

    with pytest.raises(AssertionError, match="from the left"):
        run_wrong("merged_parts_are_one_pass", "vwap", monkeypatch, Loses)
