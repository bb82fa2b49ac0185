from llama_index.core.vector_stores.types import FilterCondition, MetadataFilter, MetadataFilters

from llama_index_raganything.retrievers.evidence.candidates import ELEMENT_KEYS
from llama_index_raganything.stores.metadata_filters import all_of, any_of, equal_to, mentions, of_documents, one_of


def only(key, value="x"):
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value)])


def keys_of(filters):
    for item in filters.filters:
        if isinstance(item, MetadataFilters):
            yield from keys_of(item)
        else:
            yield item.key


def test_filters_join_so_that_all_hold():
    assert all_of(None, None) is None
    assert all_of(None, only("a"), MetadataFilters(filters=[])) == only("a")
    joined = all_of(only("a"), only("b"))
    assert joined.condition == FilterCondition.AND
    assert list(keys_of(joined)) == ["a", "b"]


def test_conditions_are_found_however_deep():
    deep = MetadataFilters(filters=[only("a"), MetadataFilters(filters=[only("content_type")])])
    assert mentions(deep, ELEMENT_KEYS)
    assert not mentions(only("doc_id"), ELEMENT_KEYS)
    assert not mentions(None, ELEMENT_KEYS)


def test_joined_filters_are_flat_where_their_meaning_allows():
    one, other = any_of(only("a"), only("b")), MetadataFilters(filters=[only("c")], condition=FilterCondition.NOT)
    joined = all_of(only("d"), all_of(only("e"), only("f")), one, other)
    assert joined.filters == [*only("d").filters, *only("e").filters, *only("f").filters, one, other]
    assert any_of(only("a"), None, only("b")).condition == FilterCondition.OR


def test_documents_are_named_by_one_key():
    assert of_documents("d") == equal_to("doc_id", "d")
    assert of_documents("d", "e") == one_of("doc_id", ["d", "e"])
    assert of_documents() == one_of("doc_id", [])
