"""Cut Noto Sans SC to the Han signs that figures use, into diffusion_tutorial/plots/han.ttf.

    python scripts/figure_font.py FOLDER       FOLDER: the unpacked npm package @fontsource/noto-sans-sc
    python scripts/figure_font.py --check      exit 1 if a translation uses a sign that the font has not

`npm pack @fontsource/noto-sans-sc` and `tar xzf` make the folder; the package is 70 MB and nothing else needs it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

sys.path.insert(0, str(Path(__file__).resolve().parent))
from translated import catalogue

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "diffusion_tutorial" / "plots" / "han.ttf"
FILE = "noto-sans-sc-chinese-simplified-400-normal.woff2"
KINDS = ("text", "f-string", "figure")  # of messages, that may stand in a figure
ALWAYS = "".join(map(chr, range(0x20, 0x7F))) + "·–—‘’“”…×−±→≤≥≈²³éηαβγσεθ，。；：、？！（）《》"


def wanted() -> set[str]:
    """The signs of every translation that may stand in a figure."""
    found = set(ALWAYS)
    for path in sorted((ROOT / "translations" / "zh_CN").glob("*.po")):
        for entry in catalogue.read(path):
            if entry.comment in KINDS:
                found |= set(entry.msgstr)
    return {sign for sign in found if sign.isprintable()}


def has() -> set[str]:
    return {chr(point) for point in TTFont(TARGET).getBestCmap()} if TARGET.exists() else set()


def cut(folder: Path) -> None:
    """Write the font with the signs that are wanted."""
    options = subset.Options(layout_features=[], hinting=False, name_IDs=["*"], notdef_outline=True)
    font = TTFont(folder / "files" / FILE)
    maker = subset.Subsetter(options)
    maker.populate(unicodes={ord(sign) for sign in wanted()})
    maker.subset(font)
    font.flavor = None
    font.save(TARGET)
    (TARGET.parent / "han-license.txt").write_text(
        (folder / "LICENSE").read_text(encoding="utf-8"), encoding="utf-8"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.check:
        missing = sorted(sign for sign in wanted() - has() if "\u4e00" <= sign <= "\u9fff")
        print(f"signs that the font has not: {''.join(missing) or 'none'}")
        return 1 if missing else 0
    if options.folder is None:
        parser.error("a folder is needed: npm pack @fontsource/noto-sans-sc, unpacked")
    cut(options.folder)
    print(f"{TARGET.relative_to(ROOT)}: {len(has())} signs, {TARGET.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
