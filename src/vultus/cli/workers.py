"""Many tasks on several processes of one thread each; a process that dies takes only its own task with it."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Generic, TypeVar

TaskT = TypeVar("TaskT")
Result = TypeVar("Result")

# One thread per process: two processes of two threads on two cores are slower than two of one. Set before a process
# starts, because the runtimes read them once, when they are loaded.
_ONE_THREAD: dict[str, str] = dict.fromkeys(
    ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


def run_all(
    tasks: Iterable[TaskT],
    work: Callable[[TaskT], Result],
    when_died: Callable[[TaskT, str], Result],
    num_jobs: int,
) -> Generator[Result, None, None]:
    """Yield ``work(task)`` for every task, in order with one job (in this process), else as they are done.

    Processes are spawned, not forked: a forked child inherits locks of threads that do not exist in it.

    Args:
        tasks: what to do; must pickle, as must the results.
        work: a module-level function.
        when_died: makes the result for a task whose process died, from the task and how it died.
        num_jobs: how many processes.
    """
    tasks = list(tasks)
    num_jobs = min(num_jobs, len(tasks))
    if num_jobs <= 1:
        yield from map(work, tasks)
        return
    pending = deque(tasks)
    crew: list[_Worker[TaskT, Result]] = []
    try:
        crew.extend(_Worker(work) for _ in range(num_jobs))
        for worker in crew:
            worker.give(pending.popleft())
        while crew:
            ready = wait([worker.connection for worker in crew])
            for worker in [worker for worker in crew if worker.connection in ready]:
                try:
                    yield worker.take()
                except (EOFError, OSError):
                    yield when_died(worker.task, worker.bury())
                    crew.remove(worker)
                    if pending:
                        crew.append(worker := _Worker(work))
                if worker in crew:
                    if pending:
                        worker.give(pending.popleft())
                    else:
                        worker.dismiss()
                        crew.remove(worker)
    finally:
        for worker in crew:
            worker.stop()


class _Worker(Generic[TaskT, Result]):
    """A process that takes one task at a time over a pipe."""

    task: TaskT

    def __init__(self, work: Callable[[TaskT], Result]) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, work), daemon=True)
        resource_tracker.ensure_running()  # starting it would let interrupts through again
        with _environment(_ONE_THREAD), _interrupts_held():
            self.process.start()
        theirs.close()  # so that a dead process shows as the end of the pipe

    def give(self, task: TaskT) -> None:
        self.task = task
        with suppress(OSError):  # it died just now; take() will see that
            self.connection.send(task)

    def take(self) -> Result:
        return self.connection.recv()

    def dismiss(self) -> None:
        """Tell it that there is nothing left to do."""
        self.connection.close()
        self.process.join()

    def bury(self) -> str:
        """Clean up after a process that died, and tell how it did."""
        self.connection.close()
        self.process.join()
        code = self.process.exitcode or 0
        if code < 0:
            return f"its process was killed by {signal.Signals(-code).name}"
        return f"its process ended with status {code}"

    def stop(self) -> None:
        """Interrupt it; it gets a moment to remove what it has half-written."""
        self.connection.close()
        self.process.terminate()
        self.process.join(timeout=5)
        self.process.kill()
        self.process.join()


def _serve(connection: Connection, work: Callable[[TaskT], Result]) -> None:
    # Ctrl-C reaches the whole group; the parent decides. (Until here interrupts were held, see _interrupts_held.)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that half-written files are removed
    sys.stdout = sys.stderr  # standard output belongs to the parent
    Thread(target=_end_with_parent, daemon=True).start()
    _use_one_thread()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(work(task))


def _use_one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """A parent that was killed cannot stop its children; they notice by themselves."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Interrupts wait; a process that is started meanwhile inherits that, so that Ctrl-C finds none that is still importing."""
    if not hasattr(signal, "pthread_sigmask"):  # not POSIX
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
