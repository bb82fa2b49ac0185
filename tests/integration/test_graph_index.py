"""The graph of an index end to end: built, followed, updated and deleted with the documents."""

import json
from concurrent.futures import ThreadPoolExecutor

import docx
import pytest
from llama_index.core.indices.property_graph import SimpleLLMPathExtractor
from llama_index.core.schema import Document, TransformComponent
from PIL import Image
from reportlab.pdfgen import canvas

from llama_index_raganything import GraphOptions, RAGAnythingIndex
from llama_index_raganything.errors import ConfigurationError, SchemaMismatchError
from llama_index_raganything.graph.extraction.triples import TripleExtractor
from llama_index_raganything.retrievers.evidence.graph import EvidenceRetriever
from llama_index_raganything.retrievers.evidence.linked_sets import LinkedSetRanking
from llama_index_raganything.retrievers.evidence.pages import NodeRetriever
from llama_index_raganything.stores.graph import collections as graph_tables
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore
from llama_index_raganything.testing import HashEmbedding, ScriptedTextLLM

MODEL = HashEmbedding(dimension=64)
WIKI = {
    "The Amber Lantern": "The Amber Lantern is a 1958 drama. Its score was composed by Tomas Brenn in a week.",
    "Tomas Brenn": "Tomas Brenn is a composer. He was born in the village of Oslet.",
    "Oslet": "Oslet is a village at the foot of Mount Verr, with 300 inhabitants.",
    "Pumps": "Pumps are machines that move water by mechanical action.",
}
HOSTILE = [
    'x" or tenant != "',
    "a'b\\c; drop",
    "%_|*[]",
    "tab\tnew\nline",
    "\x01\x1f bell",
    "{0} {{x}}",
    "名字",
    "🙂 ok",
    "long " * 100,
]


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("milvus") / "m.db")
    with MilvusPropertyGraphStore(path, "keep_open"):
        yield path


@pytest.fixture
def make(uri, tmp_path, request):
    """Open indexes of this test's own knowledge base."""
    name = "kb_" + "".join(char if char.isascii() and char.isalnum() else "_" for char in request.node.name)[:60]
    opened = []

    def open_index(**options):
        options = {"collection": name, "embed_model": MODEL, "working_dir": tmp_path / "storage", **options}
        opened.append(RAGAnythingIndex(uri=uri, **options))
        return opened[-1]

    yield open_index
    for index in opened:
        index.close()


def wiki(texts=None):
    return [
        Document(id_=f"doc-{title}", text=text, metadata={"title": title}) for title, text in (texts or WIKI).items()
    ]


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return folder


def names(index):
    """Return everything that the graph says of names, in Milvus and in memory."""
    found = {name for facts in index.knowledge_graph.store.scan_facts() for name, _, _ in facts.entity_names()}
    return found | {node.id for node in index.knowledge_graph.store.get()}


def agree(index):
    """Check that store, mirror and nodes know the same nodes."""
    facts = {item.node_id for item in index.knowledge_graph.store.scan_facts()}
    nodes = {n.node_id for n in index.store.get_nodes() if not (n.child_nodes and n.metadata["content_type"] == "page")}
    assert facts == nodes
    assert (index.knowledge_graph.mirror.rows_of(sorted(nodes)) >= 0).all()
    assert index.knowledge_graph.mirror.size == len(nodes)


def titles(items):
    return [item.node.metadata.get("title") for item in items]


def steps(items):
    return [step for item in items for step in json.loads(item.node.metadata.get("graph_path", "[]"))]


QUESTION = "Which mountain is near the birthplace of the composer of The Amber Lantern?"


def test_two_hops_from_documents(make):
    index = make()
    index.add_documents(wiki(), strict=True)
    agree(index)
    assert isinstance(index.as_retriever().default, EvidenceRetriever)
    items = index.as_retriever(similarity_top_k=3).retrieve(QUESTION)
    assert set(titles(items)) == {"The Amber Lantern", "Tomas Brenn", "Oslet"}
    assert {step["name"] for step in steps(items)} == {"Tomas Brenn", "Oslet"}
    assert index.knowledge_graph.describe("Tomas Brenn").title_of


