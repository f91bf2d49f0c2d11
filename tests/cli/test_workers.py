"""Processes that work, that die, and that are told to stop."""

import os
import signal
import time

from vultus.cli.workers import _Worker, run_all


def work(task: str) -> str:
    if task == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "exits":
        os._exit(3)
    if task == "sleeps":
        time.sleep(60)
    if task == "threads":
        import torch

        return f"{torch.get_num_threads()} {os.environ['NUMBA_NUM_THREADS']}"
    return f"{task} {os.getpid()}"


def died(task: str, how: str) -> str:
    return f"{task} {how}"


def test_one_job_stays_here_and_in_order():
    assert list(run_all(["a", "b"], work, died, 1)) == [f"a {os.getpid()}", f"b {os.getpid()}"]


def test_a_dead_process_takes_only_its_own_task_with_it():
    before = dict(os.environ)
    results = sorted(run_all(["killed", "a", "exits", "b", "threads"], work, died, 2))
    assert results[0] == "1 1"
    a, b, exits, killed = results[1:]
    assert a.startswith("a ") and b.startswith("b ") and str(os.getpid()) not in a + b
    assert exits == "exits its process ended with status 3"
    assert killed == "killed its process was killed by SIGKILL"
    assert dict(os.environ) == before


def test_an_interrupt_while_a_process_starts_is_the_parents_business():
    """Ctrl-C reaches every process of the group, also one that has not yet come to ignoring it."""
    worker = _Worker(work)
    try:
        for _ in range(5):
            os.kill(worker.process.pid, signal.SIGINT)
            time.sleep(0.05)
        worker.give("a")
        assert worker.take() == f"a {worker.process.pid}"
    finally:
        worker.stop()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_closing_stops_the_processes():
    results = run_all(["a", "sleeps", "sleeps"], work, died, 2)
    pid = int(next(results).split()[1])
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 30
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return
    raise AssertionError("the process is still there")
