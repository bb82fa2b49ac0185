"""``graph stats`` and ``graph show`` on the command line, and the links that ``search`` and ``ask`` show."""

import json

import pytest

from llama_index_raganything.cli.main import main
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore

FILES = {
    "town.md": "# Tromsø\n\nTromsø is a city in northern Norway. The mayor of Tromsø is Gunnar Wilhelmsen.\n",
    "person.md": "# Sigrid Aasen\n\nSigrid Aasen was an engineer, born in Tromsø. She worked with Olav Berge.\n",
    "中文.md": "# 北京\n\n北京是中国的首都。\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    common = ["--uri", str(folder / "kb.db"), "--working-dir", str(folder / "storage")]
    for tenant in ("north", "south"):
        names = list(FILES) if tenant == "north" else ["town.md"]
        paths = [str(folder / name) for name in names]
        assert main(["ingest", *common, "--tenant", tenant, "--no-progress", *paths]) == 0
    return folder


@pytest.fixture
def cli(folder, capsys):
    def call(*arguments, tenant="north"):
        capsys.readouterr()
        words = 2 if arguments[0] == "graph" else 1
        common = ["--uri", str(folder / "kb.db"), "--working-dir", str(folder / "storage"), "--tenant", tenant]
        code = main([*arguments[:words], *common, *arguments[words:]])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def test_stats_count_what_is_there(cli):
    code, out, _ = cli("graph", "stats", "--json")
    stats = json.loads(out)
    assert code == 0
    assert stats["nodes"] == 3
    assert stats["sentences"] == 5
    assert stats["triples"] == 0
    code, out, _ = cli("graph", "stats")
    assert "Nodes with facts: 3" in out
    assert "Nodes with facts: 1" in cli("graph", "stats", tenant="south")[1]


def test_show_tells_where_a_name_is_mentioned_and_what_is_about_it(cli):
    code, out, _ = cli("graph", "show", "the TROMSØ", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["name"], found["nodes"], found["documents"]) == ("Tromsø", 2, 2)
    assert [item["metadata"]["file_name"] for item in found["title_of"]] == ["town.md"]
    texts = {item["text"]: item["metadata"]["file_name"] for item in found["mentions"]}
    assert texts["Sigrid Aasen was an engineer, born in Tromsø."] == "person.md"
    assert texts["The mayor of Tromsø is Gunnar Wilhelmsen."] == "town.md"
    assert {"Norway", "Gunnar Wilhelmsen", "Sigrid Aasen"} <= {item["name"] for item in found["together_with"]}
    assert "Olav Berge" not in str(found["together_with"])


def test_show_prints_names_that_occur_once_and_chinese_ones(cli):
    code, out, _ = cli("graph", "show", "Olav Berge")
    assert code == 0
    assert "Olav Berge: in 1 node of 1 document\n" in out
    assert "She worked with Olav Berge." in out
    assert "person.md" in out
    assert "Title or heading of" not in out
    code, out, _ = cli("graph", "show", "北京")
    assert code == 0
    assert "北京是中国的首都。" in out


def test_limit_bounds_each_list(cli):
    found = json.loads(cli("graph", "show", "Tromsø", "--limit", "1", "--json")[1])
    assert [len(found[key]) for key in ("title_of", "mentions", "together_with")] == [1, 1, 1]
    assert found["nodes"] == 2
    with pytest.raises(SystemExit) as stop:
        cli("graph", "show", "Tromsø", "--limit", "0")
    assert stop.value.code == 2


@pytest.mark.parametrize("name", ["Gunar Wilhelmsen", "Wilhelmsen"])
def test_an_unknown_name_gets_close_spellings(cli, name):
    code, out, err = cli("graph", "show", name)
    assert (code, out) == (1, "")
    assert "Did you mean 'Gunnar Wilhelmsen'?" in err
    assert json.loads(cli("graph", "show", name, "--json")[1])["similar"] == ["Gunnar Wilhelmsen"]


@pytest.mark.parametrize("name", ["", " ", '" or 1 == 1 or "', "%", "|", "x\\", "\x00", "🦆" * 500])
def test_hostile_names_are_unknown(cli, name):
    code, _, err = cli("graph", "show", name)
    assert code == 1
    assert "No text has the name" in err


def test_another_tenants_names_are_neither_shown_nor_suggested(cli):
    for name in ("Sigrid Aasen", "Sigrid Aassen"):
        code, out, err = cli("graph", "show", name, tenant="south")
        assert (code, out) == (1, "")
        assert "Did you mean" not in err
    assert "Sigrid" not in cli("graph", "show", "Tromsø", tenant="south")[1]


def test_search_says_which_name_led_to_a_result(cli):
    _, out, _ = cli("search", "Who is the mayor of the city where Sigrid Aasen was born?")
    assert "via 'Tromsø': Sigrid Aasen -> Tromsø" in out


def test_an_empty_knowledge_base_says_so(cli):
    code, out, err = cli("graph", "stats", tenant="nobody")
    assert code == 0
    assert "is empty" in err
    assert "Nodes with facts: 0" in out


def test_triples_of_an_llm_are_shown(tmp_path, capsys):
    from llama_index.core.graph_stores.types import EntityNode, Relation

    graph = KnowledgeGraph(MilvusPropertyGraphStore(str(tmp_path / "kb.db"), "rag_anything"))
    source = {"triplet_source_id": "n1", "ref_doc_id": "d1"}
    graph.store.upsert_nodes([EntityNode(name=name, properties=source) for name in ("Ada", "Charles")])
    graph.store.upsert_relations([Relation(source_id="Ada", target_id="Charles", label="WROTE_FOR", properties=source)])
    graph.close()
    assert main(["graph", "show", "ada", "--uri", str(tmp_path / "kb.db"), "--working-dir", str(tmp_path)]) == 0
    assert "Ada -> WROTE_FOR -> Charles" in capsys.readouterr().out
