"""What MkDocs does not know here: pages outside of docs/, and the reference of commands."""

from __future__ import annotations

import posixpath
import shutil
from pathlib import Path

from commands import reference
from links import ROOT, in_repository, in_site, links_of, rewrite
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
PACKAGES = ("agents", "cluster", "learner", "objective_server")
_NO_MODULE = shutil.ignore_patterns("__pycache__", "src", "*.so", "*.safetensors", "*.yaml")
REFERENCE = "<!-- commands -->"
_SOURCE = ROOT / "build" / "api-source"


def on_startup(**_: object) -> None:
    """Make the folder of the sources: mkdocstrings forgets a path that is not there at first."""
    _SOURCE.mkdir(parents=True, exist_ok=True)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lay the packages out as they are installed, for who reads them without importing them."""
    shutil.rmtree(_SOURCE, ignore_errors=True)
    for name in ("metagenrl", *PACKAGES):
        inside = _SOURCE / "metagenrl" / ("" if name == "metagenrl" else name)
        shutil.copytree(ROOT / name, inside, ignore=_NO_MODULE)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of OUTSIDE, and whatever pages link to outside of docs/."""
    waiting = [*OUTSIDE, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.startswith("docs/"):
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
        if path.endswith(".md"):
            text = (ROOT / path).read_text(encoding="utf-8")
            found = {link.path for link in links_of(path, text) if (ROOT / link.path).is_file()}
            new = {target for target in found - seen if not target.startswith("docs/")}
            seen |= new
            waiting += sorted(new)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the site has them, and the reference where a page asks for it."""
    uri = page.file.src_uri
    folder = posixpath.dirname(uri) or "."
    text = rewrite(
        in_repository(uri), markdown, lambda path: posixpath.relpath(in_site(path), folder)
    )
    return text.replace(REFERENCE, reference()) if REFERENCE in text else text


def on_post_build(config: MkDocsConfig) -> None:
    """Say where the site is."""
    print(f"site: {Path(config.site_dir) / 'index.html'}")
