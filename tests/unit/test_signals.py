import os
import signal
import subprocess
import sys
import threading

from fogline.signals import stop_signal


def test_a_signal_before_the_wait_is_not_missed() -> None:
    with stop_signal() as stop:
        assert stop.wait(0) is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait() == signal.SIGTERM
        assert stop.wait() == signal.SIGTERM


def test_a_signal_that_another_thread_gets_wakes_the_main_thread() -> None:
    with stop_signal() as stop:
        timer = threading.Timer(
            0.05, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        )
        timer.start()
        assert stop.wait(10) == signal.SIGINT
        timer.join()


def test_handlers_are_as_before_afterwards() -> None:
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with stop_signal():
        pass
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_second_signal_ends_the_process_at_once() -> None:
    code = (
        "import os, signal, time\n"
        "from fogline.signals import stop_signal\n"
        "with stop_signal() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    stop.wait()\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=30)
    assert done.returncode == -signal.SIGTERM
