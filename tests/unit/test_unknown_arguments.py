"""Every public constructor, factory, method and function refuses a misspelt argument and says what was meant."""

import asyncio
import inspect
from functools import partial
from importlib import import_module

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import MockLLM
from pydantic import BaseModel

import llama_index_raganything as package
from llama_index_raganything import (
    ConfigurationError,
    RAGAnythingIndex,
    RAGAnythingQueryEngine,
    RAGAnythingSettings,
    UnknownArgumentError,
)
from llama_index_raganything._arguments import argument_names
from llama_index_raganything.cli.main import main
from llama_index_raganything.models.dashscope.chat import DashScopeLLM

ROOT = package.__name__
PIPELINE = "LlamaIndex's own method: it hands the arguments of a pipeline to all transformations"
LLAMA_INDEX = "LlamaIndex's own method, which gives them to the caller's prompts and components"

NOT_WALKED = {
    "errors": "a module",
}
"""Public names without anything to call."""

TAKE_ANYTHING = {
    # Method -> why it may not refuse.
    "MilvusNodeStore.add": "an index gives it what is meant for transformations",
    "MilvusNodeStore.async_add": "an index gives it what is meant for transformations",
    "MilvusVisualStore.add": "an index gives it what is meant for transformations",
    "MilvusVisualStore.async_add": "an index gives it what is meant for transformations",
    "RAGAnythingNodeParser.__call__": PIPELINE,
    "RAGAnythingNodeParser.acall": PIPELINE,
    "RAGAnythingNodeParser.get_nodes_from_documents": PIPELINE,
    "RAGAnythingNodeParser.aget_nodes_from_documents": PIPELINE,
    "PlacedSplitter.__call__": PIPELINE,
    "PlacedSplitter.acall": PIPELINE,
    "PlacedSplitter.get_nodes_from_documents": PIPELINE,
    "PlacedSplitter.aget_nodes_from_documents": PIPELINE,
    "DashScopeMultiModalEmbedding.__call__": PIPELINE,
    "DashScopeMultiModalEmbedding.acall": PIPELINE,
    "DashScopeTextEmbedding.__call__": PIPELINE,
    "DashScopeTextEmbedding.acall": PIPELINE,
    "WordLlamaEmbedding.__call__": PIPELINE,
    "WordLlamaEmbedding.acall": PIPELINE,
    "WordLlamaEmbedding.get_text_embedding_batch": PIPELINE,
    "WordLlamaEmbedding.aget_text_embedding_batch": PIPELINE,
    "ExtractiveSynthesizer.synthesize": LLAMA_INDEX,
    "ExtractiveSynthesizer.asynthesize": LLAMA_INDEX,
    "ExtractiveSynthesizer.get_response": LLAMA_INDEX,
    "ExtractiveSynthesizer.aget_response": LLAMA_INDEX,
    "ExtractiveSynthesizer.get_response_from_messages": LLAMA_INDEX,
    "ExtractiveSynthesizer.aget_response_from_messages": LLAMA_INDEX,
    "AttachedQuery.to_json": "of dataclasses_json, which gives them to json.dumps",
    "AttachedQuery.from_json": "of dataclasses_json, which gives them to json.loads",
}

OF_PYDANTIC = {"to_dict"}
"""Own methods whose further arguments are those of pydantic's ``model_dump``, which refuses them itself."""

