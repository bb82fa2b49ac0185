"""What is read of folders: hidden, system and temporary files, databases and caches are left out, and told."""

import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from llama_index_raganything import ConfigurationError, SourceError
from llama_index_raganything.errors import BlockedSourceError, FileTooLargeError
from llama_index_raganything.readers.cache import file_hash
from llama_index_raganything.readers.sources import sources
from llama_index_raganything.readers.sources.sources import (
    ExcludePatterns,
    FolderRules,
    SkippedFiles,
    expand_sources,
    walk,
    with_bytes,
)


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def found_in(folder, rules=None):
    skipped = SkippedFiles()
    files = [path.relative_to(folder).as_posix() for path in walk(folder, rules or FolderRules(), skipped)]
    return files, skipped


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".env", "hidden"),
        (".git/config", "hidden"),
        (".DS_Store", "system"),
        ("Thumbs.db", "system"),
        ("desktop.ini", "system"),
        ("__MACOSX/a.pdf", "system"),
        ("src/__pycache__/a.txt", "system"),
        ("node_modules/x/README.md", "system"),
        ("~$report.docx", "temporary"),
        (".~lock.report.odt#", "temporary"),
        ("report.pdf.part", "temporary"),
        ("report.TMP", "temporary"),
        ("report.pdf.crdownload", "temporary"),
        ("notes.md~", "temporary"),
        ("kb/parse_cache/ab/x.json", "own data"),
    ],
)
def test_what_is_nobodys_document_is_skipped_with_its_reason(tmp_path, name, reason):
    make(tmp_path, "keep.md", name)
    files, skipped = found_in(tmp_path)
    assert (files, dict(skipped.counts)) == (["keep.md"], {reason: 1})


def test_documents_with_names_that_only_look_alike_are_read(tmp_path):
    names = ["assets/plan.pdf", "partly.txt", "system.md", "tables/a.csv", "tmp/notes.md", "x.db/readme.md"]
    make(tmp_path, *names)
    files, skipped = found_in(tmp_path)
    assert (sorted(files), skipped.counts) == (names, {})


def test_a_virtual_environment_is_skipped_whatever_it_is_called(tmp_path):
    make(tmp_path, "a.md", "tools/pyvenv.cfg", "tools/lib/README.md")
    files, skipped = found_in(tmp_path)
    assert (files, skipped.names["system"]) == (["a.md"], [f"{tmp_path / 'tools'}/"])


def test_only_what_a_reader_made_is_skipped_beside_documents(tmp_path):
    make(tmp_path, "parse_cache/x.json", "assets/crop.txt", "report.md", "more/report.md")
    assert found_in(tmp_path)[0] == ["report.md", "more/report.md"]


def test_folders_named_like_those_of_a_working_folder_are_read_elsewhere(tmp_path):
    make(tmp_path, "site/assets/a.md", "site/tables/b.md", "work/kb/assets/c.md")
    files, skipped = found_in(tmp_path, FolderRules(working_dir=str(tmp_path / "work")))
    assert files == ["site/assets/a.md", "site/tables/b.md"]
    assert skipped.counts == {"own data": 1}


def test_names_are_kept_up_to_a_bound_and_all_are_counted(tmp_path):
    make(tmp_path, "a.md", *(f"{number:02}.tmp" for number in range(25)))
    skipped = found_in(tmp_path)[1]
    assert skipped.counts["temporary"] == 25
    assert len(skipped.names["temporary"]) == 10
    assert str(skipped) == "25 temporary (00.tmp, 01.tmp, 02.tmp, …)"
    assert skipped.to_dict()["temporary"]["count"] == 25


def test_links_to_folders_are_told(tmp_path):
    make(tmp_path, "a/x.md")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    files, skipped = found_in(tmp_path)
    assert (files, skipped.names) == (["a/x.md"], {"linked folder": [f"{tmp_path / 'b'}/"]})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_are_told_and_never_opened(tmp_path):
    make(tmp_path, "a.md")
    os.mkfifo(tmp_path / "pipe.md")
    files, skipped = found_in(tmp_path)
    assert (files, skipped.names) == (["a.md"], {"no file": [str(tmp_path / "pipe.md")]})
    with pytest.raises(SourceError, match="not a regular file"):
        file_hash(tmp_path / "pipe.md")


