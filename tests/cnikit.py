"""A container runtime's CNI side, for tests: runs a configuration list the way libcni does.

Each plugin gets its own part of the list with the list's name and version, the result so far as prevResult, and of
what the caller asks (capability arguments) only what the plugin declares, as runtimeConfig. DEL goes backwards with
the kept result. A test that passes here passes with what containerd, CRI-O and podman do.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SPEC_VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")


class CniError(Exception):
    """A plugin refused: its name and its error document."""

    def __init__(self, plugin: str, body: dict[str, Any]) -> None:
        super().__init__(f"{plugin}: {body}")
        self.plugin, self.body = plugin, body
        self.code = body.get("code")


@dataclass
class Runtime:
    """`inside` turns a command into one that runs on the node; `path` is CNI_PATH."""

    conflist: dict[str, Any]
    path: list[Path]
    inside: Callable[..., list[str]]
    environment: dict[str, str] = field(default_factory=dict)
    results: dict[tuple[str, str], Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        return str(self.conflist["cniVersion"])

    def validate(self) -> None:
        """VERSION of every plugin, as runtimes probe before they use a list."""
        for plugin in self.conflist["plugins"]:
            answer = self._exec(plugin["type"], "VERSION", {"cniVersion": self.version}, {})
            assert self.version in answer["supportedVersions"], plugin["type"]

    def add(self, container: str, *, ifname: str = "eth0", args: str = "", **capabilities: Any) -> Any:
        """ADD of the whole list; a failure leaves the DEL to the caller, as libcni does."""
        result = None
        for plugin in self.conflist["plugins"]:
            config = self._configuration(plugin, capabilities, result)
            result = self._exec(plugin["type"], "ADD", config, _variables(container, ifname, args))
            self.results[container, ifname] = result
        return result

    def check(self, container: str, *, ifname: str = "eth0", args: str = "", **capabilities: Any) -> None:
        for plugin in self.conflist["plugins"]:
            config = self._configuration(plugin, capabilities, self.results[container, ifname])
            self._exec(plugin["type"], "CHECK", config, _variables(container, ifname, args))

    def delete(self, container: str, *, ifname: str = "eth0", args: str = "", netns: bool = True, **asked: Any) -> None:
        """DEL, backwards; without `netns` as the last DELs come: no namespace and no result."""
        result = self.results.get((container, ifname)) if netns and self._since("0.4.0") else None
        for plugin in reversed(self.conflist["plugins"]):
            variables = _variables(container, ifname, args) | ({} if netns else {"CNI_NETNS": ""})
            self._exec(plugin["type"], "DEL", self._configuration(plugin, asked, result), variables)

    def whole(self, command: str, **more: Any) -> None:
        """GC or STATUS: each plugin, of lists of 1.1.0 on."""
        for plugin in self.conflist["plugins"]:
            self._exec(plugin["type"], command, {**self._configuration(plugin, {}, None), **more}, {})

    def _configuration(self, plugin: dict[str, Any], asked: dict[str, Any], result: Any) -> dict[str, Any]:
        config = {**plugin, "name": self.conflist["name"], "cniVersion": self.version}
        declared = {key for key, value in plugin.get("capabilities", {}).items() if value}
        passed = {key: value for key, value in asked.items() if key in declared}
        config |= {"runtimeConfig": passed} if passed else {}
        return config | ({"prevResult": result} if result is not None else {})

    def _since(self, version: str) -> bool:
        return SPEC_VERSIONS.index(self.version) >= SPEC_VERSIONS.index(version)

    def _exec(self, plugin: str, command: str, config: dict[str, Any], environment: dict[str, str]) -> Any:
        program = next(folder / plugin for folder in self.path if (folder / plugin).exists())
        variables = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "CNI_COMMAND": command,
            "CNI_PATH": ":".join(map(str, self.path)),
            **environment,
            **self.environment,
        }
        done = subprocess.run(
            self.inside("env", "-i", *(f"{k}={v}" for k, v in variables.items()), str(program)),
            input=json.dumps(config),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        body = json.loads(done.stdout) if done.stdout.strip() else None
        if done.returncode:
            raise CniError(plugin, body or {"msg": done.stderr})
        return body


def _variables(container: str, ifname: str, args: str) -> dict[str, str]:
    return {
        "CNI_CONTAINERID": container,
        "CNI_NETNS": f"/run/netns/{container}",
        "CNI_IFNAME": ifname,
        "CNI_ARGS": args,
    }
