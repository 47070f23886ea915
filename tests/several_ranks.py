"""Runs a function in several processes that are connected as torchrun connects them, over loopback alone."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import sys

import torch

SECONDS = 180


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def environment_of(rank, num_ranks, *, port=0, num_nodes=1):
    """What torchrun puts into the environment of a process."""
    per_node = num_ranks // num_nodes
    return {
        "TORCHELASTIC_RUN_ID": "test",
        "RANK": str(rank),
        "WORLD_SIZE": str(num_ranks),
        "LOCAL_RANK": str(rank % per_node),
        "LOCAL_WORLD_SIZE": str(per_node),
        "GROUP_RANK": str(rank // per_node),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        **({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}),
    }


def in_ranks(function, num_ranks, *arguments, folder):
    """Calls a module's function in so many processes; returns what each returns, or the error that it raises."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kinema.engine.training.train"])
    port = free_port()
    files = [folder / f"rank{rank}.pickle" for rank in range(num_ranks)]
    processes = [
        context.Process(target=_work, args=(function, environment_of(rank, num_ranks, port=port), arguments, file))
        for rank, file in enumerate(files)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(SECONDS)
        assert not any(process.is_alive() for process in processes), "the processes wait for each other"
    finally:
        for process in processes:
            process.kill()
            process.join()
    return [pickle.loads(file.read_bytes()) if file.exists() else None for file in files]


def _work(function, environment, arguments, file):
    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        result = function(*arguments)
    except Exception as error:
        result = error
    file.write_bytes(pickle.dumps(result))
