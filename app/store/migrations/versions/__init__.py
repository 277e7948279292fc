"""One module a version. What has been released is never changed."""
