"""A server beside us: it ends when we do, even when we are killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["Process", "ProcessError", "free_port", "listens"]

# Asks to be ended with its parent, looks whether that has gone already, and becomes the server.
_BOUND = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
TAIL_LINES = 12


class ProcessError(RuntimeError):
    """A server that does not start, or has stopped; the message ends in its log."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody listens at a port of 127.0.0.1."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A program that runs until it is stopped.

    On Linux it ends with the thread that has started it, whatever becomes of that one.

    Args:
        who: what it is called in messages.
        command: the program, as a path, and its arguments.
        log: the file that takes what it prints; what was in it is lost.
        environment: its variables; None: ours.
    """

    def __init__(
        self,
        who: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.who, self.log = who, log
        with log.open("wb") as out:
            self._process = subprocess.Popen(  # noqa: S603  the command is the caller's own
                [sys.executable, "-ISc", _BOUND, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until it is ready.

        Raises:
            ProcessError: it has ended, or is not ready in time; it is stopped then.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                msg = f"{self.who} ended with {self._process.returncode}:\n{self.tail()}"
                raise ProcessError(msg)
            if time.monotonic() > deadline:
                self.stop()
                msg = f"{self.who} was not ready within {seconds:g} s:\n{self.tail()}"
                raise ProcessError(msg)
            time.sleep(0.02)

    def stop(self, *, kill: bool = False, seconds: float = 10) -> None:
        """End it, and wait for that; it may have ended.

        Args:
            kill: give it no time to end in order.
            seconds: how long it may take otherwise, before it is killed.
        """
        if self.running:
            self._process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
