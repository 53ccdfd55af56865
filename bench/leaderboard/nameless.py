"""Records that were set aside, without the names on which guesses could be tried: they are compared with nothing any more."""

from __future__ import annotations

from pathlib import Path

from bench.scoring.record_schema import KEYED_SINCE, ClusterFold, Gap, SubgroupScore
from bench.scoring.records import read_record, write_record


def drop_names(path: Path) -> bool:
    """Number the clusters and speakers of a record from before names were keyed; all it says of scores stays.

    Args:
        path: the record, which is written anew.

    Returns:
        Whether it had names to drop.

    Raises:
        DataError: it is damaged.
    """
    record = read_record(path)
    facts = record.facts
    names = dict.fromkeys([*(c.name for c in facts.clusters), *facts.speaker_names])
    number = {name: f"{i:016x}" for i, name in enumerate(names)}
    if facts.schema_version >= KEYED_SINCE or all(name == plain for name, plain in number.items()):
        return False

    def of_slice(row: SubgroupScore) -> SubgroupScore:
        return (
            row.model_copy(update={"group": number.get(row.group, row.group)})
            if row.axis == "speaker"
            else row
        )

    def of_gap(row: Gap) -> Gap:
        ends = {end: number.get(getattr(row, end), getattr(row, end)) for end in ("best", "worst")}
        return row.model_copy(update=ends) if row.axis == "speaker" else row

    found = {
        "clusters": tuple(ClusterFold(name=number[c.name], fold=c.fold) for c in facts.clusters),
        "speaker_names": tuple(number[s] for s in facts.speaker_names),
        "slices": tuple(map(of_slice, facts.slices)),
        "gaps": tuple(map(of_gap, facts.gaps)),
    }
    update = {k: v for k, v in found.items() if k in facts.model_fields_set}
    write_record(path, facts.model_copy(update=update), [*record.blocks, *record.slices])
    return True
