"""The batching core alone: what goes into a request, what is made of answers and of errors."""

import pytest

from llama_index_raganything import errors
from llama_index_raganything.models.dashscope import embedding_batches as batches
from llama_index_raganything.models.dashscope.embedding_batches import (
    EmbeddingBatch,
    EmbeddingCall,
    blames_an_input,
    content_bytes,
    read_embeddings,
)

CONTENT = errors.DashScopeContentError("inspected", code="DataInspectionFailed", status=400)
SERVER = errors.DashScopeServerError("broken", code="InternalError", status=500)
KEY = errors.DashScopeAuthenticationError("no key", code="InvalidApiKey", status=401)


def batch_of(inputs, limit=4):
    def encode(place):
        if isinstance(inputs[place], Exception):
            raise inputs[place]
        return inputs[place]

    def read(answer, count):
        return read_embeddings(answer, count, 1, "index")

    return EmbeddingBatch(EmbeddingCall("/", len(inputs), limit, encode, lambda contents: {"c": contents}, read))


def answer_of(*vectors):
    items = [{"index": index, "embedding": vector, "type": "text"} for index, vector in enumerate(vectors)]
    return {"output": {"embeddings": items}, "usage": {}, "request_id": "r"}


def run(batch, outcome):
    """Send everything, and return the contents of each request; ``outcome`` raises or not."""
    sent = []
    while request := batch.next_request():
        contents = request.body["c"]
        sent.append(contents)
        try:
            outcome(contents)
        except errors.DashScopeError as error:
            batch.fail(request, error)
        else:
            batch.succeed(request, answer_of(*([float(len(content))] for content in contents)))
    return sent


def fine(contents):
    return None


def test_requests_are_filled_up_to_the_limit():
    batch = batch_of(["a", "bb", "ccc", "d", "ee"])
    assert run(batch, fine) == [["a", "bb", "ccc", "d"], ["ee"]]
    assert batch.result() == [[1.0], [2.0], [3.0], [1.0], [2.0]]


def test_nothing_in_nothing_out():
    batch = batch_of([])
    assert run(batch, fine) == []
    assert batch.result() == []


def test_requests_are_filled_up_to_the_bytes(monkeypatch):
    monkeypatch.setattr(batches, "MAX_REQUEST_BYTES", 10)
    texts = ["aaaa", "bbbb", "cccc", "图图", "d" * 30, "e", "f"]
    assert run(batch_of(texts), fine) == [["aaaa", "bbbb"], ["cccc", "图图"], ["d" * 30], ["e", "f"]]


def test_bytes_are_counted_as_they_are_sent():
    assert content_bytes("图a") == 4
    assert content_bytes({"text": "图"}) >= len('{"text":"图"}'.encode()) - 2
    assert content_bytes([{"image": "x" * 100}, {"text": "y" * 10}]) >= 110


def test_an_input_that_cannot_be_encoded_costs_itself_alone():
    bad = errors.CorruptFileError("damaged", "x.png")
    batch = batch_of(["a", bad, "b", "c", "d"])
    assert run(batch, fine) == [["a", "b", "c"], ["d"]]
    with pytest.raises(errors.PartialEmbeddingError, match=r"1 of 5.*damaged") as caught:
        batch.result()
    assert caught.value.embeddings == [[1.0], None, [1.0], [1.0], [1.0]]
    assert caught.value.failures == {1: bad}


def test_only_inputs_that_cannot_be_encoded_send_nothing():
    bad = errors.CorruptFileError("damaged", "x.png")
    batch = batch_of([bad])
    assert run(batch, fine) == []
    with pytest.raises(errors.CorruptFileError):
        batch.result()
    batch = batch_of([bad, errors.SourceError("missing")])
    run(batch, fine)
    with pytest.raises(errors.PartialEmbeddingError) as caught:
        batch.result()
    assert caught.value.embeddings == [None, None]
    assert [type(error).__name__ for error in caught.value.failures.values()] == ["CorruptFileError", "SourceError"]


