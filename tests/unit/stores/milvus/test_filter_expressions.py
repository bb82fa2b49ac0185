import pytest
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from llama_index_raganything.errors import FilterError
from llama_index_raganything.stores.milvus.filter_expressions import (
    NOTHING,
    all_of,
    any_of,
    check_expression,
    compile_filters,
    is_filterable,
    literal,
    quote,
    shadows,
)


def compiled(key, value, operator=FilterOperator.EQ):
    return compile_filters(MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=operator)]))


def test_quote_escapes_backslashes_first():
    assert quote('a\\"b\n\r\t') == '"a\\\\\\"b\\n\\r\\t"'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**63, None, [1], {}, b"x"])
def test_values_that_are_no_literals(value):
    with pytest.raises(FilterError):
        literal(value)


def test_literals():
    assert [literal(value) for value in (True, 1, -2.5, "x")] == ["true", "1", "-2.5", '"x"']
    with pytest.raises(FilterError, match="Unicode"):
        literal("\ud800")


def test_lists_and_conjunctions():
    assert any_of("id", []) == NOTHING
    assert any_of("id", ['a"', "b"]) == 'id in ["a\\"", "b"]'
    assert all_of("", "a == 1", "") == "a == 1"
    assert all_of() == ""
    assert all_of("a", "b or c") == "(a) and (b or c)"


@pytest.mark.parametrize("expression", ['page > 1) or (id != ""', "(a", 'kind == "x', "a)(", "a == ')' or b)"])
def test_expressions_that_reach_out_of_their_brackets(expression):
    with pytest.raises(FilterError):
        check_expression(expression)


@pytest.mark.parametrize("expression", ["", 'a == ")" and (b == "\\"(")', "kind like 'x)%'"])
def test_expressions_that_stay_inside(expression):
    assert check_expression(expression) == expression


def test_no_filter_is_no_expression():
    assert compile_filters(None) == ""
    assert compile_filters(MetadataFilters(filters=[])) == ""


def test_filters_with_the_wrong_kind_of_value():
    for value, operator in [
        (["a"], FilterOperator.EQ),
        (["a"], FilterOperator.CONTAINS),
        ("a", FilterOperator.IN),
        ("a", FilterOperator.ANY),
        (1, FilterOperator.TEXT_MATCH),
        (["a"], FilterOperator.GT),
    ]:
        with pytest.raises(FilterError, match="Filter"):
            compiled("kind", value, operator)


def test_lists_under_nested_keys_and_keywords():
    for key in ("a.b", "like", "NOT"):
        with pytest.raises(FilterError, match="top-level"):
            compiled(key, "x", FilterOperator.CONTAINS)
    assert compiled("like", "x") == compiled("other", "x").replace("other", "like")


def test_node_id_takes_only_equality():
    with pytest.raises(FilterError, match="node id"):
        compiled("id", "x", FilterOperator.TEXT_MATCH)


def test_deep_nesting_is_refused():
    filters = MetadataFilters(filters=[MetadataFilter(key="a", value=1)])
    for _ in range(100):
        filters = MetadataFilters(filters=[filters], condition=FilterCondition.NOT)
    with pytest.raises(FilterError, match="nested"):
        compile_filters(filters)


def test_shadows_only_for_strings_that_need_them():
    assert shadows({"a": "plain", "b": 1, "c": ["X"]}) == {}
    assert shadows({"a": "Über", "n": {"k": "a_b", "m": "x"}}) == {
        "_literal": {"n": {"k": "a\ue05fb"}},
        "_lower": {"a": "über", "n": {"k": "a\ue05fb"}},
    }


def test_keys_that_can_be_filtered():
    assert [key for key in ("a", "a b", "_a", "text", "tenant", "a.b", "ключ", "") if is_filterable(key)] == ["a"]