OPTIONS = {
    # Where options go on to: a misspelt one of theirs -> what was meant.
    "RAGAnythingIndex.from_paths": ("tenat", "tenant"),
    "RAGAnythingIndex.afrom_paths": ("worker", "workers"),
    "RAGAnythingIndex.from_documents": ("tenat", "tenant"),
    "RAGAnythingIndex.afrom_documents": ("worknig_dir", "working_dir"),
    "RAGAnythingIndex.from_config": ("vison_llm", "vision_llm"),
    "RAGAnythingIndex.aadd": ("strct", "strict"),
    "RAGAnythingIndex.aadd_documents": ("strct", "strict"),
    "RAGAnythingIndex.async_sync": ("strct", "strict"),
    "RAGAnythingIndex.as_retriever": ("elements_per_pag", "elements_per_page"),
    "RAGAnythingIndex.as_visual_retriever": ("max_text_char", "max_text_chars"),
    "RAGAnythingIndex.as_table_retriever": ("link_weight", "link_weights"),
    "RAGAnythingIndex.as_table_query_engine": ("max_row", "max_rows"),
    "RAGAnythingIndex.as_query_engine": ("similarity_topk", "similarity_top_k"),
    "RAGAnythingIndex.as_chat_engine": ("system_promt", "system_prompt"),
    "RAGAnythingIndex.as_tools": ("respose_mode", "response_mode"),
    "RAGAnythingIndex.query_sql": ("max_row", "max_rows"),
    "RAGAnythingIndex.aquery_sql": ("max_row", "max_rows"),
    "EntityLinker.__call__": ("show_progres", "show_progress"),
    "EntityLinker.acall": ("show_progres", "show_progress"),
    "LightRAGRetriever.from_nodes": ("simlarity_top_k", "similarity_top_k"),
    "LightRAGRetriever.afrom_nodes": ("workspce", "workspace"),
    "RAGAnythingSettings.from_env_file": ("milvus_urii", "milvus_uri"),
    "ImageAttachment.fit": ("max_pixel", "max_pixels"),
}

FURTHER = {
    "enrich.registry": ["ProcessorOptions"],
    "graph.extraction.recognizers": ["EntitySpan", "GLiNERRecognizer", "LLMRecognizer", "SpacyRecognizer"],
    "graph.walk": ["LinkWeights"],
    "ingestion.pipeline": ["Ingestion"],
    "ingestion.report": ["IngestionReport"],
    "models.dashscope.models": ["DashScopeModels", "dashscope_models"],
    "query_engine.extractive.synthesizer": ["ExtractiveSynthesizer"],
    "query_engine.responses": ["acitations_of"],
    "attachments": ["attachments_of"],
    "stores.ledger": ["LedgerEntry"],
    "stores.tables.sql": ["SQLResult"],
    "tables.records": ["TableRecord"],
}
"""Modules -> names in them that users meet too."""

NAMES = {name: getattr(package, name) for name in package.__all__}
NAMES |= {name: value for name, value in vars(package.errors).items() if name.endswith("Error")}
NAMES |= {name: getattr(import_module(f"{ROOT}.{home}"), name) for home, names in FURTHER.items() for name in names}
CLASSES = {name: value for name, value in NAMES.items() if inspect.isclass(value)}
ERRORS = {name: value for name, value in CLASSES.items() if issubclass(value, Exception)}
OTHERS = {name: value for name, value in CLASSES.items() if name not in ERRORS and name not in NOT_WALKED}
FUNCTIONS = {name: value for name, value in NAMES.items() if inspect.isfunction(value) and name not in NOT_WALKED}


def test_no_public_name_is_left_out():
    assert set(package.__all__) <= {*ERRORS, *OTHERS, *FUNCTIONS, *NOT_WALKED}
    known = {f"{name}.{method}" for name in OTHERS for method in dir(OTHERS[name])}
    assert {*TAKE_ANYTHING, *OPTIONS} <= known


def misspelt(name, known):
    """Return a near miss of a name that is none of the known names: a letter doubled, lost or swapped."""
    middle = len(name) // 2
    tries = (
        name[:middle] + name[middle] + name[middle:],
        name[:middle] + name[middle + 1 :],
        name[:-2] + name[-1] + name[-2],
    )
    return next(each for each in tries if each not in known)


def called(function, /, *args, **kwargs):
    """Call a function, also one that is asynchronous or gives things one by one."""
    result = function(*args, **kwargs)
    if inspect.isawaitable(result):

        async def waited():
            return await result

        return asyncio.run(waited())
    if inspect.isgenerator(result):
        return list(result)
    return result


def assert_refused(function, given, meant):
    with pytest.raises(UnknownArgumentError) as caught:
        called(function, **{given: None})
    hint = str(caught.value).partition(f"{given}: did you mean ")[2]
    assert meant in hint.rstrip("?").split(" or "), caught.value