def test_a_tenants_secret_is_never_reached(make):
    ours, theirs = make(tenant="a"), make(tenant='b" or tenant != "')
    ours.add_documents(wiki({key: WIKI[key] for key in ("The Amber Lantern", "Pumps")}), strict=True)
    before = ours.as_retriever(similarity_top_k=10).retrieve(QUESTION)
    theirs.add_documents(wiki({key: WIKI[key] for key in ("Tomas Brenn", "Oslet")}), strict=True)
    theirs.add_documents(wiki({f"Brenn {n}": f"Tomas Brenn {n} is a mountain composer." for n in range(10)}))
    for question in (QUESTION, "Tomas Brenn", "Oslet", "village at the foot of Mount Verr"):
        items = ours.as_retriever(similarity_top_k=10).retrieve(question)
        shown = " ".join(str(item.node.metadata) + item.node.get_content() for item in items)
        assert "Oslet" not in shown
        assert "Verr" not in shown
    after = ours.as_retriever(similarity_top_k=10).retrieve(QUESTION)
    assert [(i.node.node_id, i.score, i.node.metadata["evidence"]) for i in before] == [
        (i.node.node_id, i.score, i.node.metadata["evidence"]) for i in after
    ]
    assert ours.knowledge_graph.describe("Oslet") is None
    assert ours.knowledge_graph.stats()["nodes"] == 2
    everything = ours.knowledge_graph.store.get()
    assert "Oslet" not in str(everything) + str(ours.knowledge_graph.store.get_rel_map(everything)) + str(names(ours))
    assert not ours.delete("doc-Oslet")
    assert theirs.knowledge_graph.describe("Oslet")
    agree(ours)
    agree(theirs)


def test_hostile_names_everywhere(make, tmp_path):
    index = make()
    documents = [
        Document(
            id_=f"doc{name}", text=f"{name} is a village near Oslet.\n\n## {name}\n\n{name}.", metadata={"title": name}
        )
        for name in HOSTILE
    ]
    documents += [
        Document(id_="empty", text=""),
        Document(id_="dots", text="... !!! ..."),
        Document(id_="lower", text="it is"),
    ]
    index.add_documents(documents)
    assert not index.last_report.failures
    agree(index)
    for name in HOSTILE:
        index.as_retriever().retrieve(name)
        index.knowledge_graph.describe(name)
    for name in HOSTILE:
        assert index.delete(f"doc{name}")
        agree(index)
    assert not index.knowledge_graph.describe("Oslet")


def test_hostile_tenant_and_file_names(make, tmp_path):
    index = make(tenant='t" or 1==1 or "')
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ('a" or 1==1.md', "b'%_*.md", "名字.md", "empty.md"):
        (folder / name).write_text("" if name == "empty.md" else f"# Oslet\n\nOslet is a village. {name}\n")
    index.sync(folder)
    agree(index)
    for path in folder.iterdir():
        path.unlink()
    index.sync(folder)
    assert index.knowledge_graph.stats()["nodes"] == index.knowledge_graph.mirror.size == 0


def test_an_update_replaces_the_facts(make, tmp_path):
    folder = write(
        tmp_path / "files",
        a="# Brenn\n\nTomas Brenn is a composer.\n\n# Verr\n\nMount Verr is high.\n",
        b="Oslet is near Mount Verr.\n",
    )
    index = make()
    index.add(folder, strict=True)
    kept = {item.node_id for item in index.knowledge_graph.store.scan_facts()}
    write(folder, a="# Brenn\n\nTomas Brenn is a composer.\n\n# Lom\n\nLake Lom is deep.\n")
    index.add(folder, strict=True)
    agree(index)
    assert kept & {item.node_id for item in index.knowledge_graph.store.scan_facts()}
    assert "Lake Lom" in names(index)
    assert {doc for _, doc in index.knowledge_graph.store.sources(["Mount Verr"])["Mount Verr"]} == {
        entry.doc_id for entry in index.documents() if entry.file_name == "b.md"
    }
    (folder / "b.md").unlink()
    index.sync(folder)
    agree(index)
    assert "Mount Verr" not in names(index)
    assert index.delete(str(folder / "a.md"))
    assert (names(index), index.knowledge_graph.mirror.size) == (set(), 0)


def test_failed_documents_leave_no_facts(make):
    class Sick(HashEmbedding):
        def _get_text_embedding(self, text):
            if "poison" in text:
                raise ValueError("cannot embed this")
            return super()._get_text_embedding(text)

    index = make(embed_model=Sick(dimension=64))
    index.add_documents(wiki({"Good": "Oslet is a village.", "Bad": "Mount Verr is poison."}))
    assert len(index.last_report.failures) == 1
    agree(index)
    assert index.knowledge_graph.describe("Mount Verr") is None


