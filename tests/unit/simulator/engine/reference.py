"""One replica and its queue in plain Python, by another method than the compiled one.

Every sequence has its own count of tokens left, which every event brings up to date for all.
"""

from dataclasses import dataclass, field
from math import inf

from autoscaling.simulator.service_times import ServiceModel


@dataclass(slots=True)
class Job:
    came: float
    prompt: int
    output: int
    left: float = 0.0
    first: float = -1.0
    done: float = -1.0
    lost: bool = False


@dataclass(slots=True)
class Replica:
    model: ServiceModel
    patience_s: float
    now: float = 0.0
    running: list[Job] = field(default_factory=list)
    reading: Job | None = None
    unread: float = 0.0
    waiting: list[Job] = field(default_factory=list)
    queue: list[Job] = field(default_factory=list)

    def simulate(self, rows: list[tuple[float, int, int]]) -> list[Job]:
        jobs = [Job(*row) for row in rows]
        coming = list(jobs)
        while coming or self.queue or self.waiting or self.reading or self.running:
            step = self._step()
            arrives = coming[0].came if coming else inf
            self._pass(min(step, arrives))
            if step > arrives:
                self._take(coming.pop(0))
            self._serve()
        return jobs

    def _rates(self) -> tuple[float, float]:
        """Tokens a second of a sequence, and share of the prompt a second."""
        count = len(self.running)
        if self.reading is None:
            return (1 / self.model.itl_s[count] if count else 0.0), 0.0
        prompt = self.reading.prompt
        per_token = self.model.prefill_s[0] / self.model.prefill_tokens[0]
        if not count:
            return 0.0, 1 / (prompt * per_token)
        step = self.model.itl_s[count] + self.model.chunk_tokens * per_token
        return 1 / step, self.model.chunk_tokens / prompt / step

    def _step(self) -> float:
        tokens, share = self._rates()
        ends = [self.now + job.left / tokens for job in self.running]
        if self.reading is not None:
            ends.append(self.now + self.unread / share)
        return min(ends, default=inf)

    def _pass(self, at: float) -> None:
        tokens, share = self._rates()
        passed = at - self.now
        self.now = at
        for job in self.running:
            job.left -= tokens * passed
        self.unread -= share * passed
        for job in [job for job in self.running if job.left < 1e-9]:
            self.running.remove(job)
            job.done = at
        if self.reading is not None and self.unread < 1e-9:
            job, self.reading = self.reading, None
            job.first, job.left = at, job.output - 1
            if job.left:
                self.running.append(job)
            else:
                job.done = at

    def _take(self, job: Job) -> None:
        self._serve()
        if job.prompt + job.output > self.model.kv_tokens:
            job.lost = True
        else:
            self.queue.append(job)

    def _serve(self) -> None:
        while True:
            self._begin()
            for job in [job for job in self.queue if job.came < self.now - self.patience_s]:
                self.queue.remove(job)
                job.lost = True
            if not self.queue or len(self.waiting) >= self.model.most_waiting:
                return
            self.waiting.append(self.queue.pop(0))

    def _begin(self) -> None:
        if self.reading is not None or not self.waiting:
            return
        held = sum(job.prompt + job.output for job in self.running)
        first = self.waiting[0]
        fits = held + first.prompt + first.output <= self.model.kv_tokens
        if fits and len(self.running) < self.model.max_seqs:
            self.reading, self.unread = self.waiting.pop(0), 1.0
