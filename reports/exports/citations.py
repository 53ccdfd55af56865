"""BibTeX of the corpora: an entry for each, made of its card, that BibTeX takes without a warning."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bench.cards.corpus import CorpusCard
from bench.cards.registry import corpus_cards
from bench.scoring.records import Record
from bench.storage.hashing import digest
from reports.exports.latex import tex


@dataclass(frozen=True)
class Citation:
    """What a card's citation says, as far as it says it: ``Authors: Title. Venue, Year``."""

    authors: tuple[str, ...]
    """Surnames; ``others`` last where there are more."""
    title: str
    venue: str
    year: str
    doi: str
    arxiv: str


def parse_citation(text: str) -> Citation:
    """Take a citation apart. What it does not say stays blank: nothing is made up.

    >>> parse_citation("Christop: nEMO: Dataset of Emotional Speech in Polish. LREC-COLING 2024")
    Citation(authors=('Christop',), title='nEMO: Dataset of Emotional Speech in Polish', venue='LREC-COLING', year='2024', doi='', arxiv='')
    >>> parse_citation("THAI-SER corpus. arXiv 2507.09618").authors
    ()
    """
    doi = re.search(r"\b10\.\d{4,9}/[^\s,;\"'{}\\%#]+", text)
    arxiv = re.search(r"\barXiv[ :]?(\d{4}\.\d{4,5})", text)
    # An identifier holds digits that are no year.
    plain = re.sub(r"\(?\b(?:doi:? ?10\.\S+|arXiv[ :]?\d{4}\.\d{4,5})\)?", "", text)
    years = re.findall(r"\b(?:19|20)\d\d\b", plain)
    before, colon, after = plain.partition(": ")
    authors = _authors(before) if colon else ()
    title, *rest = re.split(r"(?<!\bvs)\. ", after if authors else plain, maxsplit=1)
    venue = rest[0] if rest else ""
    year = years[-1] if years else ""
    if not venue and not authors:
        title, _, venue = title.partition(", ")
    if year:
        venue = re.sub(rf"[\s,]*\b{year}\b[\s,.]*", " ", venue)
    return Citation(
        authors,
        title.strip(" .,"),
        venue.strip(" .,"),
        year,
        doi[0].rstrip(".") if doi else "",
        arxiv[1] if arxiv else "",
    )


def _authors(text: str) -> tuple[str, ...]:
    """Surnames before the colon; blank where what stands there is a name of something else."""
    several = text.endswith(" et al.")
    names = [n.strip() for n in text.removesuffix(" et al.").split(",")]
    alone = len(names) == 1 and not several
    # One word in front of a colon is an author only where it is written like a name: ESD and MERaLiON-SER are not.
    if alone and not (names[0].istitle() and names[0].isalpha()):
        return ()
    if any(not n[:1].isupper() or any(c.isdigit() for c in n) for n in names):
        return ()
    return (*names, "others") if several else tuple(names)


def bibtex(records: Iterable[Record]) -> str:
    """An entry for every corpus that was tested on or learnt from, as far as its card cites it."""
    cards: dict[str, CorpusCard] = {}
    shipped = corpus_cards()
    for record in records:
        cards.setdefault(record.facts.corpus, record.facts.corpus_card)
        for source in record.facts.sources:
            name = source.task.rpartition(".")[0]
            if name in shipped:
                cards.setdefault(name, shipped[name])
    taken: set[str] = set()
    return "".join(_entry(_key(name, taken), name, card) for name, card in sorted(cards.items()))


def _key(name: str, taken: set[str]) -> str:
    """A key that no other entry has; BibTeX takes capitals for small letters there."""
    plain = re.sub(r"[^A-Za-z0-9.:+-]", "-", name)
    key = f"{plain}-{digest(name, length=4)}" if plain.lower() in taken else plain
    taken.add(key.lower())
    return key


def _entry(key: str, name: str, card: CorpusCard) -> str:
    cited = parse_citation(card.citation)
    shown = card.title or name
    title = cited.title or shown
    note = (
        f"Corpus {shown}; licence: {card.licence or 'unknown'}"
        if title != shown
        else f"Licence: {card.licence or 'unknown'}"
    )
    address = re.match(r"https?://[^\s\"'{}\\%]+", card.source)
    # Styles sort by author, or by key where there is none; without either BibTeX warns.
    who = (
        {"author": " and ".join("others" if a == "others" else f"{{{tex(a)}}}" for a in cited.authors)}
        if cited.authors
        else {"key": tex(name)}
    )
    fields = {
        **who,
        "title": f"{{{tex(title)}}}",
        "howpublished": tex(cited.venue),
        "year": cited.year or "n.d.",
        "note": tex(note),
        "doi": cited.doi,
        "eprint": cited.arxiv,
        "archiveprefix": "arXiv" if cited.arxiv else "",
        "url": address[0] if address else "",
    }  # fmt: skip
    body = "".join(f"  {k} = {{{v}}},\n" for k, v in fields.items() if v)
    return f"@misc{{{key},\n{body}}}\n\n"
