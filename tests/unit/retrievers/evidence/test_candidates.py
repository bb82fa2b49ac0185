import pytest
from llama_index.core.vector_stores.types import FilterCondition, MetadataFilter, MetadataFilters

from llama_index_raganything.questions.question import understand
from llama_index_raganything.retrievers.evidence.candidates import look_ups


def only(key, value="x"):
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value)])


def keys_of(filters):
    for item in filters.filters:
        if isinstance(item, MetadataFilters):
            yield from keys_of(item)
        else:
            yield item.key


@pytest.mark.parametrize(
    ("question", "keys"),
    [
        ("What is on page 3?", {"page", "page_label", "content_type"}),
        ("What is on page iv?", {"page_label", "content_type"}),
        ("What does Figure 4 show?", {"label"}),
        ("Who is the author?", {"page", "content_type"}),
        ("What is on the last page?", {"content_type"}),
        ("How do pumps work?", set()),
    ],
)
def test_what_is_named_is_looked_up_inside_the_callers_filter(question, keys):
    requests = look_ups(understand(question), ["doc"], only("tenant"))
    for request in requests:
        assert {"tenant", "doc_id"} <= set(keys_of(request.filters))
        assert request.filters.condition == FilterCondition.AND
    assert {key for request in requests for key in keys_of(request.filters)} - {"tenant", "doc_id"} == keys


def test_nothing_is_looked_up_without_documents():
    assert look_ups(understand("page 3"), [], None) == []
