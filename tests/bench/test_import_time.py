"""What `import fin_sql` costs beside `import datafusion`; prints both, each in fresh processes."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.bench

REPEATS = 7
TIMED = "from time import perf_counter as t; b = t(); {}; print(t() - b)"


def seconds(statement):
    """Least of some runs: the first ones also read the files from the disk."""
    command = [sys.executable, "-c", TIMED.format(statement)]
    return min(float(subprocess.check_output(command, text=True)) for _ in range(REPEATS))


def test_import_time():
    theirs = seconds("import datafusion")
    ours = seconds("import fin_sql")
    both = seconds("import datafusion, fin_sql")
    sys.stdout.write(
        f"\nimport datafusion {theirs:.3f} s, import fin_sql {ours:.3f} s, both {both:.3f} s: "
        f"fin_sql adds {both - theirs:.3f} s (the aim: at most 0.1 s)\n"
    )