def stand_in(cls):
    """Return an instance that was never set up: an unknown argument is refused before one is needed."""
    if not inspect.isabstract(cls):
        return cls.__new__(cls)
    made = type(cls.__name__, (cls,), {name: lambda self: None for name in cls.__abstractmethods__})
    return made.__new__(made)


def placeholders(function):
    """Return something for every argument that a function needs."""
    values = {"data_str": "{}", "data": {}, "nodes": [], "texts": [], "documents": []}
    parameters = inspect.signature(function).parameters.values()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [each.name for each in parameters if each.default is each.empty and each.kind in by_name]
    return {name: values.get(name) for name in needed}


def takes_anything(function):
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(function).parameters.values())


def names_of(function):
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each.name for each in inspect.signature(function).parameters.values() if each.kind in by_name]


def public_methods(cls):
    """Yield the names of methods, with whether the package defines them; pydantic's and Python's own aside."""
    for name in dir(cls):
        if (name.startswith("_") and name != "__call__") or hasattr(BaseModel, name) or hasattr(object, name):
            continue
        owner = next((each for each in cls.__mro__ if name in vars(each)), None)
        if owner is None or isinstance(vars(owner)[name], property) or not callable(getattr(cls, name)):
            continue
        if isinstance(getattr(cls, name), type):
            continue
        yield name, owner.__module__.startswith(ROOT)


# DashScopeLLM is what dashscope_llm() and dashscope_vlm() return; its methods send any field of a request.
@pytest.mark.parametrize("cls", [*OTHERS.values(), DashScopeLLM], ids=lambda cls: cls.__name__)
def test_constructors_refuse_a_misspelt_argument(cls):
    known = argument_names(cls)
    given = [each for each in names_of(cls) if len(each) > 2] or sorted(known - {"class_name"})
    assert given, f"{cls.__name__} takes no arguments, which nobody expects"
    target = cls if not inspect.isabstract(cls) else type(stand_in(cls))
    for each in given:
        assert_refused(target, misspelt(each, known), each)


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_errors_refuse_a_misspelt_argument(name):
    # Those of Python, as the package raises them and callers catch them.
    with pytest.raises(TypeError):
        ERRORS[name]("wrong", mesage="wrong")


METHODS = [(name, method, own) for name, cls in sorted(OTHERS.items()) for method, own in public_methods(cls)]


