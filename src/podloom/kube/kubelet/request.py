"""The requests a node makes to its pods: an HTTP GET and a TCP connection, as cheap as they can be.

The problem: thirty pods with probes every few seconds on ten nodes. A probe needs a status line and nothing else,
so it is one connection, one write and one read, without an HTTP library's sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from typing import Any

from podloom.model.versions import MAJOR, MINOR

_BODY_MAX = 10 * 1024


def _tls() -> ssl.SSLContext:
    """Certificates of pods are not checked (Kubernetes docs, "HTTP probes")."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def http_get(action: Mapping[str, Any], host: str, port: int, timeout_s: float) -> tuple[bool, str]:
    """(200 <= status < 400, what went wrong)."""
    secure = (action.get("scheme") or "HTTP").upper() == "HTTPS"
    path = action.get("path") or "/"
    shown = f"[{host}]" if ":" in host else host
    url = f'Get "{"https" if secure else "http"}://{shown}:{port}{path}"'
    try:
        async with asyncio.timeout(timeout_s):
            status, body = await _exchange(action, host, port, path, secure)
    except TimeoutError:
        return False, f"{url}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    except (OSError, ssl.SSLError) as e:
        return False, f"{url}: dial tcp {shown}:{port}: connect: {_words(e)}"
    except (ValueError, asyncio.IncompleteReadError):
        return False, f"{url}: malformed HTTP response"
    if 200 <= status < 400:
        return True, body
    return False, f"HTTP probe failed with statuscode: {status}"


async def _exchange(action: Mapping[str, Any], host: str, port: int, path: str, secure: bool) -> tuple[int, str]:
    headers = {
        "host": f"{host}:{port}",
        "user-agent": f"kube-probe/{MAJOR}.{MINOR}",
        "accept": "*/*",
        "connection": "close",
    }
    headers |= {one["name"].lower(): str(one.get("value", "")) for one in action.get("httpHeaders") or ()}
    path = path if path.startswith("/") else f"/{path}"
    text = f"GET {path} HTTP/1.1\r\n" + "".join(f"{key}: {value}\r\n" for key, value in headers.items()) + "\r\n"
    reader, writer = await asyncio.open_connection(host, port, ssl=_tls() if secure else None)
    try:
        writer.write(text.encode())
        status = await reader.readline()
        parts = status.split(None, 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/"):
            raise ValueError("no status line")
        return int(parts[1]), ""
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            if writer.transport is not None:
                writer.transport.abort()


async def tcp_connect(host: str, port: int, timeout_s: float) -> tuple[bool, str]:
    """(connected, what went wrong)."""
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return False, f"dial tcp {host}:{port}: i/o timeout"
    except OSError as e:
        return False, f"dial tcp {host}:{port}: connect: {_words(e)}"
    writer.close()
    return True, ""


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
