"""Ctrl-C and SIGTERM as a wish to stop, which is granted where a run can go on from exactly."""

import signal
import sys
import threading
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """What was being done was stopped as asked, and can go on from there. Its text says where that is."""


class StopRequest:
    """Hears the first signal; a second one ends the process at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def listen(self, *signals: signal.Signals) -> None:
        """Take signals over from whoever has them; without any named, Ctrl-C and SIGTERM.

        Only the main thread can; elsewhere nothing happens.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for wanted in signals or (signal.SIGINT, signal.SIGTERM):
            self._before[wanted] = signal.signal(wanted, self._hear)

    def cease(self) -> None:
        """Give the signals back."""
        while self._before:
            signal.signal(*self._before.popitem())

    @property
    def heard(self) -> bool:
        """Whether somebody wants to stop."""
        return self.signal is not None

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        print(
            f"\n{self.signal.name}: stopping as soon as the run can go on from there. Once more: now.",
            file=sys.stderr,
            flush=True,
        )
