import pickle

from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

from llama_index_raganything.nodes import NodeView
from llama_index_raganything.ranking.evidence_ranker import EvidenceRanker
from llama_index_raganything.retrievers.evidence.candidates import NodeMemory, Profile


def test_pages_and_elements_know_each_other_and_other_nodes_have_none():
    page = TextNode(text="p", metadata={"content_type": "page", "page": 1})
    element = TextNode(text="e", metadata={"content_type": "text", "page": 1})
    page.relationships[NodeRelationship.CHILD] = [RelatedNodeInfo(node_id=element.node_id)]
    element.relationships[NodeRelationship.PARENT] = RelatedNodeInfo(node_id=page.node_id)
    assert NodeView(page).element_node_ids == (element.node_id,)
    assert NodeView(element).page_node_id == page.node_id
    foreign = TextNode(text="f", relationships={NodeRelationship.PARENT: RelatedNodeInfo(node_id="q")})
    assert NodeView(foreign).page_node_id is None
    assert NodeView(foreign).element_node_ids == ()


def remember(memory, node):
    memory.keep(Profile(node.node_id, EvidenceRanker().candidate(node), None, ()), node)


def test_memory_keeps_the_last_used_and_only_ids_made_from_content():
    memory = NodeMemory(size=2)
    ids = [letter * 32 for letter in "abc"]
    for node_id in ids[:2]:
        remember(memory, TextNode(id_=node_id, text="x", metadata={"content_type": "text"}))
    memory.recall(ids[:1])
    remember(memory, TextNode(id_=ids[2], text="x", metadata={"content_type": "text"}))
    remember(memory, TextNode(id_="my-own-id", text="x", metadata={"content_type": "text"}))
    remember(memory, TextNode(id_="d" * 32, text="a node of another parser"))
    assert set(memory.recall([*ids, "my-own-id", "d" * 32])) == {ids[0], ids[2]}
    memory.forget([ids[0]])
    assert set(memory.recall(ids)) == {ids[2]}
    assert len(pickle.loads(pickle.dumps(memory))) == 0
