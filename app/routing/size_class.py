"""Size classes: how long a request is, in tokens of prompt and expected output together."""

from enum import StrEnum


class SizeClass(StrEnum):
    """One of the four lengths of request that pools are built for, shortest first.

    A class is written by its name in configuration, headers and metrics.
    """

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"
    XL = "xl"

    @classmethod
    def of(cls, total_tokens: int) -> "SizeClass | None":
        """The shortest class that holds a request of `total_tokens`.

        Args:
            total_tokens: prompt tokens + expected output tokens, 0 or more.

        Returns:
            The class, or None where the request is longer than the longest class.

        Raises:
            ValueError: `total_tokens` is negative.
        """
        if total_tokens < 0:
            raise ValueError(f"a request cannot have {total_tokens} tokens")
        for size_class, limit in _LIMITS.items():
            if total_tokens <= limit:
                return size_class
        return None

    @property
    def limit(self) -> int:
        """The most tokens, prompt and expected output together, of a request of this class."""
        return _LIMITS[self]

    @property
    def and_longer(self) -> "tuple[SizeClass, ...]":
        """This class and those above it, shortest first: where its requests may be served."""
        return tuple(each for each in _LIMITS if each.limit >= self.limit)


# Shortest first.
_LIMITS = {
    SizeClass.SMALL: 512,
    SizeClass.MEDIUM: 2_048,
    SizeClass.LARGE: 8_192,
    SizeClass.XL: 32_768,
}
