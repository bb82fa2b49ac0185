"""What an LLM is given for a question: is the answer in the context, and does a picture of its page come with it.

Each DIR is as for ``benchmarks.pages``. Every question is asked of its own document, and the context is what a recorded
LLM was sent: characters of the sources, question and rules left out. No LLM answers.

``gold@N`` is the share of the questions whose answer stands in a context of at most N characters, each item of it where
it is a list: case, white space, quotation marks, dashes and thousands separators do not count, and an answer inside a
longer word or number is none. ``gold_long@N`` leaves out answers that are integers of one or two digits, which stand
anywhere by chance; ``gold_there@N`` leaves out answers that stand nowhere in the document's text as either system
reads it (they are computed, or to be seen), so that 1 can be reached. ``any_pages@N`` and ``all_pages@N`` are the
shares of questions of which any and all evidence pages are in the context, ``repeated`` the mean share of the
characters in runs of eight words that stand in it before, at 12,000 characters. ``pictures`` is the share of the
questions about a figure, a chart or a table for which an LLM that sees gets a picture of an evidence page, or of a
figure or table on it; ``pictures_per_question`` how many pictures are sent. ``relevance.auc`` compares the score of the
first result for each question in its own document with that in another one of the folder; questions that the inventory
answers ("how many figures are there?") are left out, as any document can say.

Systems: ``ours`` (``index.as_query_engine(context_tokens=N)``, one character counted as one token), ``plain``
(``RetrieverQueryEngine`` over ``index.as_retriever()``, its context cut at N), and ``handwired`` (pypdf,
``SentenceSplitter`` with 256 or 1,024 tokens, whichever is better at each N, the same embedding and BM25 in
LlamaIndex's own ``MilvusVectorStore``, its context cut at N).
"""

from __future__ import annotations

import argparse
import ast
import re
import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_index.core import StorageContext, VectorStoreIndex, set_global_tokenizer
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import Document
from llama_index.core.utils import get_tokenizer
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters

from benchmarks._harness import Result, mean, run
from benchmarks._relevance import area, top_scores
from benchmarks.pages import Corpus, load
from llama_index_raganything import WordLlamaEmbedding
from llama_index_raganything.testing import ScriptedChatLLM, ScriptedTextLLM

BUDGETS = (6000, 12_000, 24_000)
REPEATED_AT = 12_000
CHUNKS = {256: 20, 1024: 200}
"""Tokens of a chunk and of its overlap, of the hand-wired peer."""

CHUNKS_RETRIEVED = 60
LOOKED_AT = frozenset({"Figure", "Chart", "Table"})
TOKENS = get_tokenizer()
"""What counts the tokens of chunks, taken before characters are counted."""

_RUN = 8
_WINDOW = 1_000_000


@dataclass(frozen=True)
class Context:
    """What one question was given.

    Attributes:
        text: The sources as they were sent.
        pages: The pages that they are, or stand on.
    """

    text: str
    pages: frozenset[int]


System = Callable[[Mapping[str, Any], int], Context]
"""Takes a question and the number of characters."""


def ours(corpus: Corpus) -> System:
    """Record what our engine sends."""

    def ask(question: Mapping[str, Any], budget: int) -> Context:
        llm = ScriptedTextLLM(context_window=_WINDOW)
        engine = corpus.index.as_query_engine(
            llm=llm, filters=corpus.filters(question["doc"]), context_tokens=budget, inventory=False
        )
        response = engine.query(question["question"])
        pages = frozenset(int(scored.node.metadata.get("page") or 0) for scored in response.source_nodes)
        return Context(_sources_sent(llm, "Sources:\n\n", "\n\nQuestion:"), pages)

    return ask


def plain(corpus: Corpus) -> System:
    """Record what LlamaIndex's engine sends over our retriever."""

    def ask(question: Mapping[str, Any], budget: int) -> Context:
        llm = ScriptedTextLLM(context_window=_WINDOW)
        retriever = corpus.index.as_retriever(filters=corpus.filters(question["doc"]), inventory=False)
        response = RetrieverQueryEngine.from_args(retriever, llm=llm).query(question["question"])
        sent = _sources_sent(llm, "---------------------\n", "\n---------------------")
        pages, position = set(), 0
        for scored in response.source_nodes:
            position = sent.find(scored.node.get_content(), position)
            if 0 <= position < budget:
                pages.add(int(scored.node.metadata.get("page") or 0))
        return Context(sent[:budget], frozenset(pages))

    return ask