@pytest.mark.parametrize("blamed", [0, 3, 7])
def test_halving_finds_the_input_to_blame(blamed):
    def inspect(contents):
        if str(blamed) in contents:
            raise CONTENT

    batch = batch_of([str(number) for number in range(8)], limit=8)
    sent = run(batch, inspect)
    assert len(sent) == 1 + 2 * 3
    with pytest.raises(errors.PartialEmbeddingError) as caught:
        batch.result()
    assert caught.value.failures == {blamed: CONTENT}
    assert [place for place, vector in enumerate(caught.value.embeddings) if vector is None] == [blamed]


def test_two_to_blame_are_both_found():
    def inspect(contents):
        if {"1", "6"} & set(contents):
            raise CONTENT

    batch = batch_of([str(number) for number in range(8)], limit=8)
    run(batch, inspect)
    with pytest.raises(errors.PartialEmbeddingError) as caught:
        batch.result()
    assert sorted(caught.value.failures) == [1, 6]


def test_an_error_of_the_service_is_no_inputs_fault():
    def fail_first(contents):
        if "0" in contents:
            raise SERVER

    batch = batch_of([str(number) for number in range(6)])
    assert len(run(batch, fail_first)) == 2
    with pytest.raises(errors.PartialEmbeddingError) as caught:
        batch.result()
    assert sorted(caught.value.failures) == [0, 1, 2, 3]
    assert set(caught.value.failures.values()) == {SERVER}


def test_a_final_error_ends_the_call_and_keeps_what_is_there():
    def fail_second(contents):
        if "4" in contents:
            raise KEY

    batch = batch_of([str(number) for number in range(12)])
    assert len(run(batch, fail_second)) == 2
    assert batch.ended
    with pytest.raises(errors.PartialEmbeddingError) as caught:
        batch.result()
    assert [vector is None for vector in caught.value.embeddings] == [False] * 4 + [True] * 8
    assert set(caught.value.failures.values()) == {KEY}


def test_a_service_that_is_down_is_not_asked_for_ever():
    def down(contents):
        raise SERVER

    batch = batch_of([str(number) for number in range(100)], limit=1)
    assert len(run(batch, down)) == batches.MAX_FAILURES_IN_A_ROW
    with pytest.raises(errors.DashScopeServerError):
        batch.result()


def test_failures_here_and_there_do_not_end_a_call():
    def shaky(contents):
        if int(contents[0]) % 5:
            raise SERVER

    batch = batch_of([str(number) for number in range(100)], limit=1)
    assert len(run(batch, shaky)) == 100
    with pytest.raises(errors.PartialEmbeddingError, match="80 of 100"):
        batch.result()


def test_refused_inputs_do_not_end_a_call():
    def inspect(contents):
        if int(contents[0]) < 50:
            raise CONTENT

    batch = batch_of([str(number) for number in range(60)], limit=1)
    assert len(run(batch, inspect)) == 60


def test_one_reason_for_all_is_raised_itself():
    for reason in (SERVER, KEY):

        def fail(contents, reason=reason):
            raise type(reason)("again, in other words", code=reason.code, request_id=str(contents))

        batch = batch_of([str(number) for number in range(6)])
        run(batch, fail)
        with pytest.raises(type(reason)):
            batch.result()


def test_several_reasons_for_all_are_told_one_by_one():
    def fail(contents):
        raise SERVER if "0" in contents else CONTENT

    batch = batch_of(["0", "1"], limit=1)
    run(batch, fail)
    with pytest.raises(errors.PartialEmbeddingError, match="2 of 2") as caught:
        batch.result()
    assert caught.value.failures == {0: SERVER, 1: CONTENT}