def test_a_crash_after_the_nodes_is_repaired(make, tmp_path, monkeypatch):
    folder = write(tmp_path / "files", a="Oslet is a village near Mount Verr.\n", b="Lake Lom is deep.\n")
    index = make()

    def die(*_):
        raise KeyboardInterrupt  # As no "except Exception" catches.

    with monkeypatch.context() as patch:
        patch.setattr(KnowledgeGraph, "put_facts", die)
        with pytest.raises(KeyboardInterrupt):
            index.add(folder / "a.md")
    index.close()
    index = make()
    assert (index.store.count(), index.knowledge_graph.mirror.size) == (1, 0)
    assert [entry.state for entry in index.documents()] == ["writing"]
    assert len(index.add(folder).added) == 2
    agree(index)
    assert index.knowledge_graph.describe("Mount Verr")


def test_without_a_graph_and_with_one_later(make):
    index = make(graph=False)
    index.add_documents(wiki(), strict=True)
    with pytest.raises(ConfigurationError, match="keeps no graph"):
        index.knowledge_graph.stats()
    name = index.store.collection_name
    with MilvusPropertyGraphStore(index.store.uri, "any") as store:
        assert not [other for other in store.client.list_collections() if other.startswith(f"{name}__fact")]
    assert titles(index.as_retriever().retrieve("village with 300 inhabitants"))[0] == "Oslet"
    index.close()
    index = make()
    # As an index that was made before there were graphs.
    assert titles(index.as_retriever().retrieve("village with 300 inhabitants"))[0] == "Oslet"
    assert index.knowledge_graph.stats()["nodes"] == 0
    assert len(index.add_documents(wiki()).updated) == len(WIKI)
    agree(index)
    assert {step["name"] for step in steps(index.as_retriever().retrieve(QUESTION))} >= {"Tomas Brenn"}
    assert len(index.add_documents(wiki()).unchanged) == len(WIKI)


@pytest.mark.slow
def test_two_workers_and_transformations(make, tmp_path):
    seen = []

    class Watch(TransformComponent):
        def __call__(self, nodes, **_):
            seen.extend(nodes)
            return nodes

    folder = write(tmp_path / "files", **{f"f{n}": f"Oslet is village {n} of Mount Verr.\n" for n in range(3)})
    index = make(transformations=[Watch()])
    index.add(folder, workers=2, strict=True)
    assert len(seen) == 3
    assert not any("kg_nodes" in str(node.metadata) for node in seen)
    agree(index)
    assert index.knowledge_graph.describe("Oslet").nodes == 3


def test_an_old_graph_is_refused_when_opening(make, monkeypatch):
    index = make()
    index.add_documents(wiki())
    index.close()
    monkeypatch.setattr(graph_tables, "SCHEMA_VERSION", "999")
    with pytest.raises(SchemaMismatchError, match="overwrite=True"):
        make()
    make(overwrite=True)


def test_asking_while_documents_come_and_go(make):
    index = make()
    index.add_documents(wiki(), strict=True)
    index.knowledge_graph.refresh_after_s = 0
    stop = []

    def ask():
        count = 0
        while not stop:
            items = index.as_retriever().retrieve(QUESTION)
            assert "Oslet" in titles(items)
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(ask) for _ in range(2)]
        try:
            for number in range(4):
                index.add_documents(
                    wiki({f"Guest {number}": f"Guest {number} is a friend of Tomas Brenn."}), strict=True
                )
                assert index.delete(f"doc-Guest {number}")
        finally:
            stop.append(True)
        assert all(reader.result() for reader in readers)
    agree(index)
    assert not [t for t in titles(index.as_retriever(similarity_top_k=20).retrieve("Guest friend")) if "Guest" in t]


TRIPLES = {
    "vat": "(slow glaze, is fired in, kiln nine)\n(slow glaze, made by, Brenn)",
    "kiln nine": "(kiln nine, burns, birch wood)\n(slow glaze, made by, Brenn)",
}


def scripted(replies):
    def answer(messages):
        text = str(messages[-1].content).rsplit("Text:", maxsplit=1)[-1]
        if "unreadable" in text:
            raise RuntimeError("the model is down")
        return next((reply for words, reply in replies.items() if words in text), "")

    return ScriptedTextLLM(replies=[answer])


