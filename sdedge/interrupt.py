"""Ctrl-C, SIGTERM and SIGHUP as a request: the work stops where its state is whole."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_REQUESTS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


@contextmanager
def stop_on_signal(notify: Callable[[], None]) -> Iterator[threading.Event]:
    """Yield an event that the first of these signals sets, after calling `notify`.

    A second signal acts as it would have without this. One that is ignored stays so, as SIGHUP
    under nohup. Outside the main thread, where Python allows no handlers, the event is never set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = [getattr(signal, name) for name in _REQUESTS if hasattr(signal, name)]
    handlers = {number: signal.getsignal(number) for number in numbers}
    earlier = {n: handler for n, handler in handlers.items() if handler is not signal.SIG_IGN}

    def restore() -> None:
        for number, handler in earlier.items():
            signal.signal(number, handler)

    def request_stop(number: int, frame: FrameType | None) -> None:
        restore()
        stop.set()
        notify()

    for number in earlier:
        signal.signal(number, request_stop)
    try:
        yield stop
    finally:
        restore()
