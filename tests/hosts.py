"""A web server on this machine that behaves as hosts of data do on bad days."""

import gzip
import hashlib
import http.server
import socket
import threading
import time
from email.utils import formatdate
from urllib.parse import urlsplit


class Site:
    """Files by path, and what the next requests of a path meet instead of an honest answer.

    `script[path]` is a list of functions of the request's handler, one for each GET; when it
    is used up, answers are honest. `asked` has (method, path, range) of each request.
    """

    def __init__(self):
        self.files, self.script, self.asked = {}, {}, []
        self.tagged = True  # whether answers carry a version
        self.closing = threading.Event()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_HEAD(self):
                self.answer("HEAD")

            def do_GET(self):
                self.answer("GET")

            def answer(self, method):
                self.site, self.key = site, urlsplit(self.path).path
                site.asked.append((method, self.path, self.headers.get("Range")))
                script = site.script.get(self.key)
                try:
                    if method == "GET" and script:
                        script.pop(0)(self)
                    else:
                        honest(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def ranges(self, path):
        """Ranges of the GETs of a path, in order."""
        return [told for method, at, told in self.asked if method == "GET" and at == path]


def _begin(handler, status, headers):
    handler.send_response(status)
    for key, value in headers.items():
        handler.send_header(key, str(value))
    handler.end_headers()
    handler.wfile.flush()


def _tag(handler, content):
    if not handler.site.tagged:
        return {}
    return {"ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"'}


def honest(handler, content=None, stop_at=None, told=None):
    """The file, or the range that was asked for; ends early at byte `stop_at` of the file."""
    content = handler.site.files.get(handler.key) if content is None else content
    if content is None:
        return status(404)(handler)
    tag = _tag(handler, content)
    start = 0
    if asked := handler.headers.get("Range"):
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if tag and handler.headers.get("If-Range") != tag["ETag"]:
            start = 0
    if start and start >= len(content):
        beyond = {"Content-Range": f"bytes */{len(content)}", "Content-Length": 0}
        return _begin(handler, 416, beyond)
    length = len(content) - start if told is None else told - start
    headers = {"Content-Length": length, **tag}
    if start:
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    _begin(handler, 206 if start else 200, headers)
    if handler.command == "HEAD":
        return None
    handler.wfile.write(content[start:stop_at])
    handler.wfile.flush()
    if stop_at is not None or told is not None:
        hang_up(handler)
    return None


def hang_up(handler):
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def truncated(stop_at):
    """Says how long the file is, and breaks off."""
    return lambda handler: honest(handler, stop_at=stop_at)


def stalled(stop_at):
    """Sends a part, and then nothing for as long as the test takes."""

    def answer(handler):
        content = handler.site.files[handler.key]
        _begin(handler, 200, {"Content-Length": len(content), **_tag(handler, content)})
        handler.wfile.write(content[:stop_at])
        handler.wfile.flush()
        handler.site.closing.wait(30)
        handler.close_connection = True

    return answer


def slow(piece, pause_s):
    """Sends piece by piece."""

    def answer(handler):
        content = handler.site.files[handler.key]
        _begin(handler, 200, {"Content-Length": len(content), **_tag(handler, content)})
        for start in range(0, len(content), piece):
            handler.wfile.write(content[start : start + piece])
            handler.wfile.flush()
            if handler.site.closing.wait(pause_s):
                return

    return answer


def lying(told):
    """Says another length than it sends."""
    return lambda handler: honest(handler, told=told)


def status(code, **headers):
    """Answers with a status alone."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return lambda handler: _begin(handler, code, {"Content-Length": 0, **named})


def redirect(to):
    return status(302, Location=to)


def without_ranges(handler):
    """Sends the whole file whatever was asked for."""
    handler.headers.__delitem__("Range")
    honest(handler)


def careless(handler):
    """Sends the range that was asked for, of whatever version it has by now."""
    handler.headers.replace_header(
        "If-Range", _tag(handler, handler.site.files[handler.key])["ETag"]
    )
    honest(handler)


def elsewhere(handler):
    """Sends as many bytes as were asked for, but from another place."""
    content = handler.site.files[handler.key]
    start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-")) - 1000
    span = f"bytes {start}-{len(content) - 1001}/{len(content)}"
    sent = content[start:-1000]
    _begin(
        handler,
        206,
        {"Content-Length": len(sent), "Content-Range": span, **_tag(handler, content)},
    )
    handler.wfile.write(sent)


def web_page(handler):
    page = b"<!DOCTYPE html><html><body>Please log in.</body></html>"
    _begin(handler, 200, {"Content-Length": len(page), "Content-Type": "text/html"})
    handler.wfile.write(page)


def chunked(stop_at=None):
    """Does not say how long the file is, but where it ends; not even that, if it stops."""

    def answer(handler):
        content = handler.site.files[handler.key]
        _begin(handler, 200, {"Transfer-Encoding": "chunked", **_tag(handler, content)})
        for start in range(0, len(content[:stop_at]), 50_000):
            piece = content[:stop_at][start : start + 50_000]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if stop_at is None:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            hang_up(handler)

    return answer


def compressed(handler):
    """Compresses the file on the way, though it was asked not to."""
    packed = gzip.compress(handler.site.files[handler.key], 1)
    _begin(handler, 200, {"Content-Length": len(packed), "Content-Encoding": "gzip"})
    handler.wfile.write(packed)


def endless(handler):
    """Says neither how long the file is nor where it ends."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(handler.site.files[handler.key][:1000])
    hang_up(handler)


def later(seconds):
    """A date as `Retry-After` may have it."""
    return formatdate(time.time() + seconds, usegmt=True)