def triples(index, name):
    triplets = index.knowledge_graph.store.get_triplets(entity_names=[name])
    return {(a.id.lower(), r.id.lower(), b.id.lower()) for a, r, b in triplets}


def test_triples_of_a_model_join_nodes_and_go_with_their_documents(make):
    llm = scripted(TRIPLES)
    extractor = TripleExtractor(extractor=SimpleLLMPathExtractor(llm=llm, num_workers=1), retry_s=0)
    index = make(graph=GraphOptions(triple_extractor=extractor))
    texts = {
        "Vats": "From the vat we take slow glaze for the bowls.",
        "Ovens": "As for kiln nine, it takes slow glaze at night.",
        "Torn": "This page is unreadable.",
    }
    index.add_documents(wiki(texts | WIKI))
    assert not index.last_report.failures
    ((source, reason),) = index.last_report.warnings
    assert "Torn" in source
    assert "the model is down" in reason
    agree(index)
    assert ("slow glaze", "made by", "brenn") in triples(index, "slow glaze")
    sources = index.knowledge_graph.store.sources(["slow glaze"])["slow glaze"]
    assert {doc for _, doc in sources} == {"doc-Vats", "doc-Ovens"}
    assert index.knowledge_graph.describe("slow glaze").nodes == 2
    found = index.as_retriever(similarity_top_k=2, gate=0).retrieve("What takes the glaze from the vat at night?")
    assert set(titles(found)) == {"Vats", "Ovens"}
    assert {step["name"].lower() for step in steps(found)} == {"slow glaze"}
    calls = len(llm.requests)
    assert index.delete("doc-Ovens")
    assert len(llm.requests) == calls
    assert triples(index, "Kiln nine") == {("slow glaze", "is fired in", "kiln nine")}
    assert {doc for _, doc in index.knowledge_graph.store.sources(["slow glaze"])["slow glaze"]} == {"doc-Vats"}
    # A reading again replaces what the model said before, for nodes that did not change too.
    extractor.extractor = SimpleLLMPathExtractor(
        llm=scripted({"vat": "(vat, holds, slow glaze)"}), num_workers=1, max_paths_per_chunk=3
    )
    assert len(index.add_documents(wiki({"Vats": texts["Vats"]})).updated) == 1
    assert triples(index, "slow glaze") == {("vat", "holds", "slow glaze")}
    # So does one without a model, as far as nodes change.
    index.close()
    index = make()
    index.add_documents(wiki({"Vats": "The bowls stay bare."}))
    assert triples(index, "slow glaze") == set()
    assert index.knowledge_graph.describe("slow glaze") is None


ENGLISH = WIKI
GERMAN = {
    "Oslet": "Oslet ist ein Dorf am Fuß des Berges Verr mit 300 Einwohnern.",
    "Tomas Brenn": "Tomas Brenn ist ein Komponist. Er wurde in Oslet geboren.",
    "Verr": "Der Verr ist ein Berg im Norden des Landes.",
}
CHINESE = {
    "奥斯莱特": "奥斯莱特是维尔山脚下的一个村庄，有三百名居民。",
    "托马斯": "托马斯是一位作曲家，出生于奥斯莱特。",
    "维尔山": "维尔山是该国北部的一座山。",
}
MEMOS = {
    "memo": "Please note that the kitchen closes at noon.\n\nWe thank all staff for the help with the move.",
    "finance": "Net sales increased 4.2% to $1.3 billion in the third quarter.\n\nOperating expenses decreased due to "
    "lower freight costs. See Note 4 for the amounts by segment.",
    "table": "| Region | 2023 | 2024 |\n|---|---|---|\n| North | 12.1 | 14.0 |\n| South | 9.7 | 8.8 |\n\n"
    "The amounts are in thousands of dollars.",
}


def opens_names(index, question):
    """Return whether retrieval followed links over names."""
    seen = []
    rank = LinkedSetRanking.rank

    def watched(self, *arguments):
        ranked = yield from rank(self, *arguments)
        seen.append(ranked.by_names)
        return ranked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LinkedSetRanking, "rank", watched)
        index.as_retriever().retrieve(question)
    return seen == [True]