def handwired(folder: Path, corpus: Corpus, size: int, uri: str) -> System:
    """Record what a stack wired by hand as LlamaIndex's guides do would send."""
    from llama_index.vector_stores.milvus import MilvusVectorStore
    from llama_index.vector_stores.milvus.utils import BM25BuiltInFunction

    model = WordLlamaEmbedding()
    store = MilvusVectorStore(
        uri=uri,
        dim=model.dimension,
        overwrite=True,
        enable_sparse=True,
        sparse_embedding_function=BM25BuiltInFunction(),
        hybrid_ranker="RRFRanker",
        use_async_client=False,
    )
    documents = [
        Document(text=text, metadata={"file_name": name, "page": number})
        for name in corpus.document_ids
        for number, text in enumerate(peer_pages(folder, name), start=1)
    ]
    splitter = SentenceSplitter(chunk_size=size, chunk_overlap=CHUNKS[size], tokenizer=TOKENS)
    nodes = splitter.get_nodes_from_documents(documents)
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(nodes, storage_context=context, embed_model=model)
    store.client.flush(store.collection_name)

    def ask(question: Mapping[str, Any], budget: int) -> Context:
        only = MetadataFilters(filters=[MetadataFilter(key="file_name", value=question["doc"])])
        retriever = index.as_retriever(
            vector_store_query_mode="hybrid", similarity_top_k=CHUNKS_RETRIEVED, filters=only
        )
        text, pages = "", set()
        for scored in retriever.retrieve(question["question"]):
            if len(text) >= budget:
                break
            text += scored.node.get_content() + "\n\n"
            pages.add(int(scored.node.metadata["page"]))
        return Context(text[:budget], frozenset(pages))

    return ask


def peer_pages(folder: Path, name: str) -> list[str]:
    """Return the texts of a file's pages as pypdf reads them."""
    from pypdf import PdfReader

    return [page.extract_text() for page in PdfReader(folder / "pdf" / name).pages]


def _sources_sent(llm: ScriptedTextLLM, start: str, stop: str) -> str:
    """Return the part of the one prompt that holds the sources."""
    if not llm.requests:
        return ""
    prompt = "\n".join(message.content or "" for message in llm.requests[-1])
    _, _, rest = prompt.partition(start)
    return rest.rpartition(stop)[0]


# -- measures ----------------------------------------------------------------------------------------------------------


def answer_items(answer: str) -> list[str]:
    """Return the items of an answer: those of a list, else itself."""
    text = str(answer).strip()
    if text.startswith("["):
        try:
            return [str(item) for item in ast.literal_eval(text)]
        except (ValueError, SyntaxError):
            pass
    return [text]


def plain_form(text: str) -> str:
    """Return a text in which spellings of the same thing are alike."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    text = re.sub(r"[\u2018\u2019]", "'", text)
    text = re.sub(r"[\u201c\u201d]", '"', text)
    return " ".join(re.sub(r"[\u2010-\u2015]", "-", text).split())


def holds(text: str, answer: str) -> bool:
    """Tell whether every item of an answer stands in a text in plain form."""
    items = [plain_form(item).strip(" .'\"") for item in answer_items(answer)]
    pattern = r"(?<![a-z0-9]){}(?![a-z0-9])(?!\.\d)"
    return all(item and re.search(pattern.format(re.escape(item)), text) for item in items)


def is_short(answer: str) -> bool:
    """Tell whether an answer is nothing but integers of one or two digits."""
    return all(re.fullmatch(r"\d{1,2}", plain_form(item)) for item in answer_items(answer))


def repeated_share(text: str) -> float:
    """Return the share of a text's characters in runs of eight words that stand in it before."""
    words = text.casefold().split()
    seen: set[tuple[str, ...]] = set()
    again = [False] * len(words)
    for start in range(len(words) - _RUN + 1):
        run_of_words = tuple(words[start : start + _RUN])
        if run_of_words in seen:
            again[start : start + _RUN] = [True] * _RUN
        seen.add(run_of_words)
    total = sum(map(len, words))
    return sum(len(word) for word, is_again in zip(words, again, strict=True) if is_again) / total if total else 0.0


