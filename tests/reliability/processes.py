"""A second engine, which shares nothing with its cells but a folder: a new interpreter per attempt.

``python processes.py JOB`` is the other side: it does the attempt that JOB (as JSON) describes.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from rewire.experiments.engines.child import live
from rewire.experiments.engines.engine import Ended, Engine, Job


class Processes(Engine):
    def __init__(self, workers):
        super().__init__(workers)
        self.running = []

    def start(self, job):
        spec = {
            "cell": dataclasses.asdict(job.cell),
            "folder": str(job.folder),
            "parents": {role: str(folder) for role, folder in job.parents.items()},
            "work": job.work.__name__,
        }
        process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(spec)], stdout=subprocess.PIPE, bufsize=0
        )
        os.set_blocking(process.stdout.fileno(), False)
        self.running.append(Running(job, process))

    def poll(self):
        time.sleep(0.01)
        over = [one for one in self.running if one.process.poll() is not None]
        for one in self.running:
            one.pass_on_events(to_the_end=one in over)
        self.running = [one for one in self.running if one not in over]
        return [Ended(one.job, one.process.returncode) for one in over]

    def stop(self, *, now=False):
        for one in self.running:
            one.process.kill() if now else one.process.terminate()

    def close(self):
        self.stop(now=True)
        for one in self.running:
            one.process.wait()
            one.process.stdout.close()


@dataclasses.dataclass
class Running:
    job: Job
    process: subprocess.Popen
    partial: bytes = b""

    def pass_on_events(self, to_the_end):
        while chunk := self.process.stdout.read(65536):
            *lines, self.partial = (self.partial + chunk).split(b"\n")
            for line in lines:
                self.job.emit(json.loads(line))
            if not to_the_end:
                return
        if to_the_end:
            self.process.stdout.close()


def main():
    import chain

    spec = json.loads(sys.argv[1])
    cell = chain.ChainCell(**spec["cell"])
    parents = {role: Path(folder) for role, folder in spec["parents"].items()}
    work = getattr(chain, spec["work"])
    job = Job(cell, 1, Path(spec["folder"]), parents, work, lambda event: None, lambda: False)
    pipe = os.dup(1)
    os.set_blocking(pipe, False)
    sys.exit(live(job, pipe, os.getppid()))


if __name__ == "__main__":
    main()
