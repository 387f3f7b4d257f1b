"""The catalogues of the translations: take messages out of the sources, hand them to translators, check them.

    python scripts/translations.py                     update every catalogue from the sources
    python scripts/translations.py status              how much of each is translated
    python scripts/translations.py export PAGE         print what is open: @name kind, then the English text
    python scripts/translations.py import PAGE FILE    fill in answers: @name, then the translation, or = for "as it is"
    python scripts/translations.py site                make book/zh, and the source of the Chinese site in _build/zh-source
    python scripts/translations.py --check             change nothing; exit 1 if a catalogue is not that of the sources,
                                                       or a translation breaks a rule

A catalogue is translations/zh_CN/PAGE.po; a page is a file of book/ or assignments/ (as assignments-NAME), `stages`
(book/stages.yml), `site` (_config.yml, _toc.yml), `figures` (labels that come out of data), `widgets`, `words` (the frame
of the site: what `say` marks in book/_ext, book/_templates, book/_static and the scripts) or `playground`
(playground/src, its pictures). Translations of messages that stay are kept; a changed message keeps its old translation
marked "fuzzy", with the old text beside it, and counts as open.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from translated import catalogue, exchange, figures, markdown, site, values, words
from translated.catalogue import Message
from translated.rules import Rules

ROOT = Path(__file__).resolve().parents[1]
LANGUAGE = "zh_CN"
STAGED = ROOT / "_build" / "zh-source"
FOLDER = ROOT / "translations"


def sources(root: Path = ROOT) -> dict[str, Path]:
    """From a catalogue's name to its source."""
    found = {path.stem: path for path in sorted((root / "book").glob("*.md"))}
    found |= {f"assignments-{path.stem}": path for path in sorted((root / "assignments").glob("*.md"))}
    found |= {"stages": root / "book" / "stages.yml", "site": root / "_config.yml"}
    found |= {name: root / folders[0] for name, folders in MARKED.items()}
    return found | {"figures": root / "notebooks"}


# What `say` marks, by catalogue: folders and files.
MARKED = {
    "words": (
        "book/_ext", "book/_templates", "book/_static", "book/images/map.html", "scripts/published", "scripts/notebooks.py",
    ),
    "widgets": ("diffusion_tutorial/widgets", "diffusion_tutorial/plots", "diffusion_tutorial/landscape"),
    "playground": ("playground/src", "book/_ext/playground.py", "book/images/playground/stills.json"),
}  # fmt: skip


def marked(name: str, root: Path) -> Iterator[str]:
    """The messages of a catalogue of marked texts."""
    for place in MARKED[name]:
        path = root / place
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in files:
            if file.name == "playground.py" and name == "words":
                continue
            if file.suffix == ".json" and file == path:
                yield from values.leaves(json.loads(file.read_text(encoding="utf-8")))
            elif place.endswith("map.html"):
                yield from values.drawing(file.read_text(encoding="utf-8"))
            elif file.suffix in (".py", ".mjs", ".html"):
                yield from words.marked(file)


def messages(name: str, root: Path = ROOT) -> Iterator[Message]:
    """The messages of a catalogue's source, in order."""
    path = sources(root)[name]
    if name == "figures":
        own = {message.text for page in pages(root) for message in messages(page, root)}
        for text in figures.messages(path):
            if text not in own:
                yield Message(text, "figure")
    elif name in MARKED:
        for text in marked(name, root):
            yield Message(text, "value")
    elif path.suffix == ".md":
        for span in markdown.spans(path.read_text(encoding="utf-8")):
            yield Message(span.message, span.kind)
    else:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        for text in values.site(root) if name == "site" else values.leaves(tree):
            yield Message(text, "value")


def pages(root: Path) -> list[str]:
    """The catalogues of the book's pages."""
    return [
        name for name, path in sources(root).items() if path.parent == root / "book" and path.suffix == ".md"
    ]


def lexicon(language: str = LANGUAGE) -> str:
    """The words that the package ships, as JSON: those of figures and widgets."""
    found: dict[str, str] = {}
    for name in ("figures", "widgets"):
        found |= catalogue.translations(catalogue.read(path_of(name, language)))
    return json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def path_of(name: str, language: str = LANGUAGE) -> Path:
    return FOLDER / language / f"{name}.po"


def rules(language: str = LANGUAGE) -> Rules:
    return Rules.read(ROOT / "book" / "glossary.md", FOLDER / language / "terms.yml")


def update(name: str) -> bool:
    """Bring a catalogue up to its source; True if it changed."""
    path = path_of(name)
    return catalogue.save(catalogue.merged(messages(name), catalogue.read(path)), path)