def test_folders_that_cannot_be_read_are_told_all(tmp_path, monkeypatch):
    make(tmp_path, "a.md", *(f"closed{number:02}/x.md" for number in range(12)))
    scandir = os.scandir

    def refuse(path):
        if "closed" in os.fspath(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(sources.os, "scandir", refuse)
    files, skipped = found_in(tmp_path)
    assert files == ["a.md"]
    assert len(skipped.names["unreadable"]) == 12


GIT_NAMES = [
    *("a.md", "b.bak", "keep.bak", "drafts/a.md", "drafts/deep/b.md", "x/drafts/c.md", "x/y/z.txt", "x/y.txt"),
    *("docs/old/a.md", "docs/new/old/b.md", "[x].md", "file1.md", "filea.md", "a b.md", "logs/1.log", "logs/keep.log"),
]


@pytest.mark.skipif(shutil.which("git") is None, reason="asks git itself")
@pytest.mark.parametrize(
    "patterns",
    [
        ["*.bak"],
        ["*.bak", "!keep.bak"],
        ["drafts"],
        ["drafts/"],
        ["/drafts"],
        ["drafts/**"],
        ["**/drafts"],
        ["x/**/z.txt"],
        ["x/*"],
        ["docs/**/old"],
        ["**/old/*.md"],
        ["file[0-9].md"],
        ["file[!0-9].md"],
        ["\\[x\\].md"],
        ["?.md"],
        ["a*d"],
        ["logs/*", "!logs/keep.log"],
        ["x/y", "!x/y/**"],
        ["**/old", "!docs/new"],
        ["**"],
        ["*", "!*/", "!*.md"],
        ["x/y"],
        ["a.md/"],
    ],
)
def test_patterns_mean_what_git_means(tmp_path, patterns):
    make(tmp_path, *GIT_NAMES)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("\n".join(patterns) + "\n")
    listed = subprocess.run(
        ["git", "-c", "core.quotepath=off", "ls-files", "--others", "--exclude-standard"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = {line.strip('"') for line in listed.stdout.splitlines()} - {".gitignore"}
    files, _ = found_in(tmp_path, FolderRules(exclude=ExcludePatterns.of(patterns)))
    assert set(files) == expected


@pytest.mark.parametrize("patterns", ["", " ", ["a", ""], [None], "!", "[z-a]", 3, Path("x"), b"x", [b"x"]])
def test_patterns_that_fit_nothing_are_refused(patterns):
    with pytest.raises(ConfigurationError, match="exclude"):
        ExcludePatterns.of(patterns)


def test_named_files_are_read_whatever_they_are_called_unless_excluded(tmp_path, monkeypatch):
    make(tmp_path, ".hidden.md", "old.bak", "drafts/a.md")
    monkeypatch.chdir(tmp_path)
    rules = FolderRules(exclude=ExcludePatterns.of(["*.bak", "drafts/**"]))
    found = expand_sources([".hidden.md", "old.bak", "drafts/a.md"], rules=rules)
    assert [Path(source.location).name for source in found.sources] == [".hidden.md"]
    assert found.skipped.counts == {"excluded": 2}


def test_own_data_is_refused_by_name_too(tmp_path):
    make(tmp_path, "kb/assets/ab.txt")
    rules = FolderRules(own=frozenset({str(tmp_path / "kb")}))
    for named in ("kb", "kb/assets", "kb/assets/ab.txt"):
        with pytest.raises(BlockedSourceError, match="data of an index"):
            expand_sources(tmp_path / named, rules=rules)
    assert expand_sources(tmp_path, rules=rules).skipped.counts == {"own data": 1}


def test_bytes_have_a_name_and_a_limit():
    found = expand_sources([("in/report.md", b"# Hi"), ("b.md", io.BytesIO(b"0123456789"))])
    assert [source.location for source in found.sources] == ["in/report.md", "b.md"]
    assert with_bytes(found.sources[1], 10).target == b"0123456789"
    with pytest.raises(FileTooLargeError, match="limit"):
        with_bytes(expand_sources(("b.md", io.BytesIO(b"0123456789"))).sources[0], 9)
    with pytest.raises(ConfigurationError, match="binary mode"):
        with_bytes(expand_sources(("b.md", io.StringIO("text"))).sources[0], None)
    closed = io.BytesIO(b"x")
    closed.close()
    with pytest.raises(SourceError, match=r"b\.md"):
        with_bytes(expand_sources(("b.md", closed)).sources[0], None)
    for wrong in (b"bytes", io.BytesIO(b"x"), ("", b"x"), ("..", b"x"), [b"bytes"]):
        with pytest.raises(ConfigurationError, match="name"):
            expand_sources(wrong)
