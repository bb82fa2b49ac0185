"""RAG-Anything + Milvus on Alibaba Cloud's models: a text, a picture, one question about each.

    pip install "llama-index-raganything[dashscope]"
    cp .env.example .env                    # and put your key into DASHSCOPE_API_KEY
    python examples/seed_demo.py [--env-file .env]

It brings in the Milvus FAQ and a drawing of Milvus's architecture, which ``qwen-vl-max`` describes. ``qwen-max``
answers the question about the text; the question about the drawing finds it by its description and by what it shows,
as ``tongyi-embedding-vision-plus`` puts texts and pictures into one space. A second run finds both in Milvus already.
"""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from pathlib import Path

from llama_index.core.schema import NodeWithScore
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

from llama_index_raganything import RAGAnythingError, RAGAnythingIndex, RAGAnythingReader, RAGAnythingSettings
from llama_index_raganything.models.dashscope.models import make_embed_model, make_llm, make_vision_llm

DEMO_FILES = Path(str(files("llama_index_raganything"))) / "demo_files"
TEXT = DEMO_FILES / "faq_milvus.txt"
PICTURE = DEMO_FILES / "milvus_architecture.png"

TEXT_QUESTION = "Does Milvus support simultaneous insertion and search? Give a short answer."
IMAGE_QUESTION = "What are the key components of the Milvus architecture?"
TEXTS_ONLY = MetadataFilters(filters=[MetadataFilter(key="content_type", value="text")])
IMAGES_ONLY = MetadataFilters(filters=[MetadataFilter(key="content_type", value="image")])


def open_index(settings: RAGAnythingSettings) -> RAGAnythingIndex:
    """Open the knowledge base that the settings name, with the models that they name.

    Time-out (60 s) and retries (2) are the settings' defaults.
    """
    return RAGAnythingIndex(
        llm=make_llm(settings, max_tokens=1024, temperature=0.5),
        vision_llm=make_vision_llm(settings, temperature=0.2),
        embed_model=make_embed_model(settings),
        # Without OCR: here the vision model reads the picture.
        reader=RAGAnythingReader(profile="fast"),
        settings=settings,
    )


def answer(index: RAGAnythingIndex, question: str) -> str:
    """Return the chat model's answer from the texts; with pictures among its sources the vision model would answer."""
    return str(index.as_query_engine(filters=TEXTS_ONLY).query(question))


def find_images(index: RAGAnythingIndex, question: str) -> list[NodeWithScore]:
    """Return the three pictures that fit a question best."""
    return index.as_retriever(similarity_top_k=3, filters=IMAGES_ONLY, inventory=False).retrieve(question)


def run(env_file: Path) -> None:
    """Bring in the two files and ask the two questions."""
    settings = RAGAnythingSettings.from_env_file(env_file)
    with open_index(settings) as index:
        report = index.add([TEXT, PICTURE], strict=True)
        print(report)
        print(f"\nQ: {TEXT_QUESTION}")
        print(f"A: {answer(index, TEXT_QUESTION)}")
        print(f"\nQ: {IMAGE_QUESTION}")
        for rank, found in enumerate(find_images(index, IMAGE_QUESTION), start=1):
            print(f"{rank}. {Path(found.node.metadata['source']).name} ({found.get_score():.3f})")
            print(found.node.get_content())


def main() -> int:
    """Run the demo.

    Returns:
        0, or 1 when it failed for a reason that is told on stderr.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-file", type=Path, default=Path(".env"), help="settings (default ./.env)")
    try:
        run(parser.parse_args().env_file)
    except RAGAnythingError as error:
        print(f"seed_demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
