import json
import pickle

import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.schema import ImageNode, MetadataMode, NodeWithScore, TextNode

from llama_index_raganything.elements import EVIDENCE_KEY
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.ranking.evidence_ranker import EvidenceRanker, read_evidence
from llama_index_raganything.ranking.scoring import EvidenceWeights

PAGES = [
    "Annual report of Example Ltd\nWritten by Ada Byron",
    "Contents\nSales 3\nFigure 1 is on page 4\n2",
    "Sales grew by 12 percent, see Figure 1\nThe gross margin rose.\n3",
    "Figure 1: Sales by region\nNorth 5 South 7\n4",
    "Appendix B\nCall 555-123-4567 or write to office@example.com\n5",
    "the second half of the appendix\n6",
    "Margin notes. Gross weights.\n7",
]


def page_nodes(texts=PAGES, document="d", offset=0):
    return [
        NodeWithScore(
            node=TextNode(
                id_=f"{document}{number}",
                text=text,
                metadata={"doc_id": document, "content_type": "page", "page": number + offset},
            )
        )
        for number, text in enumerate(texts, 1)
    ]


def ranked(question, nodes=None, **options):
    return EvidenceRanker(**options).postprocess_nodes(page_nodes() if nodes is None else nodes, query_str=question)


def first(question, **options):
    return ranked(question, **options)[0].node.metadata["page"]


@pytest.mark.parametrize(
    ("question", "page"),
    [
        ("By how much did sales rise, and the margin?", 3),
        ("gross margin", 3),
        ("What is on page 6?", 6),
        ("What is on the last page?", 7),
        ("What is on the cover?", 1),
        ("Who is the author?", 1),
        ("What does Figure 1 show?", 4),
        ("What stands in Appendix B?", 5),
        ("Which telephone number is given?", 5),
        ("Which email is given?", 5),
    ],
)
def test_the_page_that_answers_comes_first(question, page):
    assert first(question) == page


@pytest.mark.parametrize(
    ("signal", "question", "page"),
    [
        ("page", "What is on page 6?", 6),
        ("cover", "What is on the last page?", 7),
        ("label", "What does Figure 1 show?", 4),
        ("answer", "Which email is given?", 5),
        ("first_page", "Who is the author?", 1),
    ],
)
def test_each_signal_does_what_it_says(signal, question, page):
    on = {item.node.metadata["page"]: read_evidence(item.node) for item in ranked(question)}
    off = {
        item.node.metadata["page"]: read_evidence(item.node)
        for item in ranked(question, weights=EvidenceWeights(**{signal: 0.0}))
    }
    assert on[page][signal] > 0
    assert all(signal not in evidence for evidence in off.values())


def test_printed_page_numbers_count_more_than_positions():
    texts = [f"{text.rsplit(chr(10), 1)[0]}\n{number + 10}" for number, text in enumerate(PAGES, 1)]
    assert ranked("What is on page 14?", page_nodes(texts))[0].node.metadata["page"] == 4


def test_word_order_decides_between_equal_words():
    nodes = page_nodes(["dog bites man in town", "man bites dog in town", "unrelated words here now"])
    assert ranked("man bites dog", nodes)[0].node.node_id == "d2"


def test_the_document_that_fits_wins_over_several():
    nodes = page_nodes(["The pump of Alpha", "Its warranty lasts two years"], "a")
    nodes += page_nodes(["The lathe of Beta", "Its warranty lasts six years"], "b")
    order = [item.node.node_id for item in ranked("How long is the warranty of the pump?", nodes)]
    assert order.index("a2") < order.index("b2")
    without = ranked("How long is the warranty of the pump?", nodes, weights=EvidenceWeights(document=0.0))
    assert all("document" not in read_evidence(item.node) for item in without)


def test_an_appendix_goes_on_until_the_next_heading():
    on = {item.node.metadata["page"]: read_evidence(item.node) for item in ranked("What is in Appendix B?")}
    assert on[5]["label"] > on[6]["label"] > 0
    assert "label" not in on[4]


def test_a_lexicon_is_idle_until_it_fires_and_users_bring_their_own():
    own = {"name": "own", "entries": [{"pattern": "colou?r", "words": "hue shade"}]}
    nodes = page_nodes(["The shade is blue", "The size is large", "Other things"])
    with_lexicon = ranked("Which color?", nodes, lexicons=[own])
    assert with_lexicon[0].node.node_id == "d1"
    assert "lexicon" in read_evidence(with_lexicon[0].node)
    assert "lexicon" not in read_evidence(ranked("Which size?", nodes, lexicons=[own])[0].node)


def test_a_lexicon_from_a_file(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"name": "own", "entries": [{"pattern": "color", "words": "hue"}]}))
    assert ranked("color", page_nodes(["a hue", "b", "c"]), lexicons=[str(path)])[0].node.node_id == "d1"


