"""Many small writes, one commit.

A disk syncs a few thousand times a second at best, whatever it is told to sync. So whoever finds nobody writing writes for everybody who waits,
and while that commit runs the next ones gather (group commit; DeWitt et al. 1984). No thread of its own: a lone writer pays for nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from m6rec.base.errors import M6RecError, StorageError

MOST = 256  # jobs of one commit: more would make the first of them wait for the last


class Job:
    """A piece of work waiting for its commit.

    together: jobs with the same function here are done by one call of it, `together(writing, [job.work, ...]) -> [result or error, ...]`;
    without one, `work(writing)` is the work.
    """

    __slots__ = ("done", "error", "result", "together", "turn", "work")

    def __init__(self, work: Any, together: Callable[..., list[Any]] | None = None) -> None:
        self.work = work
        self.together = together
        self.turn = Lock()
        self.done = False
        self.result: Any = None
        self.error: M6RecError | None = None


class GroupCommit:
    """Runs `commit(jobs)` for all that wait, one call at a time.

    commit: sets `result` or `error` of every job, and returns when they are as safe as they will be.
    """

    def __init__(self, commit: Callable[[Sequence[Job]], None]) -> None:
        self._commit = commit
        self._mutex = Lock()
        self._leading = False
        self._waiting: deque[Job] = deque()

    def submit(self, job: Job) -> Any:
        """The job's result, after its commit.

        Raises:
            M6RecError: what the job came to; nothing of it was written.
        """
        job.turn.acquire()
        with self._mutex:
            leads = not self._leading
            if leads:
                self._leading = True
            else:
                self._waiting.append(job)
        if not leads:
            job.turn.acquire()  # given back by a leader: the work is done, or it is our turn to lead
        if not job.done:
            self._lead(job)
        if job.error is not None:
            raise job.error
        return job.result

    def _lead(self, first: Job) -> None:
        with self._mutex:
            jobs = [first, *(self._waiting.popleft() for _ in range(min(len(self._waiting), MOST - 1)))]
        for job in jobs:
            job.error = StorageError("the write was interrupted; send it again")  # stands if the commit is cut short
        try:
            self._commit(jobs)
        finally:
            with self._mutex:
                successor = self._waiting.popleft() if self._waiting else None
                self._leading = successor is not None
            if successor is not None:
                successor.turn.release()
            for job in jobs:
                job.done = True
                if job is not first:
                    job.turn.release()
