"""The API server as a process: `python -m podloom.kube.api --data DIR --listen 127.0.0.1:6443 ...`."""

from __future__ import annotations

import gc
from pathlib import Path

import click
import uvloop

from podloom.drivers import log
from podloom.kube.api.contract import Settings
from podloom.kube.api.run import Listen, Options, serve

_FILE = click.Path(path_type=Path, dir_okay=False)


def _families(cidrs: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("IPv6" if ":" in c else "IPv4" for c in cidrs)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Directory of the database.")
@click.option("--listen", "listens", multiple=True, required=True, help="HOST:PORT or netns=NAME,HOST:PORT.")
@click.option("--tls-cert", type=_FILE)
@click.option("--tls-key", type=_FILE)
@click.option("--client-ca", type=_FILE, help="CA of client certificates.")
@click.option("--service-account-key", type=_FILE, help="PEM private key for service account tokens.")
@click.option("--service-account-issuer", default="https://kubernetes.default.svc.cluster.local")
@click.option("--service-cidr", default="10.0.0.0/16", help="One CIDR, or two of both families by comma.")
@click.option("--node-ports", default="30000-32767")
@click.option("--node-netns", default="", help="Network namespace from which kubelets are reached.")
@click.option("--kubelet-ca", type=_FILE)
@click.option("--kubelet-client-cert", type=_FILE)
@click.option("--kubelet-client-key", type=_FILE)
@click.option("--advertise", default="", help="HOST:PORT of the kubernetes service's endpoint.")
@click.option("--log-level", default="info")
def main(**given: object) -> None:
    """Serve the Kubernetes API from a SQLite database."""
    log.configure(str(given["log_level"]))
    cidrs = tuple(str(given["service_cidr"]).split(","))
    low, _, high = str(given["node_ports"]).partition("-")
    listens_given = given["listens"]
    texts = [str(t) for t in listens_given] if isinstance(listens_given, tuple) else []
    listen = [Listen.parse(text) for text in texts]

    def path(name: str) -> Path | None:
        found = given[name]
        return found if isinstance(found, Path) else None

    options = Options(
        data=path("data") or Path(),
        listen=listen,
        tls_cert=path("tls_cert"),
        tls_key=path("tls_key"),
        client_ca=path("client_ca"),
        service_account_key=path("service_account_key"),
        node_netns=str(given["node_netns"]),
        kubelet_ca=path("kubelet_ca"),
        kubelet_client_cert=path("kubelet_client_cert"),
        kubelet_client_key=path("kubelet_client_key"),
        advertise=_advertised(str(given["advertise"]), listen),
        settings=Settings(
            service_cidrs=cidrs,
            node_port_range=(int(low), int(high)),
            ip_families=_families(cidrs),
            service_account_issuer=str(given["service_account_issuer"]),
        ),
    )
    gc.freeze()
    uvloop.run(serve(options))


def _advertised(text: str, listen: list[Listen]) -> tuple[str, int] | None:
    """Where pods reach this server: as told, else the first listener inside a network namespace."""
    if text:
        told = Listen.parse(text)
        return told.host, told.port
    inside = [x for x in listen if x.netns]
    return (inside[0].host, inside[0].port) if inside else None


if __name__ == "__main__":
    main()
