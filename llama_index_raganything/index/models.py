"""The models of an index: the caller's, else those that the settings name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.llms import LLM

from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.models.defaults import named_llm, provider_models, resolve_embed_model, resolve_llm
from llama_index_raganything.settings import Models, RAGAnythingSettings, names_provider


@dataclass(frozen=True)
class IndexModels:
    """The models of an index.

    Attributes:
        embed_model: Embeds texts, and images if it can.
        image_embed_model: Embeds images; None where nothing does.
        llm: Answers; None leaves the choice to the moment of the question.
        vision_llm: Looks at images; None where there is none.
        settings: What later choices follow.
    """

    embed_model: BaseEmbedding
    image_embed_model: MultiModalEmbedding | None
    llm: LLM | None
    vision_llm: LLM | None
    settings: RAGAnythingSettings

    @property
    def answering_llm(self) -> LLM | None:
        """The LLM that answers where a call names none; without one the documents are quoted."""
        return resolve_llm(self.llm, self.settings)

    @classmethod
    def choose(
        cls,
        models: Models,
        settings: RAGAnythingSettings | None,
        *,
        llm: LLM | None,
        vision_llm: LLM | None,
        embed_model: BaseEmbedding | None,
        image_embed_model: MultiModalEmbedding | None,
    ) -> IndexModels:
        """Choose the models that the caller does not name.

        Raises:
            ConfigurationError: ``models`` is not a known word, or a model has another type.
            RAGAnythingError: A provider is asked for, and there is no key for it; the subclass says why.
        """
        if models not in get_args(Models):
            message = f"models={models!r} is not known; say one of {', '.join(get_args(Models))}."
            raise ConfigurationError(message)
        settings = settings or RAGAnythingSettings()
        if names_provider(models):
            theirs = provider_models(settings)
            # "is None" and not "or": an embedding model may have a length, and an empty one is still the caller's.
            embed_model = theirs.embed_model if embed_model is None else embed_model
            llm = theirs.llm if llm is None else llm
            vision_llm = theirs.vision_llm if vision_llm is None else vision_llm
        else:
            if models == "embedded":
                settings = settings.without_network()
            if vision_llm is None and settings.rag_vision_llm:
                vision_llm = named_llm(settings.rag_vision_llm, settings, supports_images=True)
            embed_model = resolve_embed_model(embed_model, settings)
        if image_embed_model is None and isinstance(embed_model, MultiModalEmbedding):
            image_embed_model = embed_model
        return cls(embed_model, image_embed_model, llm, vision_llm, settings)


def dimension(embed_model: BaseEmbedding) -> int:
    """Return a model's number of dimensions; models that do not say are asked for one vector."""
    known = getattr(embed_model, "dimension", None) or getattr(embed_model, "dimensions", None)
    return int(known) if isinstance(known, int) else len(embed_model.get_text_embedding("dimension"))
