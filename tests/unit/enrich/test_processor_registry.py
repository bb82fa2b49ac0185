"""RAG-Anything's configuration, and processors for content types of one's own."""

import json
from types import SimpleNamespace

import pytest
from llama_index.core.schema import TextNode

from llama_index_raganything._imports import guarded_import
from llama_index_raganything.enrich.base import ElementProcessor
from llama_index_raganything.enrich.describers.base import ElementDescriber
from llama_index_raganything.enrich.describers.equation import EquationDescriber
from llama_index_raganything.enrich.describers.image import ImageDescriber
from llama_index_raganything.enrich.describers.table import TableDescriber
from llama_index_raganything.enrich.registry import (
    ProcessorOptions,
    make_processors,
    processors_from_config,
    reader_options_from_config,
    register_processor,
    registered_content_types,
    unregister_processor,
)
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.testing import ScriptedChatLLM, ScriptedTextLLM

DESCRIBERS = (ImageDescriber, TableDescriber, EquationDescriber)
REPLY = json.dumps(
    {"detailed_description": "d", "entity_info": {"entity_name": "n", "entity_type": "t", "summary": "s"}}
)


def config(**values):
    with guarded_import():
        from raganything import RAGAnythingConfig
    return RAGAnythingConfig(**values)


def test_a_models_key_is_not_shown():
    class Keyed(ScriptedChatLLM):
        api_key: str = "sk-secret"

    llm = Keyed()
    options = ProcessorOptions(llm=llm, vision_llm=llm)
    shown = [repr(options), *(repr(processor) for processor in make_processors(options))]
    assert len(shown) == 4
    assert not [text for text in shown if "sk-secret" in text]


def described(processors):
    return [type(processor) for processor in processors if isinstance(processor, DESCRIBERS)]


def test_the_configuration_decides_what_is_described():
    llm = ScriptedChatLLM()
    assert described(processors_from_config(config(), llm)) == list(DESCRIBERS)
    assert described(processors_from_config(config(enable_table_processing=False), llm)) == [
        ImageDescriber,
        EquationDescriber,
    ]
    off = config(enable_image_processing=False, enable_table_processing=False, enable_equation_processing=False)
    assert described(processors_from_config(off, llm)) == []


def test_sound_and_film_are_processed_where_they_are_asked_for():
    from llama_index_raganything.enrich.describers.media import MediaDescriber

    llm = ScriptedChatLLM()
    assert not any(isinstance(item, MediaDescriber) for item in processors_from_config(config(), llm))
    both = config(enable_audio_processing=True, enable_video_processing=True)
    media = [item for item in processors_from_config(both, llm) if isinstance(item, MediaDescriber)]
    assert [item.content_types for item in media] == [("audio",), ("video",)]
    assert processors_from_config(both, None, ScriptedTextLLM())
    assert not any(isinstance(item, MediaDescriber) for item in make_processors(ProcessorOptions(llm=llm)))


def test_fields_of_context_and_concurrency_are_honoured(tmp_path):
    settings = config(
        context_window=3, context_mode="chunk", max_context_tokens=50, include_headers=False, include_captions=False,
        context_filter_content_types=["text", "table"], max_concurrent_files=7,
    )  # fmt: skip
    for processor in processors_from_config(settings, ScriptedChatLLM(), cache_folder=tmp_path, language="zh"):
        if isinstance(processor, DESCRIBERS):
            assert processor.context_window == 3
            assert processor.context_mode == "chunk"
            assert processor.max_context_tokens == 50
            assert not processor.include_headers
            assert not processor.include_captions
            assert processor.context_filter_content_types == ("text", "table")
            assert processor.workers == 7
            assert processor.cache_folder == str(tmp_path)
            assert processor.language == "zh"


def test_images_go_to_the_model_that_sees(caplog):
    text, vision = ScriptedTextLLM(), ScriptedChatLLM()
    image, table, _ = (item for item in processors_from_config(config(), text, vision) if isinstance(item, DESCRIBERS))
    assert image.llm is vision
    assert table.llm is text
    assert described(processors_from_config(config(), text)) == [TableDescriber, EquationDescriber]
    assert "not described" in caplog.text
    # A model that is given for images sees them, whatever its name says.
    assert described(processors_from_config(config(), None, text)) == [ImageDescriber]


def test_without_a_model_nothing_is_described():
    assert described(processors_from_config(config())) == []


