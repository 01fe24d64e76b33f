"""Ctrl-C and SIGTERM: the first asks, the second acts, and nothing is left behind."""

import os
import signal
import threading

import pytest

from sdedge.interrupt import stop_on_signal


class Count:
    """How often it was told."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_sets_the_event_and_tells_once(number: signal.Signals) -> None:
    earlier = signal.signal(number, signal.default_int_handler)  # not ignored, under nohup either
    told = Count()
    try:
        with stop_on_signal(told) as stop:
            assert not stop.is_set()
            os.kill(os.getpid(), number)
            assert stop.is_set()
    finally:
        signal.signal(number, earlier)
    assert told.calls == 1


def test_a_signal_that_is_ignored_stays_so() -> None:
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_on_signal(Count()) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.is_set()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, earlier)


def test_a_second_signal_is_ctrl_c_as_ever() -> None:
    told = Count()
    with stop_on_signal(told) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
    assert told.calls == 1


@pytest.mark.parametrize("signalled", [False, True])
def test_the_handlers_are_restored(signalled: bool) -> None:
    earlier = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        mine = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        with pytest.raises(ZeroDivisionError), stop_on_signal(Count()):
            assert signal.getsignal(signal.SIGINT) is not mine[0]
            if signalled:
                os.kill(os.getpid(), signal.SIGTERM)
            raise ZeroDivisionError
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == mine
    finally:
        signal.signal(signal.SIGTERM, earlier)


def test_another_thread_gets_an_event_that_stays_unset() -> None:
    seen: list[bool] = []

    def work() -> None:
        with stop_on_signal(Count()) as stop:
            seen.append(stop.is_set())

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
    assert signal.getsignal(signal.SIGINT) is before