def status(names: list[str]) -> None:
    everything = [0, 0, 0]
    for name in names:
        entries = [entry for entry in catalogue.read(path_of(name)) if not entry.obsolete]
        stale = sum("fuzzy" in entry.flags for entry in entries)
        counts = [sum(map(catalogue.done, entries)), len(entries), stale]
        everything = [a + b for a, b in zip(everything, counts, strict=True)]
        print(f"{name:28} {counts[0]:5} of {counts[1]:5} translated, {stale} stale")
    print(f"{'all':28} {everything[0]:5} of {everything[1]:5} translated, {everything[2]} stale")


def ship(language: str = LANGUAGE) -> None:
    """Write the package's words."""
    path = ROOT / "diffusion_tutorial" / "words" / f"{language}.json"
    site.put(path, lexicon(language))


def check(names: list[str]) -> int:
    """Print what is wrong; the number of faults. What is only open is no fault."""
    law, wrong = rules(), 0
    for name in names:
        stored = catalogue.read(path_of(name))
        if [e.msgid for e in stored if not e.obsolete] != [m.text for m in catalogue.unique(messages(name))]:
            wrong += 1
            print(f"{name}: the catalogue is not that of the source: run `make translations`")
        for entry in stored:
            if not catalogue.done(entry):
                continue
            same = entry.tcomment == catalogue.KEPT and entry.msgstr == entry.msgid
            faults = (
                law.kept(entry.msgid, entry.comment)
                if same
                else law.faults(entry.msgid, entry.msgstr, entry.comment)
            )
            if faults:
                wrong += 1
                short = catalogue.name_of(entry.msgid)
                print(f"{name} @{short} {entry.comment}: {'; '.join(faults)}\n    {entry.msgstr}")
    path = ROOT / "diffusion_tutorial" / "words" / f"{LANGUAGE}.json"
    if path.read_text(encoding="utf-8") != lexicon():
        wrong += 1
        print(f"{path.relative_to(ROOT)} is not that of the catalogues: run `make translations`")
    return wrong


def unfinished(names: list[str]) -> int:
    """Print what a release waits for; how many messages and notebooks that is."""
    count = 0
    for name in names:
        entries = catalogue.waiting(catalogue.read(path_of(name)))
        if entries:
            stale = sum("fuzzy" in entry.flags for entry in entries)
            print(f"{name}: {len(entries)} messages are open, {stale} of them stale")
        count += len(entries)
    for path in sorted((ROOT / "notebooks" / site.SPOKEN[LANGUAGE]).glob("*.ipynb")):
        if site.ENGLISH_OUTPUTS in json.loads(path.read_text(encoding="utf-8"))["metadata"]:
            print(f"{path.relative_to(ROOT)} was not run in its language: make translations RUN=1")
            count += 1
    return count


ACTIONS = ("update", "status", "export", "import", "site")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", nargs="?", default="update", choices=ACTIONS)
    parser.add_argument("page", nargs="?", help="a catalogue's name")
    parser.add_argument("file", nargs="?", type=Path, help="answers")
    parser.add_argument("--complete", action="store_true", help="with --check: what is open is a fault too")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something is wrong")
    options = parser.parse_args()
    known = sources()
    if options.page and options.page not in known:
        parser.error(f"no catalogue named {options.page}; there are: {', '.join(known)}")
    names = [options.page] if options.page else list(known)
    if options.check:
        wrong = check(names) + (unfinished(names) if options.complete else 0)
        print(f"{wrong} faults" if wrong else "no faults")
        return 1 if wrong else 0
    if options.action in ("export", "import") and not options.page:
        parser.error(f"{options.action} needs a page")
    if options.action == "update":
        changed = [name for name in names if update(name)]
        ship()
        print(f"catalogues written: {', '.join(changed) or 'none'}")
    elif options.action == "site":
        left = site.stage(ROOT, LANGUAGE, STAGED)
        print(f"{STAGED.relative_to(ROOT)}: {sum(left.values())} messages of the pages are still English")
    elif options.action == "status":
        status(names)
    elif options.action == "export":
        print(exchange.exported(catalogue.waiting(catalogue.read(path_of(options.page)))))
    else:
        if options.file is None:
            parser.error("import needs a file of answers")
        stored = catalogue.read(path_of(options.page))
        said = exchange.answers(options.file.read_text(encoding="utf-8"))
        taken, refused = exchange.imported(stored, said, rules())
        catalogue.save(stored, path_of(options.page))
        ship()
        print("\n".join(refused))
        print(f"{taken} taken, {len(refused)} refused, {len(catalogue.waiting(stored))} open")
        return 1 if refused else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
