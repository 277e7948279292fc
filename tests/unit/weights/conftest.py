"""A bucket for the tests that fetch."""

from tests.unit.weights.buckets import bucket, credentials, faulty, s3_server

__all__ = ["bucket", "credentials", "faulty", "s3_server"]