@pytest.mark.parametrize(
    "bad",
    [
        "no-such-lexicon",
        "/nowhere/x.json",
        {"name": "x"},
        {"entries": [{"pattern": "("}]},
        {"entries": [{"groups": ["y"], "pattern": "x"}]},
    ],
)
def test_a_lexicon_that_cannot_be_used_is_refused(bad):
    with pytest.raises(ConfigurationError):
        EvidenceRanker(lexicons=[bad])


def test_finance_ratios_lead_to_statements():
    nodes = page_nodes(
        [
            "Our return policy",
            "Consolidated Balance Sheets\nTotal assets 5\nTotal liabilities 3\nShareholders equity 2\nInventories",
            "Consolidated Statements of Earnings\nRevenue\nCost of sales\nGross profit\nNet earnings",
            "Risk factors and return of goods",
        ]
    )
    best = [item.node.node_id for item in ranked("What is the return on equity?", nodes)[:2]]
    assert set(best) == {"d2", "d3"}


def test_nodes_passed_in_stay_as_they_are():
    nodes = page_nodes()
    before = [(item.model_dump_json(), item.node.hash) for item in nodes]
    result = ranked("What does Figure 1 show?", nodes)
    assert [(item.model_dump_json(), item.node.hash) for item in nodes] == before
    assert all(EVIDENCE_KEY not in item.node.metadata for item in nodes)
    assert {id(item.node) for item in nodes}.isdisjoint({id(item.node) for item in result})


def test_evidence_is_hidden_from_models_and_scores_descend():
    result = ranked("How much did sales grow?")
    for item in result:
        for mode in (MetadataMode.EMBED, MetadataMode.LLM):
            assert EVIDENCE_KEY not in item.node.get_content(metadata_mode=mode)
    scores = [item.score for item in result]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert 0 < read_evidence(result[0].node)["coverage"] <= 1


def test_plain_nodes_of_other_readers():
    nodes = [
        NodeWithScore(node=TextNode(id_="1", text="about cats", metadata={"page_label": "1"}), score=0.2),
        NodeWithScore(node=TextNode(id_="2", text="about dogs", metadata={"page_label": "2"}), score=0.9),
        NodeWithScore(node=TextNode(id_="3", text="about birds"), score=None),
        NodeWithScore(node=ImageNode(id_="4", text="picture of a fish", image_path=None)),
    ]
    assert ranked("cats", nodes)[0].node.node_id == "1"
    assert ranked("What is on page 2?", nodes)[0].node.node_id == "2"
    assert isinstance(ranked("fish", nodes)[0].node, ImageNode)


def test_chinese():
    nodes = page_nodes(["向量数据库用于图像检索", "天气很好", "第三章 安装说明\n附录B 参数表"])
    assert ranked("图像检索是什么?", nodes)[0].node.node_id == "d1"
    assert ranked("附录B里有什么?", nodes)[0].node.node_id == "d3"
    assert ranked("第2页讲了什么?", nodes)[0].node.node_id == "d2"


@pytest.mark.parametrize("question", ["", " ", "\x00", "(" * 999, "a" * 50_000, "\ud800", "???", "page 99999"])
def test_hostile_questions_rank_all_nodes(question):
    assert len(ranked(question)) == len(PAGES)


def test_no_nodes_no_query_and_top_n():
    ranker = EvidenceRanker(top_n=2)
    assert ranker.postprocess_nodes([], query_str="x") == []
    assert len(ranker.postprocess_nodes(page_nodes(), query_str="sales")) == 2
    assert [n.node.node_id for n in ranker.postprocess_nodes(page_nodes())] == ["d1", "d2"]
    with pytest.raises(ValueError, match="top_n"):
        EvidenceRanker(top_n=0)


async def test_async_is_the_same():
    ranker = EvidenceRanker()
    sync = ranker.postprocess_nodes(page_nodes(), query_str="sales figures")
    other = await ranker.apostprocess_nodes(page_nodes(), query_str="sales figures")
    assert [(n.node.node_id, n.score) for n in sync] == [(n.node.node_id, n.score) for n in other]


def test_serialisation_pickle_and_a_cache_that_changes_nothing():
    ranker = EvidenceRanker(top_n=3, weights=EvidenceWeights(head=0.0), cache_size=2)
    wanted = [n.node.node_id for n in ranker.postprocess_nodes(page_nodes(), query_str="sales")]
    for copy in (EvidenceRanker.from_dict(ranker.to_dict()), pickle.loads(pickle.dumps(ranker)), ranker):
        assert [n.node.node_id for n in copy.postprocess_nodes(page_nodes(), query_str="sales")] == wanted
        assert copy.weights == ranker.weights


def test_ranking_emits_rerank_events():
    seen = []

    class Handler(BaseEventHandler):
        @classmethod
        def class_name(cls):
            return "Handler"

        def handle(self, event, **kwargs):
            seen.append(event.class_name())

    root = get_dispatcher()
    handler = Handler()
    root.add_event_handler(handler)
    try:
        ranked("sales")
    finally:
        root.event_handlers.remove(handler)
    assert [name for name in seen if "ReRank" in name] == ["ReRankStartEvent", "ReRankEndEvent"]