def measure(
    name: str, ask: System, questions: Sequence[Mapping[str, Any]], there: Sequence[bool], rows: list[dict[str, Any]]
) -> None:
    """Write what one system gives each question into the rows."""
    for question, row, is_there in zip(questions, rows, there, strict=True):
        evidence = set(question["pages"])
        for budget in BUDGETS:
            context = ask(question, budget)
            found = float(holds(plain_form(context.text), question["answer"]))
            row[f"{name}.gold@{budget}"] = found
            row[f"{name}.gold_long@{budget}"] = None if is_short(question["answer"]) else found
            row[f"{name}.gold_there@{budget}"] = found if is_there else None
            row[f"{name}.any_pages@{budget}"] = float(bool(evidence & context.pages))
            row[f"{name}.all_pages@{budget}"] = float(evidence <= context.pages)
            if budget == REPEATED_AT:
                row[f"{name}.repeated"] = repeated_share(context.text)


def measure_pictures(corpus: Corpus, questions: Sequence[Mapping[str, Any]], rows: list[dict[str, Any]]) -> None:
    """Write which questions got a picture of an evidence page into the rows."""
    for question, row in zip(questions, rows, strict=True):
        if not LOOKED_AT.intersection(question["kinds"]):
            continue
        llm = ScriptedChatLLM(context_window=_WINDOW)
        engine = corpus.index.as_query_engine(llm=llm, filters=corpus.filters(question["doc"]), inventory=False)
        images = [image for image in engine.query(question["question"]).metadata["images"] if image["sent"]]
        row["ours.pictures"] = float(any(image["page"] in question["pages"] for image in images))
        row["ours.pictures_per_question"] = float(len(images))


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    keys = dict.fromkeys(key for row in rows for key in row if "." in key)
    values = {key: [float(row[key]) for row in rows if row.get(key) is not None] for key in keys}
    return {key: mean(found) for key, found in values.items() if found}


def measure_folder(
    folder: Path, limit: int | None, working_dir: str
) -> tuple[list[dict[str, Any]], tuple[list[float], list[float]]]:
    """Index a folder, ask everything, and return a row per question, and the scores in its and in another document."""
    corpus, _ = load(folder, limit, working_dir)
    questions = [question for question in corpus.questions if question["pages"] and str(question["answer"]).strip()]
    questions = [question for question in questions if str(question["answer"]).strip().lower() != "none"]
    rows: list[dict[str, Any]] = [{"id": question["id"], "question": question["question"]} for question in questions]
    texts = {name: [*peer_pages(folder, name)] for name in corpus.document_ids}
    for node in corpus.page_nodes():
        texts[str(node.metadata["file_name"])].append(node.get_content())
    whole = {name: plain_form("\n".join(parts)) for name, parts in texts.items()}
    there = [holds(whole[question["doc"]], question["answer"]) for question in questions]
    measure("ours", ours(corpus), questions, there, rows)
    measure("plain", plain(corpus), questions, there, rows)
    for size in CHUNKS:
        peer = handwired(folder, corpus, size, f"{working_dir}/handwired{size}.db")
        measure(f"handwired{size}", peer, questions, there, rows)
    measure_pictures(corpus, questions, rows)
    scores = top_scores(corpus.index, questions, corpus.document_ids)
    corpus.index.close()
    return rows, scores


def main(args: argparse.Namespace) -> Result:
    """Measure all folders together."""
    result = Result()
    # Budgets are characters here.
    set_global_tokenizer(list)
    own: list[float] = []
    other: list[float] = []
    for folder in args.dir:
        with tempfile.TemporaryDirectory() as temporary:
            working_dir = temporary if args.working_dir is None else f"{args.working_dir}/{folder.name}"
            rows, (here, elsewhere) = measure_folder(folder, args.limit, working_dir)
        result.rows += rows
        own += here
        other += elsewhere
    means = _means(result.rows)
    for kind in ("gold", "gold_long", "gold_there", "any_pages", "all_pages"):
        for budget in BUDGETS:
            key = f"{kind}@{budget}"
            means[f"handwired.{key}"] = max(means[f"handwired{size}.{key}"] for size in CHUNKS)
    means["relevance.auc"] = area(own, other)
    result.metrics = dict(sorted(means.items()))
    names = ("ours", "plain", "handwired", *(f"handwired{size}" for size in CHUNKS))
    for kind in ("gold", "gold_long", "gold_there", "any_pages", "all_pages"):
        title = f"{kind}, {len(result.rows)} questions"
        table = [{"system": n, **{f"@{b}": means[f"{n}.{kind}@{b}"] for b in BUDGETS}} for n in names]
        result.tables.append((title, table))
    return result


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--working-dir", default=None, help="keep parsed files here for the next run")


if __name__ == "__main__":
    raise SystemExit(run("context", __doc__, main, add_arguments=_arguments, several=True))
