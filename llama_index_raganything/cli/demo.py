"""The command ``demo``: the bundled documents, and questions about them."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llama_index_raganything.cli.options import add_command, add_model_options, named_models, read_settings
from llama_index_raganything.cli.output import answer_fields, print_answer, print_citations, print_json, shorten
from llama_index_raganything.settings import names_provider

if TYPE_CHECKING:
    from llama_index.core.base.response.schema import RESPONSE_TYPE
    from llama_index.core.postprocessor.types import BaseNodePostprocessor

    from llama_index_raganything.index.index import RAGAnythingIndex
    from llama_index_raganything.settings import RAGAnythingSettings

DEMO_QUESTIONS: Final = (
    "Does Milvus support simultaneous insertion and search? Give a short answer.",
    "What are the key components of the Milvus architecture?",
    "What was the revenue of Sweden in 2024?",
    "Which figure shows the layout of the Skagen site?",
    "How many yaw motors are on hand?",
    "How often are the brake pads inspected?",
)
AGENT_QUESTION: Final = "Which region had the highest revenue in 2024? Use your tools."

_CANDIDATES: Final = 10


def add_demo_command(commands: Any) -> None:
    """Add ``demo``."""
    demo = add_command(commands, "demo", _demo, "parse the bundled documents and answer questions about them")
    demo.add_argument("--keep", action="store_true", help="keep the demo's data in ./demo_storage")
    add_model_options(demo, default="embedded")


def _demo(arguments: argparse.Namespace) -> int:
    settings = read_settings(arguments)
    if arguments.keep:
        return _run(arguments, settings, Path("demo_storage"))
    with tempfile.TemporaryDirectory(prefix="raganything-demo-") as folder:
        return _run(arguments, settings, Path(folder))


def _run(arguments: argparse.Namespace, settings: RAGAnythingSettings, folder: Path) -> int:
    from llama_index_raganything.index.index import RAGAnythingIndex
    from llama_index_raganything.models.defaults import provider_models

    started = time.perf_counter()
    with RAGAnythingIndex(
        uri=str(folder / "milvus.db"),
        working_dir=folder / "rag_storage",
        models=arguments.models,
        settings=settings,
        **named_models(arguments, settings),
    ) as index:
        documents = Path(str(files("llama_index_raganything") / "demo_files"))
        report = index.add(documents, show_progress=not arguments.json)
        if not arguments.json:
            print(f"\n{report}\n")
        if report.failures:
            if arguments.json:
                print_json({"report": report.to_dict(), "answers": []})
            return 1
        online = names_provider(arguments.models)
        ask = partial(_stream, reranker=provider_models(settings).reranker) if online else _ask
        answers = [(question, ask(index, question, as_json=arguments.json)) for question in DEMO_QUESTIONS]
        agent = _ask_agent(index, as_json=arguments.json) if online else ""
    seconds = time.perf_counter() - started
    named = any((arguments.llm, arguments.vision_llm, arguments.embed_model))
    used = "with the models that were named" if named else _models_used(arguments.models, settings)
    if arguments.json:
        shown = [answer_fields(question, response) for question, response in answers]
        result = {"report": report.to_dict(), "answers": shown, "seconds": round(seconds, 2)}
        print_json(result | ({"agent": agent} if online else {}))
    else:
        print(f"{len(answers)} answers, {seconds:.1f} s in all, {used}.")
    return 0


def _models_used(models: str, settings: RAGAnythingSettings) -> str:
    from llama_index_raganything.models.defaults import provider_in_use

    provider = provider_in_use(models, settings)
    return f"with {provider}'s models" if provider else "no key, no download"


def _ask(index: RAGAnythingIndex, question: str, *, as_json: bool) -> RESPONSE_TYPE:
    """Ask a question and print the answer."""
    response = index.as_query_engine().query(question)
    if not as_json:
        print(f"Q: {question}")
        print_answer(response)
        print()
    return response


def _stream(index: RAGAnythingIndex, question: str, *, reranker: BaseNodePostprocessor, as_json: bool) -> RESPONSE_TYPE:
    """Ask a question of reranked results and print the answer while it comes."""
    from llama_index.core.base.response.schema import StreamingResponse

    engine = index.as_query_engine(similarity_top_k=_CANDIDATES, node_postprocessors=[reranker], streaming=True)
    response = engine.query(question)
    assert isinstance(response, StreamingResponse)
    if as_json:
        return response.get_response()
    print(f"Q: {question}\nA: ", end="", flush=True)
    for piece in response.response_gen or ():
        print(piece, end="", flush=True)
    print()
    print_citations(response)
    for scored in response.source_nodes[:1]:
        if scored.node.metadata.get("content_type") == "image":
            print(f"   the best image: {shorten(scored.node.get_content(), 400)}")
    print()
    return response


def _ask_agent(index: RAGAnythingIndex, *, as_json: bool) -> str:
    """Let an agent answer with the index as its tools."""
    from llama_index.core.agent.workflow import FunctionAgent

    async def run() -> str:
        agent = FunctionAgent(tools=index.as_tools(), llm=index.llm, streaming=False)
        return str(await agent.run(AGENT_QUESTION))

    answer = asyncio.run(run())
    if not as_json:
        print(f"Agent, asked: {AGENT_QUESTION}\nA: {answer}\n", file=sys.stdout)
    return answer
