"""Whose turn it is: answers in the making share the passes of the model, and one joins or leaves at each pass.

Nothing waits for company. An idle model begins with what comes first; what comes meanwhile is there at the next pass. A pass
that ends with an error says nothing about which of its rows is to blame, so each of them is answered again, by itself.

Belongs here: the order, the bound by memory, the one thread that calls the model. Does not belong here: the pass itself (passes.py),
what is chosen (decoder.py), and what is said of errors (model.py).
"""

import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread

import torch

from tradewind.predictor import metrics
from tradewind.predictor.decoder import Decoder, Written
from tradewind.predictor.grammar import Plan
from tradewind.predictor.row import NotFiniteError, Row, Steps, Want

_logger = logging.getLogger(__name__)


class Job:
    """One question on its way through the model."""

    def __init__(self, prompt_ids: Sequence[int], plan: Plan, tokens: int) -> None:
        """Args: prompt_ids: of the whole prompt. plan: what may be written. tokens: the most of prompt and answer."""
        self.prompt_ids = prompt_ids
        self.plan = plan
        self.tokens = tokens
        self.answer: Future[Written] = Future()
        self.alone = False
        """Whether it goes through the model by itself, since it failed and another one may be to blame."""
        self.seconds = 0.0
        """Of the passes that it was there for, shared among all who were."""
        self.row: Row | None = None
        self.steps: Steps[Written] | None = None
        self.want: Want | None = None


class Batch:
    """The answers in the making, and what waits for room. Not thread-safe."""

    def __init__(self, decoder: Decoder, room: int) -> None:
        """Args: decoder: writes them. room: tokens of prompts and answers that memory holds at once; one of more is alone."""
        self.seconds_each = 0.1
        """Moving average of what one answer takes of the model's time."""
        self._decoder = decoder
        self._room = room
        self._waiting: deque[Job] = deque()
        self._active: list[Job] = []

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._active or self._waiting)

    def add(self, job: Job) -> None:
        """A job for the next pass, or a later one."""
        self._waiting.append(job)

    def step(self) -> None:
        """One pass, within `torch.inference_mode()`; whoever is done with it has an answer."""
        self._admit()
        going = [job for job in self._active if job.want is not None]
        if not going:
            self._leave()
            return
        began = time.perf_counter()
        try:
            results = self._decoder.passes.run([job.want for job in going if job.want is not None])
        except Exception as error:
            self._failed(error)
            return
        metrics.BATCH.observe(self._decoder.passes.rows)
        for job, logits in zip(going, results, strict=True):
            if logits is not None:
                self._advance(job, logits)
        took = time.perf_counter() - began
        for job in going:
            job.seconds += took / len(going)
        self._leave()
        self._restart([job for job in self._active if job.alone and job.row is not None and job.row.borrowed])

    def fail(self, error: Exception) -> None:
        """End all that there is with an error."""
        for job in [*self._active, *self._waiting]:
            if not job.answer.done():
                job.answer.set_exception(error)
        self._active.clear()
        self._waiting.clear()

    def _admit(self) -> None:
        """Whoever has waited longest, as long as there is room."""
        while self._waiting:
            job = self._waiting[0]
            taken = sum(each.tokens for each in self._active)
            if self._active and (job.alone or self._active[0].alone or taken + job.tokens > self._room):
                return
            self._waiting.popleft()
            if not job.answer.running() and not job.answer.set_running_or_notify_cancel():
                continue  # nobody waits for it any more
            self._decoder.passes.forget(self._room - taken - job.tokens)
            job.row = self._decoder.passes.row(job.prompt_ids)
            job.steps = self._decoder.writing(job.row, job.plan)
            self._active.append(job)
            self._advance(job, None)

    def _advance(self, job: Job, logits: torch.Tensor | None) -> None:
        """Let a job choose by what was scored, up to the next pass that it needs."""
        assert job.steps is not None
        assert job.row is not None
        try:
            job.want = next(job.steps) if logits is None else job.steps.send(logits)
        except StopIteration as stop:
            job.answer.set_result(stop.value)
        except Exception as error:
            if isinstance(error, NotFiniteError) and job.row.borrowed:  # they may be another one's
                job.alone = True
            else:
                job.answer.set_exception(error)

    def _leave(self) -> None:
        """Those who are done make room; what was read for them is kept for whoever begins alike."""
        done = [job for job in self._active if job.answer.done()]
        self._active = [job for job in self._active if not job.answer.done()]
        room = self._room - sum(job.tokens for job in self._active)
        for job in done:
            self.seconds_each += 0.1 * (job.seconds - self.seconds_each)
            if job.row is not None and job.answer.exception() is None:
                metrics.PROMPT_TOKENS.labels("shared").inc(min(job.row.shared, len(job.prompt_ids)))
                metrics.PROMPT_TOKENS.labels("read").inc(max(len(job.prompt_ids) - job.row.shared, 0))
                self._decoder.passes.keep(job.row, room)

    def _failed(self, error: Exception) -> None:
        jobs, self._active = self._active, []
        if len(jobs) == 1:
            jobs[0].answer.set_exception(error)
            return
        _logger.warning(
            "a pass over several rows failed, each is answered by itself: %s: %s", type(error).__name__, error
        )
        for job in jobs:
            job.alone = True
        self._active = jobs
        self._restart(jobs)

    def _restart(self, jobs: Sequence[Job]) -> None:
        """Let jobs wait once more, before all others."""
        self._active = [job for job in self._active if job not in jobs]
        for job in reversed(jobs):
            job.row, job.steps, job.want = None, None, None
            self._waiting.appendleft(job)


class Batcher:
    """One thread that answers whatever is submitted."""

    def __init__(self, batch: Batch) -> None:
        """Args: batch: nobody else touches it from now on."""
        self._batch = batch
        self._submitted: SimpleQueue[Job] = SimpleQueue()
        Thread(target=self._run, name="inference", daemon=True).start()

    @property
    def seconds_each(self) -> float:
        """What one answer takes of the model's time, lately."""
        return self._batch.seconds_each

    def submit(self, job: Job) -> Future[Written]:
        """A job's answer; the error of the model where there is none: NotFiniteError, or what its call ended with."""
        self._submitted.put(job)
        return job.answer

    def _run(self) -> None:
        with torch.inference_mode():
            while True:
                if not self._batch.busy:
                    self._batch.add(self._submitted.get())
                try:
                    while True:
                        self._batch.add(self._submitted.get_nowait())
                except Empty:
                    pass
                try:
                    self._batch.step()
                except Exception as error:  # nobody is left without an answer, whatever was not thought of
                    _logger.exception("the passes failed")
                    self._batch.fail(error)
