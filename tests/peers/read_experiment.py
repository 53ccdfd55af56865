"""Run by a suite's own interpreter: print as JSON what an experiment that nkululeko stored answers, or versions of packages.

python -P read_experiment.py answers EXPERIMENT.pkl
python -P read_experiment.py versions PACKAGE...
"""

from __future__ import annotations

import importlib.metadata
import json
import pickle
import sys
from pathlib import Path
from typing import Any


def main(arguments: list[str]) -> None:
    """Print the answer on the last line."""
    if arguments[0] == "versions":
        print(json.dumps([[name, importlib.metadata.version(name)] for name in arguments[1:]]))
        return
    with Path(arguments[1]).open("rb") as stream:
        state: Any = pickle.load(stream)  # made by the command before this one
    model, names = state["runmgr"].modelrunner.model, list(state["label_encoder"].classes_)
    rows = zip(model.truths.items(), model.preds, strict=True)
    print(
        json.dumps(
            [
                [str(key[0] if isinstance(key, tuple) else key), names[int(truth)], names[int(answer)]]
                for (key, truth), answer in rows
            ]
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