@pytest.mark.parametrize(
    ("texts", "question", "expected"),
    [
        (ENGLISH, "Where was Tomas Brenn born?", True),
        (GERMAN, "Wo wurde Tomas Brenn geboren?", True),
        (CHINESE, "托马斯出生在哪里？", True),
        (MEMOS, "How much did net sales increase in the North?", False),
    ],
    ids=["english", "german", "chinese", "memos"],
)
@pytest.mark.parametrize("titled", [True, False])
def test_links_over_names_are_for_texts_about_things(make, texts, question, expected, titled):
    index = make()
    index.add_documents(
        [
            Document(id_=f"doc-{name}", text=text, metadata={"title": name} if titled and expected else {})
            for name, text in texts.items()
        ],
        strict=True,
    )
    assert opens_names(index, question) == expected


TABLE = [["Region", "2023", "2024"], ["North", "12.1", "14.0"], ["South", "9.7", "8.8"]]
UNIT = "All amounts of revenue by region are in thousands of euros."
CITING = "The plant has two boilers, as Figure 1 shows, and a chimney."


def markdown_file(path):
    table = "\n".join("| " + " | ".join(row) + " |" for row in [TABLE[0], ["---"] * 3, *TABLE[1:]])
    path.write_text(f"# Results\n\n{UNIT}\n\n{table}\n\n# Staff\n\nThe canteen is new.\n", encoding="utf-8")


def html_file(path):
    rows = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in TABLE)
    path.write_text(
        f"<h1>Results</h1><p>{UNIT}</p><table>{rows}</table><h1>Staff</h1><p>The canteen is new.</p>", encoding="utf-8"
    )


def docx_file(path):
    document = docx.Document()
    document.add_heading("Results", 1)
    document.add_paragraph(UNIT)
    table = document.add_table(rows=3, cols=3)
    for row, cells in enumerate(TABLE):
        for column, cell in enumerate(cells):
            table.cell(row, column).text = cell
    document.add_heading("Staff", 1)
    document.add_paragraph("The canteen is new.")
    document.save(str(path))


@pytest.mark.parametrize(("name", "make_file"), [("a.md", markdown_file), ("a.html", html_file), ("a.docx", docx_file)])
def test_a_table_and_the_text_of_its_section_are_a_set(make, tmp_path, name, make_file):
    make_file(tmp_path / name)
    index = make()
    index.add(tmp_path / name, strict=True)
    found = index.as_retriever(similarity_top_k=2).retrieve("What was the revenue of the North in 2024, in euros?")
    assert {item.node.metadata["content_type"] for item in found} == {"table", "text"}
    assert any("14.0" in item.node.get_content() for item in found)
    assert any("thousands of euros" in item.node.get_content() for item in found)
    assert {(step["relation"], step["name"]) for step in steps(found)} == {("same section", "Results")}


def test_a_figure_and_the_text_that_cites_it_are_a_set(make, tmp_path):
    Image.new("RGB", (200, 120), "white").save(tmp_path / "plan.png")
    (tmp_path / "a.md").write_text(
        f"# Plant\n\n{CITING}\n\n# Plans\n\n![Figure 1: Site plan of the works](plan.png)\n\n"
        "# Staff\n\nThe canteen is new.\n",
        encoding="utf-8",
    )
    index = make()
    index.add(tmp_path / "a.md", strict=True)
    assert "image" in index.status()["nodes"]
    found = index.as_retriever(similarity_top_k=2).retrieve("How many boilers does the plant on the site plan have?")
    assert {item.node.metadata["content_type"] for item in found} == {"image", "text"}
    assert {step["name"] for step in steps(found)} == {"Figure 1"}
    assert {step["relation"] for step in steps(found)} <= {"cites", "cited by"}


def test_on_pages_links_change_nothing(make, tmp_path):
    report = canvas.Canvas(str(tmp_path / "report.pdf"))
    for lines in (
        ["Pumps", "The pump moves water."],
        ["Sales", "Sales of pumps grew."],
        ["Oslet", "Oslet is a village."],
    ):
        for place, line in enumerate(lines):
            report.drawString(72, 760 - 60 * place, line)
        report.showPage()
    report.save()
    index = make()
    index.add(tmp_path / "report.pdf", strict=True)
    plain = NodeRetriever(index.store, MODEL, similarity_top_k=10)
    for question in ("How did sales of pumps grow?", "Oslet", "page 2"):
        ours = index.as_retriever(similarity_top_k=10).retrieve(question)
        assert ours
        assert [(i.node, i.score) for i in ours] == [(i.node, i.score) for i in plain.retrieve(question)]