def test_anything_with_such_attributes_is_a_configuration():
    processors = processors_from_config(
        SimpleNamespace(max_workers=2, language="zh", context_filter_content_types="text, image"), ScriptedChatLLM()
    )
    assert described(processors) == list(DESCRIBERS)
    table = next(item for item in processors if isinstance(item, TableDescriber))
    assert (table.workers, table.language) == (2, "zh")
    assert table.context_filter_content_types == ("text", "image")


@pytest.mark.parametrize(
    "values",
    [{"max_concurrent_files": 0}, {"context_window": -1}, {"max_context_tokens": "many"}, {"context_window": True}],
)
def test_values_that_cannot_work_are_refused(values):
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        processors_from_config(config(**values), ScriptedChatLLM())


def test_what_the_reader_gets():
    options = reader_options_from_config(
        config(parser="docling", parse_method="ocr", parser_output_dir="./out", max_concurrent_files=2)
    )
    assert options == {"parser": "docling", "ocr": "always", "working_dir": "./out", "workers": 2}
    assert reader_options_from_config(config(parse_method="txt"))["ocr"] == "off"
    assert reader_options_from_config(SimpleNamespace()) == {}
    with pytest.raises(ConfigurationError, match="magic"):
        reader_options_from_config(config(parse_method="magic"))


def test_the_reader_takes_them():
    from llama_index_raganything.readers.reader import RAGAnythingReader

    reader = RAGAnythingReader(**reader_options_from_config(config(parser="mineru")))
    assert reader.parser == "mineru"


class Series(ElementProcessor):
    """Notes the length of a series."""

    content_types: tuple[str, ...] = ("series",)

    def _process_element(self, element):
        copy = element.first.model_copy(deep=True)
        copy.set_content(f"{len(copy.text.split(','))} values\n\n{copy.text}")
        return [copy, *element.parts[1:]]


@pytest.fixture
def clean():
    yield
    for content_type in ("series", "image"):
        unregister_processor(content_type)


@pytest.mark.usefixtures("clean")
def test_a_content_type_of_ones_own_gets_its_own_processor():
    register_processor("series", lambda options: Series(workers=options.workers))
    made = make_processors(ProcessorOptions(workers=3))
    assert registered_content_types()[:3] == ("image", "table", "equation")
    series = next(processor for processor in made if isinstance(processor, Series))
    assert series.workers == 3
    node = TextNode(text="1,2", metadata={"content_type": "series"})
    assert series.process([node]).nodes[0].text == "2 values\n\n1,2"
    assert any(isinstance(item, Series) for item in processors_from_config(config()))
    assert not any(
        isinstance(i, Series) for i in processors_from_config(SimpleNamespace(enable_series_processing=False))
    )
    unregister_processor("series")
    with pytest.raises(ConfigurationError, match="series"):
        make_processors(ProcessorOptions(), ["series"])


@pytest.mark.usefixtures("clean")
def test_a_class_will_do():
    register_processor("series", Series)
    assert make_processors(ProcessorOptions(), ["series"])[0].content_types == ("series",)


@pytest.mark.usefixtures("clean")
def test_a_modal_processor_of_raganything_will_do():
    with guarded_import():
        from raganything.modalprocessors import GenericModalProcessor

    class Mine(GenericModalProcessor):
        pass

    register_processor("series", Mine)
    llm = ScriptedTextLLM(replies=[REPLY])
    (processor,) = make_processors(ProcessorOptions(llm=llm), ["series"])
    assert isinstance(processor, ElementDescriber)
    assert processor.process([TextNode(text="1,2", metadata={"content_type": "series"})]).failures == []
    assert len(llm.requests) == 1
    assert make_processors(ProcessorOptions(), ["series"]) == []


@pytest.mark.usefixtures("clean")
def test_images_may_get_another_processor_and_their_own_back():
    register_processor("image", lambda options: ElementDescriber(llm=options.llm, content_types=("image",)))
    options = ProcessorOptions(llm=ScriptedChatLLM())
    assert isinstance(make_processors(options, ["image"])[0], ElementDescriber)
    unregister_processor("image")
    assert isinstance(make_processors(options, ["image"])[0], ImageDescriber)


@pytest.mark.parametrize("content_type", ["", "Series", "a b", "数据", "x" * 100, "a;drop"])
def test_names_that_are_no_content_types_are_refused(content_type):
    with pytest.raises(ConfigurationError, match="content_type"):
        register_processor(content_type, Series)


def test_classes_that_are_no_processors_are_refused():
    with pytest.raises(ConfigurationError, match="dict"):
        register_processor("series", dict)
