"""A server of one file on this machine, with faults to be switched on."""

from __future__ import annotations

import http.server
import threading


class Server:
    """Sends its content to whoever asks, and notes the ranges it is asked for."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.ranges: list[str | None] = []
        self.says_length = True
        self.knows_ranges = True
        self.stops_after: int | None = None
        self.silent_after: int | None = None
        self.status: int | None = None
        self.released = threading.Event()
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # clients that hang up are on purpose
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/model.zip"

    def stop(self) -> None:
        self.released.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _handler(server) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

            def do_GET(self) -> None:
                server.ranges.append(self.headers["Range"])
                if server.status:
                    self.send_error(server.status)
                    return
                start = self._start()
                if start is not None and start >= len(server.content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(server.content)}")
                    self.end_headers()
                    return
                self._send(start)

            def _start(self) -> int | None:
                asked = self.headers["Range"]
                return int(asked[len("bytes=") : -1]) if asked and server.knows_ranges else None

            def _send(self, start: int | None) -> None:
                body = server.content[start or 0 :]
                self.send_response(200 if start is None else 206)
                if start is not None:
                    self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
                if server.says_length:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: server.stops_after])
                if server.silent_after is not None:
                    self.wfile.flush()
                    server.released.wait(20)

        return Handler
