"""The CNI configuration list of an overlay node (azure-behaviour.md section 1).

The problem: a runtime starts using the network the moment this file appears, so the agent writes it only when it can
serve; and portmap is a plugin of the distribution that may be absent, in which case a list that names it would
fail every pod.
"""

from __future__ import annotations

from typing import Any

import orjson

FILE_NAME = "15-azure-swift-overlay.conflist"


def overlay_conflist(*, portmap: bool, name: str = "azure") -> dict[str, Any]:
    """The overlay list: azure-vnet transparent with azure-cns overlay addresses, then portmap when installed."""
    plugins: list[dict[str, Any]] = [
        {
            "type": "azure-vnet",
            "mode": "transparent",
            "ipam": {"type": "azure-cns", "mode": "overlay"},
        }
    ]
    if portmap:
        plugins.append({"type": "portmap", "capabilities": {"portMappings": True}, "snat": True})
    return {"cniVersion": "0.3.0", "name": name, "plugins": plugins}


def render_conflist(conflist: dict[str, Any]) -> bytes:
    """The file's bytes, indented for people."""
    return orjson.dumps(conflist, option=orjson.OPT_INDENT_2) + b"\n"
