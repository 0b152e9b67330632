"""The store: the folder of a run, and what its cells found.

    OUT/  experiment.toml  experiment.json  run.lock  run.lock.json  index.sqlite  report.html
          cells/<hash>/  cell.json  metrics.jsonl  edits.bin  checkpoint-{a,b}.safetensors
                         saved-<step>.safetensors  levels/<NN>.safetensors  error.json

The truth is in ``cells``: an append-only ``metrics.jsonl`` each, one JSON object per line.
``index.sqlite`` is a cache of it, rebuilt whenever it is missing, stale or damaged. A cell is
finished when its last line is a complete ``end`` event.

The order that makes a cell resumable: append metrics and edits, `CellStore.sync`, then save a
checkpoint that holds both sizes; at resume load the checkpoint, then `AppendFile.truncate` both
files to the sizes in it.

Nothing that is read is executed or trusted: see `disk`. Only what reads or writes tensors imports
torch. `disk` holds the files, `folder` the run and its cells, `database` the results.
"""

from .database import (
    EVAL_FIELDS,
    OWN_WORLD_ROW_FIELDS,
    ROW_FIELDS,
    SPIKES_ROW_FIELDS,
    SPIKING_EVAL_FIELDS,
    SPIKING_ROW_FIELDS,
    TIMES,
    TRANSFER_FIELDS,
    Row,
    evals,
    index,
    results,
    to_csv,
    to_json,
    without_times,
)
from .disk import AppendFile, read_json, write_atomic, write_json
from .folder import CellStore, Run, cell_hash
from .queries import described_cells, query, tables

__all__ = [
    "EVAL_FIELDS",
    "OWN_WORLD_ROW_FIELDS",
    "ROW_FIELDS",
    "SPIKING_EVAL_FIELDS",
    "SPIKES_ROW_FIELDS",
    "TRANSFER_FIELDS",
    "SPIKING_ROW_FIELDS",
    "TIMES",
    "AppendFile",
    "CellStore",
    "Row",
    "Run",
    "cell_hash",
    "described_cells",
    "evals",
    "index",
    "query",
    "read_json",
    "results",
    "tables",
    "to_csv",
    "to_json",
    "without_times",
    "write_atomic",
    "write_json",
]
