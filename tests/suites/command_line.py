"""The command line over a knowledge base of one Markdown file."""

from llama_index_raganything.cli.main import main


def _options(folder):
    return ["--uri", str(folder / "kb.db"), "--working-dir", str(folder / "storage")]


def ingested(folder, name, text):
    """Ingest a text as a file and return the folder of the knowledge base."""
    (folder / name).write_text(text, encoding="utf-8")
    assert main(["ingest", *_options(folder), "--no-progress", str(folder / name)]) == 0
    return folder


def caller(folder, capsys):
    """Return a function that runs a command and gives its exit code, output and errors."""

    def call(command, *arguments):
        capsys.readouterr()
        code = main([command, *_options(folder), *arguments])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call
