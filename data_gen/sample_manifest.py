"""The manifest of a sample, where one is asked for: in the form of a mix's, so that cards and training read it, too.

A mix always has one. For a sample it is a choice, since the sha256 of a large file takes longer than drawing from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from data_gen.inputs import open_inputs
from data_gen.mix_manifest import Inputs, inputs_of, manifest_path, output_of
from data_gen.outputs import Together, check_output
from data_gen.provenance import effective_licence, overlaps, versions
from data_gen.registry import locate
from data_gen.sampling import Summary

FORMAT = "sample 1"
ABOUT = "Rows drawn by 'distill sample'."


class SampleManifest:
    """`manifest = SampleManifest(..)` refuses wrong inputs; `sample_rows(.., beside=manifest.write)` writes it."""

    def __init__(
        self,
        inputs: Sequence[str],
        out: Path,
        options: Mapping[str, Any],
        *,
        columns: Mapping[str, str] | None = None,
        data_dir: str | None = None,
        heldout: Path | None = None,
        force: bool = False,
    ) -> None:
        self.out, self.options, self.heldout = out, dict(options), heldout
        self.path = manifest_path(out)
        check_output(self.path, force)
        sources = open_inputs(inputs, columns, data_dir)
        files = {
            str(n): [(file, locate(source, file, data_dir)) for file in source.files]
            for n, source in enumerate(sources)
        }
        self.inputs: Inputs = inputs_of(files, [], None)

    def write(self, summary: Summary, files: Together) -> None:
        """Write it beside the rows, which are about to take their names."""
        self.inputs.check_unchanged()
        sources = {taken.source.id: taken.source for taken in summary.taken}
        found = {
            "format": FORMAT,
            "name": self.out.stem,
            "about": ABOUT,
            "seed": self.options.get("seed", 0),
            "recipe": self.options,
            "rows": summary.rows,
            "sources": [
                {
                    "id": taken.source.id,
                    "title": taken.source.title,
                    "language": taken.source.language,
                    "licence": {"spdx": licence.spdx, "note": licence.note, "noncommercial": licence.noncommercial},
                    "verified": taken.source.verified,
                    "rows_in": taken.rows_in,
                    "taken": taken.taken,
                    "dropped": taken.dropped,
                    "files": inputs,
                }
                for taken, inputs in zip(summary.taken, self.inputs.sources.values(), strict=True)
                for licence in [taken.source.licence]
            ],
            "unreadable": summary.tally.total,
            "licence": effective_licence(sources),
            "overlaps": overlaps(sources),
            "output": output_of(self.out, files.part(self.out)),
            "versions": versions(),
        }
        if self.heldout is not None:
            found["heldout"] = output_of(self.heldout, files.part(self.heldout)) | {"rows": summary.heldout}
        write = files.open(self.path)
        write(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
