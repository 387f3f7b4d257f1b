"""The repository's public address: set in `_config.yml` (`repository`), derived everywhere else.

    python scripts/address.py            rewrite README.md, CITATION.cff and the other files below to match
    python scripts/address.py --check    say what does not match, and exit 1 if anything does not
    python scripts/address.py --show     print every address

The site asks `Address.read()` while it is built. Files that cannot ask (GitHub reads them as they are) are
rewritten: the address they hold now is the `repository-code` of CITATION.cff, and each form of it is replaced
by the same form of the new one.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import yaml

ROOT = Path(__file__).resolve().parents[1]
RENDERED = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml")
FORM = re.compile(
    r"https://github\.com/(?P<owner>[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)/(?P<name>[A-Za-z0-9._-]+)"
)


@dataclass(frozen=True)
class Address:
    """The public addresses that follow from a GitHub repository and its branch."""

    owner: str
    name: str
    branch: str = "main"

    @classmethod
    def parse(cls, url: str, branch: str = "main") -> Address:
        """An Address from `https://github.com/OWNER/NAME`; ValueError for any other form."""
        match = FORM.fullmatch(url.rstrip("/"))
        if match is None:
            raise ValueError(
                f"repository.url is {url!r}; it must have the form https://github.com/OWNER/NAME"
            )
        return cls(match["owner"], match["name"], branch)

    @classmethod
    def read(cls, config: Path = ROOT / "_config.yml") -> Address:
        """The address that `_config.yml` sets."""
        repository = yaml.safe_load(config.read_text(encoding="utf-8"))["repository"]
        return cls.parse(repository["url"], repository["branch"])

    @property
    def repository(self) -> str:
        return f"https://github.com/{self.owner}/{self.name}"

    @property
    def site(self) -> str:
        """Where GitHub Pages publishes the site, with a closing slash."""
        host = f"https://{self.owner.lower()}.github.io/"
        return host if host == f"https://{self.name.lower()}/" else f"{host}{self.name}/"

    @property
    def binder(self) -> str:
        return f"https://mybinder.org/v2/gh/{self.owner}/{self.name}/{self.branch}"

    @property
    def colab(self) -> str:
        return f"https://colab.research.google.com/github/{self.owner}/{self.name}/blob/{self.branch}"

    def file(self, path: str) -> str:
        """The page of a file of the repository."""
        return f"{self.repository}/blob/{self.branch}/{path}"

    def binder_notebook(self, path: str) -> str:
        return f"{self.binder}?urlpath={quote('lab/tree/' + path, safe='')}"

    def colab_notebook(self, path: str) -> str:
        return f"{self.colab}/{path}"

    def forms(self) -> dict[str, str]:
        """Every prefix under which the address may stand in a file, by name."""
        return {"site": self.site, "binder": self.binder, "colab": self.colab, "repository": self.repository}


def written(root: Path = ROOT) -> Address:
    """The address that the rendered files hold now."""
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    readme = (root / "README.md").read_text(encoding="utf-8")
    branch = re.search(r"https://mybinder\.org/v2/gh/[^/\s]+/[^/\s]+/([A-Za-z0-9._-]+)", readme)
    return Address.parse(citation["repository-code"], branch[1] if branch else "main")


def render(text: str, old: Address, new: Address) -> str:
    """`text` with each form of `old` replaced by the same form of `new`."""
    for name, prefix in old.forms().items():
        ends_word = "" if prefix.endswith("/") else r"(?![A-Za-z0-9_-]|\.[A-Za-z0-9])"
        text = re.sub(re.escape(prefix) + ends_word, new.forms()[name], text)
    for kind in ("blob", "tree", "raw"):
        text = text.replace(
            f"{new.repository}/{kind}/{old.branch}/", f"{new.repository}/{kind}/{new.branch}/"
        )
    return text


def stale(root: Path = ROOT) -> dict[Path, str]:
    """Files whose addresses are not those of `_config.yml`, with the text that they should have."""
    old, new = written(root), Address.read(root / "_config.yml")
    found = {}
    for name in RENDERED:
        path = root / name
        if path.exists():
            text = path.read_text(encoding="utf-8")
            if (right := render(text, old, new)) != text:
                found[path] = right
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 on a mismatch")
    parser.add_argument("--show", action="store_true", help="print every address")
    options = parser.parse_args()
    if options.show:
        for name, value in Address.read().forms().items():
            print(f"{name:10} {value}")
        return 0
    found = stale()
    for path, text in found.items():
        done = "does not match" if options.check else "rewritten to match"
        print(f"{path.relative_to(ROOT)}: {done} _config.yml")
        if not options.check:
            path.write_text(text, encoding="utf-8")
    return 1 if options.check and found else 0


if __name__ == "__main__":
    sys.exit(main())
