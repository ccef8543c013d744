# SPDX-License-Identifier: Apache-2.0
"""Worker processes: JAX fixes the number of its devices when it starts, so each layout has its own.

Processes on one machine talk over loopback by gloo. `start` is what any program that runs on
several of them calls first; the two timeouts are what ends it soon after another has died.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import AxisType, Mesh

ROOT = Path(__file__).resolve().parents[2]

HEARTBEAT = 20
"""Seconds without a sign of life after which a process is given up; JAX's default is 100."""

LIMIT = 900
"""Seconds that a layout may take, compiling included."""


class WorkerError(RuntimeError):
    """A worker failed; the message holds the end of what it said."""


class Layout(NamedTuple):
    """How many devices, over how many processes."""

    devices: int
    processes: int = 1

    @property
    def name(self) -> str:
        if self.processes == 1:
            return f"{self.devices} devices" if self.devices > 1 else "1 device"
        return f"{self.processes} processes x {self.devices // self.processes} devices"


def start(layout: Layout, index: int = 0, port: int = 0, *, heartbeat: int = HEARTBEAT) -> None:
    """Set JAX up in this process; to be called before anything touches a device.

    Args:
        layout: of the whole run.
        index: which of the processes this is.
        port: where process 0 listens, on this machine.
        heartbeat: seconds without a sign of life after which a process is given up, and that one
            which ends waits for the others.
    """
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", layout.devices // layout.processes)
    if layout.processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            f"127.0.0.1:{port}",
            layout.processes,
            index,
            heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=heartbeat,
        )


def make_mesh(devices: int) -> Mesh:
    """Lay all devices along one axis."""
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))


def free_port() -> int:
    """Find a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def worker(module: str, spec: Mapping[str, Any], layout: Layout) -> None:
    """Run `python -m module SPEC INDEX PORT` in as many processes as the layout has.

    Raises:
        WorkerError: one of them failed, or they took too long; none is left running.
    """
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    port = free_port()
    running = [
        subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(dict(spec)), str(index), str(port)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(layout.processes)
    ]
    try:
        said = [process.communicate(timeout=LIMIT)[0] for process in running]
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"{layout.name}: no end after {LIMIT} s") from error
    finally:
        for process in running:
            process.kill()
            process.wait()
    for process, text in zip(running, said, strict=True):
        if process.returncode:
            raise WorkerError(f"{layout.name}: exit {process.returncode}\n{text[-2000:]}")