@pytest.mark.parametrize(("name", "method", "own"), METHODS, ids=[f"{name}.{method}" for name, method, _ in METHODS])
def test_methods_refuse_a_misspelt_argument(name, method, own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    key = f"{name}.{method}"
    bound = getattr(stand_in(OTHERS[name]), method)
    if key in TAKE_ANYTHING:
        assert takes_anything(bound), f"{key} takes no **kwargs any more"
    elif own and method not in OF_PYDANTIC:
        assert_method_refuses(bound, OPTIONS.get(key))
    else:
        assert_base_class_refuses(bound, method)
    assert list(tmp_path.iterdir()) == []


def assert_method_refuses(bound, option):
    known = names_of(bound)
    # What takes **kwargs is called with all that it needs; nothing else may stop it before it looks at them.
    needed = placeholders(bound) if takes_anything(bound) else {}
    names = [each for each in known if len(each) > 2 and each not in needed]
    for each in names:
        assert_refused(partial(bound, **needed), misspelt(each, known), each)
    if option is not None:
        assert_refused(partial(bound, **needed), *option)
    elif not names:
        with pytest.raises(UnknownArgumentError, match="zebra"):
            called(bound, **needed, zebra=None)


def assert_base_class_refuses(bound, method):
    """LlamaIndex's own methods refuse in Python's words, or give the arguments to a constructor of ours."""
    known = names_of(bound)
    needed = placeholders(bound) if takes_anything(bound) else {}
    names = [each for each in known if len(each) > 2 and each not in needed]
    constructs = method in {"from_dict", "from_json"} and takes_anything(bound)
    error = UnknownArgumentError if constructs else TypeError
    with pytest.raises(error):
        called(bound, **needed, **{misspelt(names[0], known) if names else "zebra": None})


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions_refuse_a_misspelt_argument(name):
    function = FUNCTIONS[name]
    known = names_of(function)
    for each in [each for each in known if len(each) > 2]:
        assert_refused(function, misspelt(each, known), each)
    if not known:
        with pytest.raises(UnknownArgumentError, match="zebra: it takes no arguments"):
            function(zebra=None)


@pytest.mark.parametrize("function", [package.dashscope_llm, package.dashscope_vlm])
def test_arguments_of_a_model_are_refused_by_it(function):
    assert_refused(function, "temprature", "temperature")


def test_a_misspelt_tenant_opens_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("The tower stands in Oslo.")
    for call in (
        lambda: RAGAnythingIndex.from_paths("a.txt", tenat="a"),
        lambda: RAGAnythingIndex(tenat="a"),
        lambda: package.MilvusNodeStore(tenat="a"),
        lambda: package.MilvusVisualStore(tenat="a"),
        lambda: package.MilvusPropertyGraphStore(tenat="a"),
        lambda: package.Ledger("./milvus.db", tenat="a"),
    ):
        with pytest.raises(UnknownArgumentError, match=r"tenat: did you mean tenant\?"):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        (package.RAGAnythingReader, {"profil": "fast"}, "RAGAnythingReader does not know profil: did you mean profile"),
        (
            package.EnrichmentOptions,
            {"langage": "zh"},
            "EnrichmentOptions does not know langage: did you mean lang",
        ),
        (package.EnrichmentOptions, {"table": False}, "EnrichmentOptions does not know table: did you mean tables"),
        (package.GraphOptions, {"linker": None}, "GraphOptions does not know linker: did you mean entity_linker"),
    ],
)
def test_misspelt_options_of_a_group_are_refused(options, given, message):
    with pytest.raises(UnknownArgumentError, match=message):
        options(**given)


def test_settings_refuse_arguments_and_let_unknown_variables_be(tmp_path, monkeypatch):
    monkeypatch.setenv("MILVUS_URII", "./other.db")
    monkeypatch.setenv("MILVUS_URI", "./right.db")
    path = tmp_path / "my.env"
    path.write_text("MILVUS_COLECTION=a\nMILVUS_COLLECTION=b\n")
    settings = RAGAnythingSettings.from_env_file(path)
    assert (settings.milvus_uri, settings.milvus_collection) == ("./right.db", "b")
    assert RAGAnythingSettings(milvus_uri="a").milvus_uri == RAGAnythingSettings(MILVUS_URI="a").milvus_uri == "a"


class Nothing(BaseRetriever):
    def _retrieve(self, query_bundle):
        return []


@pytest.mark.parametrize("llm", [None, MockLLM()])
def test_a_wrong_response_mode_is_refused_with_the_known_ones(llm):
    with pytest.raises(ConfigurationError, match=r"response_mode='nonsense' is not known; say one of refine, compact,"):
        RAGAnythingQueryEngine.from_args(Nothing(), llm, response_mode="nonsense")
    assert RAGAnythingQueryEngine.from_args(Nothing(), llm, response_mode="tree_summarize") is not None


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["ingest", "--tenat", "a", "x.pdf"], "--tenat: did you mean --tenant?"),
        (["ask", "--tenat=a", "What?"], "--tenat: did you mean --tenant?"),
        (["graph", "stats", "--colection", "a"], "--colection: did you mean --collection?"),
        (["ask", "What?", "--zebra"], "unrecognized arguments: --zebra"),
        (["ak", "What?"], "invalid choice: 'ak' (choose from"),
    ],
)
def test_the_command_line_refuses_a_misspelt_option(arguments, hint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert hint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_transformations_refuse_what_looks_like_their_own_and_let_others_be():
    linker = package.EntityLinker()
    assert linker([], show_progress=True, meant_for_another=1) == []
    with pytest.raises(UnknownArgumentError, match=r"show_progres: did you mean show_progress\?"):
        linker([], show_progres=True)
