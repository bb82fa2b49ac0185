"""The multimodal fake: one space of colours for words and pictures."""

from __future__ import annotations

import asyncio
import io
import pickle

import pytest
from PIL import Image

from llama_index_raganything.testing import ColorEmbedding

COLOURS = {"red": (220, 20, 20), "green": (30, 170, 60), "blue": (30, 60, 220), "黄": (250, 230, 30)}


def picture(colour, paper="white"):
    image = Image.new("RGB", (80, 80), paper)
    image.paste(colour, (0, 50, 80, 80))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    stream.seek(0)
    return stream


@pytest.mark.parametrize("word", list(COLOURS))
def test_a_word_is_nearest_to_pictures_of_its_colour(word):
    model = ColorEmbedding()
    question = model.get_query_embedding(f"Show the {word.upper()} one")
    near = {name: model.similarity(question, model.get_image_embedding(picture(c))) for name, c in COLOURS.items()}
    assert max(near, key=near.get) == word
    assert near[word] > 0.9
    assert sum(near.values()) - near[word] < 0.3


def test_words_without_colour_are_equally_far_from_everything():
    model = ColorEmbedding()
    question = model.get_query_embedding("How many litres?")
    near = [model.similarity(question, model.get_image_embedding(picture(c))) for c in COLOURS.values()]
    assert max(near) - min(near) < 0.01


def test_it_counts_calls_is_deterministic_and_can_be_pickled(tmp_path):
    model = ColorEmbedding()
    path = tmp_path / "red.png"
    path.write_bytes(picture(COLOURS["red"]).getvalue())
    vector = model.get_image_embedding(str(path))
    assert vector == asyncio.run(model.aget_image_embedding(picture(COLOURS["red"])))
    assert len(vector) == model.dimension == len(model.get_text_embedding("grey and gray"))
    assert model.texts == ["grey and gray"]
    assert len(model.images) == 2
    assert model.images[0] == model.images[1]
    copy = pickle.loads(pickle.dumps(model))
    assert copy.get_image_embedding(str(path)) == vector
    assert ColorEmbedding().images == []
