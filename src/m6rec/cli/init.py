"""`m6rec init`: a commented configuration from the user's own files. Asks nothing; every guess says why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from m6rec.base.errors import ConfigError, DataError, UsageError
from m6rec.cli.options import DryRun, Json
from m6rec.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from m6rec.data.proposal import Proposal

CHECKED_BYTES = 64 << 20  # files that are smaller together are read whole, to see that the configuration holds


def init(
    sources: Annotated[list[Path], typer.Argument(metavar="FILE_OR_FOLDER", help="Your tables: events, items, users, texts.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The configuration to write.")] = Path("shop.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Write a configuration from your own files: which is which table, columns, types, times, split. Every guess stands with its reason.

    Reads CSV, TSV, JSON Lines and Parquet, plain or .gz; of large files a sample.
    """
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder; name a file, for example {out / 'shop.yaml'}")
    if out.exists() and not force and not dry_run:
        raise UsageError(f"{out} exists; add --force to replace it, or name another with --out")
    from m6rec.base.storage import atomic_file
    from m6rec.data.proposal import propose

    proposal = propose(sources, out.parent)
    text = proposal.text(out.name)
    facts, failure = _tried(proposal, text, out)
    if failure and not dry_run:
        raise DataError(f"the guessed configuration does not hold: {failure}. To edit it by hand: m6rec init ... --dry-run > {out}")
    if not dry_run:
        with atomic_file(out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if as_json:
        print_json({"config": proposal.config(), "checks": proposal.checks(), "unused": proposal.unused, "written": not dry_run, **facts})
        return
    if dry_run:
        print(text, end="")
        return
    print_lines([f"wrote {out}, from {len(proposal.used)} files" + (f"; {len(proposal.unused)} are not used" if proposal.unused else "")])
    print_lines([proposal.hint] if proposal.hint else [])
    print_lines(f"check {line}" for line in proposal.checks())
    print_lines(["", *facts["lines"]] if facts else ["the files are large and were sampled only: m6rec validate reads them whole"])
    print_lines(["", f"next: m6rec validate {out}, then m6rec train {out}"])


def _tried(proposal: Proposal, text: str, out: Path) -> tuple[dict[str, Any], str]:
    """What the data decide, and why the configuration fails ("" where it holds). Nothing where the files are too large to read."""
    from m6rec.base.strict_yaml import read_yaml
    from m6rec.cli.decisions import decision_lines, decisions
    from m6rec.config import M6RecConfig
    from m6rec.data.prepare import prepare
    from m6rec.data.splits import split

    settled = M6RecConfig.build(read_yaml(text, str(out)), source=str(out))
    if sum(path.stat().st_size for path in proposal.used) > CHECKED_BYTES:
        return {}, ""
    try:
        dataset, _ = prepare(settled.data, settled.fields, settled.scenarios, out.parent)
        cut = split(dataset, settled.split, settled.seed)
    except (DataError, ConfigError) as error:
        return {}, str(error)
    found = decisions(settled, dataset, cut)
    sizes = f"{len(dataset.users):,} users, {len(dataset.items):,} items, {len(dataset.histories.items):,} events; {cut.statement}"
    return {"decisions": found, "lines": [sizes, "", *decision_lines(found)]}, ""
