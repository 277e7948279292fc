"""Starts the service in the foreground: checks, progress, and what to call once it is up.

python -m deployments.start --config serve_config.yaml
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.live import Live
from rich.table import Table

from app.config import FleetConfig, Keys, Role, load_config
from app.errors import ConfigError
from app.security.secrets import ADMIN_KEY_FILE, ADMIN_KEY_VARIABLE
from deployments.environment import serve_environment

LOG_FILE = Path(".tidegate/serve.log")
READY_TIMEOUT_S = 900.0
STOP_TIMEOUT_S = 90.0
POLL_S = 0.5

console = Console()


def main(
    config: Annotated[Path, typer.Option(help="The Serve configuration to run.")] = Path(
        "serve_config.yaml"
    ),
) -> None:
    """Start the service and stay in the foreground; Ctrl-C stops it.

    Example: python -m deployments.start --config serve_config.yaml
    """
    try:
        fleet = load_config(config)
    except (ConfigError, OSError, yaml.YAMLError) as error:
        console.print(f"[red]{config}[/red]: {error}", markup=True, highlight=False)
        raise typer.Exit(1) from None
    address = _address(config)
    _check_free(*address)
    process, log = _launch(config)
    try:
        _wait_ready(process, address, fleet)
        _announce(address, fleet)
        code = process.wait()
        _fail(f"the service ended with exit code {code}", log)
    except KeyboardInterrupt:
        console.print("stopping: requests that run are finished first ...")
    finally:
        _stop(process)


def _address(config: Path) -> tuple[str, int]:
    options = (yaml.safe_load(config.read_text()) or {}).get("http_options") or {}
    return options.get("host", "127.0.0.1"), int(options.get("port", 8000))


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            console.print(
                f"[red]port {port} on {host} cannot be used[/red]: {error.strerror}. Stop what "
                "listens there, or set another http_options.port in the configuration."
            )
            raise typer.Exit(1) from None


def _launch(config: Path) -> tuple[subprocess.Popen[bytes], Path]:
    LOG_FILE.parent.mkdir(exist_ok=True)
    environment = os.environ | serve_environment()
    # A cluster of one's own, unless told otherwise: another one would lack this environment.
    address = os.environ.get("RAY_ADDRESS", "local")
    serve_command = Path(sys.executable).with_name("serve")
    with LOG_FILE.open("wb") as log:
        # A session of its own, so that Ctrl-C reaches only this process, which then stops the
        # service in order.
        process = subprocess.Popen(
            [str(serve_command), "run", "--address", address, str(config)],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - there are no threads yet
        )
    console.print(f"starting Ray Serve (process {process.pid}), log in {LOG_FILE}")
    return process, LOG_FILE


def _heed_interrupts() -> None:
    # A shell that starts this in the background has SIGINT ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _wait_ready(
    process: subprocess.Popen[bytes], address: tuple[str, int], fleet: FleetConfig
) -> None:
    begun = time.monotonic()
    with Live(console=console, refresh_per_second=4) as live:
        while True:
            ready, state = _readiness(address)
            live.update(_progress(state, fleet, time.monotonic() - begun))
            if ready:
                return
            refused = [s for s in state.get("starting", []) if s["stage"] == "refused"]
            if refused:
                _fail(_refusal(refused[0], fleet), LOG_FILE)
            if process.poll() is not None:
                _fail(f"the service ended with exit code {process.returncode}", LOG_FILE)
            if time.monotonic() - begun > READY_TIMEOUT_S:
                _fail(f"the service was not ready within {READY_TIMEOUT_S:.0f} s", LOG_FILE)
            time.sleep(POLL_S)


def _readiness(address: tuple[str, int]) -> tuple[bool, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/readyz", timeout=5) as reply:
            return True, json.load(reply)
    except urllib.error.HTTPError as error:
        try:
            return False, json.load(error)
        except ValueError:
            return False, {}
    except (OSError, ValueError):
        return False, {}


def _progress(state: dict[str, Any], fleet: FleetConfig, elapsed: float) -> Table:
    table = Table(title=f"{elapsed:.0f} s", title_justify="left")
    for column in ("pool", "zone", "size classes", "market", "ready", "starting"):
        table.add_column(column)
    ready = {(p["pool"], p["market"]): p["ready"] for p in state.get("pools", [])}
    for deployed in fleet.deployments():
        pool, market = deployed.pool, deployed.market
        count = ready.get((deployed.group, market.value), 0)
        wanted = pool.markets[market].min_replicas
        colour = "green" if count >= wanted else "yellow"
        table.add_row(
            pool.name if deployed.role is Role.WHOLE else f"{pool.name} {deployed.role}",
            pool.zone,
            ", ".join(pool.size_classes),
            market.value,
            f"[{colour}]{count} of {wanted}[/{colour}]",
            ", ".join(
                _stage(start)
                for start in state.get("starting", [])
                if start["deployment"] == deployed.name
            ),
        )
    return table


def _refusal(start: dict[str, Any], fleet: FleetConfig) -> str:
    """Why a model is not loaded, and what says more of it."""
    pool = next(each.pool for each in fleet.deployments() if each.name == start["deployment"])
    model = fleet.model(pool.model)
    return (
        f"model {model.name!r} must not be loaded ({start['reason']}): `tidegate model verify "
        f"{model.source} --config CONFIG --model {model.name}` says in which file and why"
    )


def _stage(start: dict[str, Any]) -> str:
    """What a replica that starts is doing, such as `weights 40%`."""
    stage = str(start["stage"]).replace("_", " ")
    total = start.get("total", 0)
    return f"{stage} {100 * start['done'] // total}%" if total else stage


def _announce(address: tuple[str, int], fleet: FleetConfig) -> None:
    # Where there is no terminal, the table's last line is still open.
    console.print()
    authorization = _authorization(fleet)
    url = f"http://{address[0]}:{address[1]}"
    body = json.dumps(
        {
            "model": fleet.models[0].name,
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
        }
    )
    console.print(f"\n[green]ready[/green] on {url} (OpenAI API under {url}/v1). Try:\n")
    # Plain print: the line must survive copying, whatever the terminal's width.
    print(  # noqa: T201
        f"curl {url}/v1/chat/completions {authorization}-H 'content-type: application/json' "
        f"-d '{body}'",
        flush=True,
    )
    console.print(f"\nCtrl-C stops it. Log: {LOG_FILE}")


def _authorization(fleet: FleetConfig) -> str:
    """The part of a curl line that shows the admin key, without the key itself."""
    if fleet.access.keys is Keys.OFF:
        console.print("[yellow]keys are off[/yellow]: whoever can connect is served, unlimited")
        return ""
    file = Path(fleet.store.data_dir) / ADMIN_KEY_FILE
    if ADMIN_KEY_VARIABLE in os.environ:
        console.print(f"the admin key is the one in {ADMIN_KEY_VARIABLE}")
        return f'-H "Authorization: Bearer ${ADMIN_KEY_VARIABLE}" '
    console.print(f"the admin key is in {file}; `tidegate key create --help` makes others")
    return f'-H "Authorization: Bearer $(cat {shlex.quote(str(file))})" '


def _fail(reason: str, log: Path) -> None:
    tail = log.read_text(errors="replace").splitlines()[-25:]
    console.print("\n".join(tail), markup=False, highlight=False)
    console.print(f"[red]{reason}[/red]; the whole log is in {log}")
    raise typer.Exit(1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGINT, since Ray's handler of SIGTERM would leave agents behind."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        console.print("[red]the service did not stop in time and is killed[/red]")
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    typer.run(main)
