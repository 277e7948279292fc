"""Requests that wait for a replica, and which of them wait for one to be started."""


class Waiting:
    """What the gateways hold back, as they last said.

    Args:
        silence_s: Seconds after which what they said is not believed any more.
    """

    __slots__ = (
        "_cold",
        "_heard_at",
        "_silence_s",
        "cold_start_requests",
        "cold_starts",
        "requests",
        "tokens",
    )

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._heard_at = 0.0
        self._cold = False
        self.tokens = 0.0
        """Tokens that the waiting requests are expected to come to."""
        self.requests = 0
        """Requests that wait."""
        self.cold_starts = 0
        """Times that requests waited for a replica to be started."""
        self.cold_start_requests = 0
        """Requests that did, as far as is seen: one that comes as another leaves is not."""

    def hear(self, tokens: float, requests: int, now: float) -> int:
        """Takes what all gateways hold back together.

        Args:
            tokens: What the requests are expected to come to.
            requests: How many they are.
            now: Monotonic time in seconds.

        Returns:
            How many more they are than before.
        """
        self.refresh(now)
        more = max(0, requests - self.requests)
        self.tokens, self.requests, self._heard_at = tokens, requests, now
        return more

    def refresh(self, now: float) -> None:
        """Forgets what was said too long ago.

        Args:
            now: Monotonic time in seconds.
        """
        if now - self._heard_at >= self._silence_s:
            self.tokens, self.requests, self._cold = 0.0, 0, False

    def judge(self, more: int, cold: bool) -> None:
        """Counts the requests that only a start can help.

        Args:
            more: Requests that came to wait since the last time.
            cold: Whether fewer replicas are awake or on standby than are wanted.
        """
        if not cold or not self.requests:
            self._cold = False
        elif self._cold:
            self.cold_start_requests += more
        else:
            self._cold = True
            self.cold_starts += 1
            self.cold_start_requests += self.requests
