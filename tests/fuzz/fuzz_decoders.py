"""Coverage-guided fuzzing of every decoder: `python tests/fuzz/fuzz_decoders.py -max_total_time=N`.

- Needs atheris (`make fuzz` sees to it); further arguments are libFuzzer's: https://llvm.org/docs/LibFuzzer.html
- What was reached is kept in `build/fuzz`, where the next run goes on. An input that raised anything but a
  `DriverError`, or took ten seconds, is written there too, and the run ends with a traceback.
- A finding, once mended, goes into `FOUND` of `tests/fuzz/test_decoders.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["drivers", "pynmeagps", "pyubx2"]):
    from tests.fuzz import decoders
from tests.fuzz.seeds import SEEDS

FOLDER = Path(__file__).resolve().parents[2] / "build" / "fuzz"


def main() -> None:
    corpus = FOLDER / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, (name, data) in enumerate(SEEDS):
        (corpus / f"seed-{number}").write_bytes(decoders.input_for(name, data))
    for number in range(len(decoders.DECODERS)):
        (corpus / f"empty-{number}").write_bytes(bytes([number]))
    standard = ["-timeout=10", "-max_len=1024", "-verbosity=0", "-print_final_stats=1"]
    standard.append(f"-artifact_prefix={FOLDER}/")
    atheris.Setup([sys.argv[0], *standard, *sys.argv[1:], str(corpus)], decoders.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
