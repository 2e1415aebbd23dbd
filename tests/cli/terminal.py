"""A command in a real pseudo-terminal, and the screen that a person would see."""

import os
import signal
import sys
import time

import pexpect
import pyte


class Terminal:
    """fin-sql in a terminal; it answers the questions that a terminal is asked."""

    def __init__(self, *arguments, state, rows=40, columns=110):
        command = ["-m", "fin_sql", *map(str, arguments)]
        env = dict(os.environ, TERM="xterm-256color", XDG_STATE_HOME=str(state), COLUMNS="")
        self.child = pexpect.spawn(
            sys.executable, command, env=env, dimensions=(rows, columns), timeout=None
        )
        self.screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self.screen.write_process_input = lambda data: self.child.send(data)
        self.stream = pyte.ByteStream(self.screen)

    def look(self, seconds=0.05):
        """Take what the command has printed."""
        try:
            self.stream.feed(self.child.read_nonblocking(65536, seconds))
        except pexpect.TIMEOUT:
            pass
        except pexpect.EOF:
            return False
        return True

    @property
    def lines(self):
        """The lines of the screen and those that have left it, without the blanks at their ends."""
        above = [
            "".join(c.data for _, c in sorted(line.items())) for line in self.screen.history.top
        ]
        return [line.rstrip() for line in (*above, *self.screen.display)]

    def wait(self, says, seconds=30):
        """Until something is on the screen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            there = self.look()
            if any(says in line for line in self.lines):
                return
            assert there, f"it ended: {self.shown()}"
        raise AssertionError(f"{says!r} is not on the screen:\n{self.shown()}")

    def wait_prompt(self, count=1, seconds=30):
        """Until the last line but the toolbar is an empty prompt, for the count-th time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            there = self.look()
            cursor = self.screen.display[self.screen.cursor.y].rstrip()
            if cursor == "fin_sql>" and self.prompts() >= count:
                return
            assert there, f"it ended: {self.shown()}"
        raise AssertionError(f"no prompt:\n{self.shown()}")

    def prompts(self):
        return sum(line.startswith("fin_sql>") for line in self.lines)

    def type(self, text):
        self.child.send(text)

    def run(self, *lines, seconds=30):
        """Type lines, and wait for the next prompt; gives what stands between."""
        before = self.prompts()
        for line in lines:
            self.type(line)
            self.wait(line[-40:])
            self.type("\r")
        self.wait_prompt(before + 1, seconds)
        found = self.lines
        starts = [i for i, line in enumerate(found) if line.startswith("fin_sql>")]
        return found[starts[-2] + len(lines) : starts[-1]]

    def interrupt(self):
        self.child.sendintr()

    def end(self, seconds=30):
        """Wait for the end; gives the exit code."""
        deadline = time.monotonic() + seconds
        while self.look() and time.monotonic() < deadline:
            pass
        self.child.close()
        assert self.child.signalstatus is None, signal.Signals(self.child.signalstatus)
        return self.child.exitstatus

    def shown(self):
        return "\n".join(line for line in self.lines if line)