@pytest.mark.parametrize(
    ("error", "blames"),
    [
        (CONTENT, True),
        (SERVER, False),
        (KEY, False),
        (errors.DashScopeBadRequestError("url error, please check url", code="InvalidParameter"), False),
        (errors.DashScopeBadRequestError("dimension 7 is invalid", code="InvalidParameter"), False),
        (errors.DashScopeBadRequestError("The image format is illegal and cannot be opened", code="X"), True),
        (errors.DashScopeBadRequestError("Exceeded limit on max bytes per data-uri item : 1", code="X"), True),
        (errors.DashScopeBadRequestError("Exceeded limit on max bytes to request body : 6291456"), True),
        (errors.DashScopeBadRequestError("Range of input length should be [1, 2048]", code="X"), True),
        (errors.DashScopeBadRequestError("Unable to download the media resource", code="X"), True),
        (errors.DashScopeBadRequestError("too large", status=413), True),
        (errors.SourceError("data-uri"), False),
    ],
)
def test_which_errors_blame_an_input(error, blames):
    assert blames_an_input(error) is blames


def changed(change):
    answer = answer_of([1.0, 2.0], [3.0, 4.0])
    change(answer["output"]["embeddings"])
    return answer


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"output": None},
        {"output": []},
        {"output": {"embedding": [1.0, 2.0]}},
        {"output": {"embeddings": {}}},
        answer_of([1.0, 2.0]),
        answer_of([1.0, 2.0], [3.0, 4.0], [5.0, 6.0]),
        answer_of([1.0, 2.0], [3.0]),
        answer_of([1.0], [3.0]),
        answer_of([1.0, 2.0], [3.0, float("nan")]),
        answer_of([1.0, 2.0], [3.0, float("inf")]),
        answer_of([1.0, 2.0], [float("inf"), float("-inf")]),
        answer_of([1.0, 2.0], [0.0, 0.0]),
        answer_of([1.0, 2.0], []),
        answer_of([1.0, 2.0], None),
        answer_of([1.0, 2.0], ["3.0", "4.0"]),
        answer_of([1.0, 2.0], "34"),
        answer_of([1.0, 2.0], [[3.0], [4.0]]),
        answer_of([1.0, 2.0], [10**400, 1.0]),
        changed(lambda items: items[1].update(index=0)),
        changed(lambda items: items[1].update(index=2)),
        changed(lambda items: items[1].update(index=-1)),
        changed(lambda items: items[1].update(index="1")),
        changed(lambda items: items[1].pop("index")),
        changed(lambda items: items.__setitem__(1, None)),
    ],
)
def test_answers_that_are_not_as_documented(answer):
    with pytest.raises(errors.DashScopeProtocolError, match="not as documented"):
        read_embeddings(answer, 2, 2, "index")


def test_good_answers_are_ordered_by_index_and_are_floats():
    answer = changed(lambda items: items.reverse())
    answer["output"]["embeddings"][0]["embedding"] = [3, 4]
    vectors = read_embeddings(answer, 2, 2, "index")
    assert vectors == [[1.0, 2.0], [3.0, 4.0]]
    assert all(type(value) is float for vector in vectors for value in vector)


def test_without_a_known_dimension_all_must_have_one():
    assert read_embeddings(answer_of([1.0], [2.0]), 2, None, "index") == [[1.0], [2.0]]
    with pytest.raises(errors.DashScopeProtocolError, match="length 2, and 1 is expected"):
        read_embeddings(answer_of([1.0], [2.0, 3.0]), 2, None, "index")


def test_a_bad_answer_fails_its_own_request_alone():
    batch = batch_of(["a", "b", "c"], limit=2)
    first, second = batch.next_request(), batch.next_request()
    batch.succeed(first, answer_of([1.0, 1.0], [2.0, 2.0]))
    batch.succeed(second, answer_of([3.0]))
    with pytest.raises(errors.PartialEmbeddingError) as caught:
        batch.result()
    assert caught.value.embeddings == [None, None, [3.0]]
    assert isinstance(caught.value.failures[0], errors.DashScopeProtocolError)
    assert caught.value.failures[0].request_id == "r"
