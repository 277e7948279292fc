"""As much of S3 as a download needs, as fast as this machine sends files; prints its port.

::

    python -m benchmarks.weights.range_server FOLDER

Every key of every bucket is a file of the folder. Not a test double: moto reads a whole object for
each range of it, so that with moto it is mostly moto that is measured.
"""

import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

RANGE = re.compile(r"bytes=(\d+)-(\d+)?")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    root = Path()

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def _serve(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.strip("/").count("/") == 0:
            self._list()
            return
        file = self.root / path.rpartition("/")[2]
        if not file.is_file():
            self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        size = file.stat().st_size
        begin, end = 0, size
        asked = RANGE.match(self.headers.get("Range", ""))
        if asked:
            begin = int(asked[1])
            end = min(size, int(asked[2]) + 1) if asked[2] else size
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(end - begin))
        self.send_header("ETag", f'"{size}"')
        self.send_header("Last-Modified", self.date_time_string(int(file.stat().st_mtime)))
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
        self.end_headers()
        self.wfile.flush()
        if not with_body:
            return
        with file.open("rb") as opened:
            while begin < end:
                begin += os.sendfile(self.connection.fileno(), opened.fileno(), begin, end - begin)

    def _list(self) -> None:
        entries = "".join(
            f"<Contents><Key>model/{path.name}</Key><Size>{path.stat().st_size}</Size>"
            f'<ETag>"{path.stat().st_size}"</ETag></Contents>'
            for path in sorted(self.root.iterdir())
        )
        self._send(
            200,
            f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode(),
        )

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def main() -> None:
    Handler.root = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
