"""The site, built: no warning, every page, and nothing to fetch from the network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FETCHED = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=["']?(https?:)?//""")


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    site = tmp_path / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(site)],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (built.returncode, "WARNING" in built.stderr + built.stdout) == (0, False), built.stderr
    pages = {page.relative_to(site).as_posix(): page.read_text() for page in site.rglob("*.html")}
    expected = {"index.html", "commands.html", "api.html", "not_learning.html"}
    assert {*expected, "results/generalisation.html", "CHANGELOG.html"} <= pages.keys()
    assert [name for name, text in pages.items() if FETCHED.search(text)] == []
    theirs = {name: text for name, text in pages.items() if name != "report/report.html"}
    assert [name for name, text in theirs.items() if "search_from_disk" not in text] == []
    assert (site / "search" / "search_index.js").is_file(), "no search without a server"
    styles = "".join(sheet.read_text() for sheet in site.rglob("*.css"))
    assert re.search(r"@import\s+url\(['\"]?(https?:)?//|src:\s*url\(['\"]?https?:", styles) is None
    assert 'id="metagenrl.api.objective.Objective.loss"' in pages["api.html"]
