"""A server of attempts to kill: ``rewire`` commands forked from one process that knows torch.

Reads a command per line (arguments and environment, as JSON), runs it in a forked session of its
own, prints that process's id and, when it has ended, how. Importing torch for every attempt would
take longer than the attempts; so would drawing their reports, which are left out.
"""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def serve():
    import torch

    from rewire.experiments import cli, report, runner  # noqa: F401

    report.write_report = lambda out: (out / "report.html").touch()
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1)])
    gc.freeze()
    for line in sys.stdin:
        command, environment = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setsid()
                os.environ.update(environment)
                output = os.open(
                    os.environ["ATTEMPT_OUTPUT"], os.O_WRONLY | os.O_CREAT | os.O_APPEND
                )
                os.dup2(output, 1)
                os.dup2(output, 2)
                code = cli.main(command)
                sys.stdout.flush()
            finally:
                os._exit(code)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


class Attempts:
    """The test's side. One attempt at a time."""

    def __init__(self, folder):
        self.output = Path(folder) / "output.txt"
        environment = {"OMP_NUM_THREADS": "1", "ATTEMPT_OUTPUT": str(self.output)}
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def start(self, *command, **environment):
        """Start a command; returns its process id once it runs."""
        line = json.dumps([[str(part) for part in command], environment])
        self.server.stdin.write(line + "\n")
        self.server.stdin.flush()
        self.pid = int(self.server.stdout.readline())
        return self.pid

    def end(self):
        """The exit code; negative for the signal that killed it."""
        return int(self.server.stdout.readline())

    def run(self, *command, **environment):
        self.start(*command, **environment)
        return self.end()

    def workers(self):
        """Process ids of the attempt's children, now."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
            return [int(pid) for pid in children.split()]
        except OSError:
            return []

    def kill(self, victim):
        """SIGKILL the "parent", its whole "group", or one "worker"; whether anybody was there."""
        with contextlib.suppress(ProcessLookupError):
            if victim == "worker":
                workers = self.workers()
                for pid in workers[:1]:
                    os.kill(pid, signal.SIGKILL)
                return bool(workers)
            (os.killpg if victim == "group" else os.kill)(self.pid, signal.SIGKILL)
            return True
        return False

    def close(self):
        self.server.stdin.close()
        self.server.wait(timeout=60)

    def said(self):
        return self.output.read_text(errors="replace") if self.output.exists() else ""


if __name__ == "__main__":
    serve()
