"""Links lead to files of the repository, and the site has those outside of docs/, too."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def pages() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    there = [name for name in listed.stdout.split() if (ROOT / name).is_file()]
    return [name for name in there if not name.startswith(("tests/golden", "metagenrl/"))]


def test_every_link_of_every_page_leads_somewhere(site_module) -> None:
    links = site_module("links")
    lost = [
        f"{page} -> {link.path}"
        for page in pages()
        for link in links.links_of(page, (ROOT / page).read_text())
        if not (ROOT / link.path).exists()
    ]
    assert lost == []
    assert len(pages()) > 20


def test_links_are_found_outside_of_code_only(site_module) -> None:
    text = (
        "[a](b.md#c) `[x](y.md)` [w](https://z) [same](#here)\n```\n[no](no.md)\n```\n![p](i.svg)\n"
    )
    found = [(link.path, link.anchor) for link in site_module("links").links_of("docs/p.md", text)]
    assert found == [("docs/b.md", "#c"), ("docs/p.md", "#here"), ("docs/i.svg", "")]


def test_the_site_has_outside_files_beside_its_pages(site_module) -> None:
    links = site_module("links")
    text = "[r](../results/baselines.md#x) [p](environments.md) [gone](../gone.md)"
    moved = links.rewrite("docs/baselines.md", text, links.in_site)
    assert moved == "[r](results/baselines.md#x) [p](environments.md) [gone](../gone.md)"
    assert links.in_repository("environments.md") == "docs/environments.md"
    assert links.in_repository("results/baselines.md") == "results/baselines.md"
