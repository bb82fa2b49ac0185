from llama_index.core.schema import TextNode

from llama_index_raganything.stores.nodes.collection import RowCodec


def test_stored_text_is_not_stored_twice():
    row = RowCodec(None, "", keywords=False, tenant=None).encode(TextNode(text="unmistakable words"))

    assert [name for name, value in row.items() if "unmistakable" in str(value)] == ["text"]


def test_tenant_keys_are_reversible():
    codec = RowCodec(None, "", keywords=False, tenant="a")

    assert codec.node_id(codec.key("x|y")) == "x|y"
