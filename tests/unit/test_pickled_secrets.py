"""Secrets in whatever an index or engine holds stay out of its pickle."""

import pickle

from llama_index.core.schema import BaseComponent
from pydantic import SecretStr

from llama_index_raganything._pickling import PickledWithoutSecrets

SECRET = "sk-very-secret-0123456789"


class Held(BaseComponent):
    password: SecretStr | None = None
    name: str = ""


class Part:
    def __init__(self):
        self.token = SecretStr(SECRET)
        self.name = "part"


class Holder(PickledWithoutSecrets):
    def __init__(self):
        self.of_a_class_of_its_own = Part()
        self.component = Held(password=SecretStr(SECRET), name="component")


def test_secret_strings_are_left_out_wherever_they_are():
    data = pickle.dumps(Holder())
    assert SECRET.encode() not in data
    again = pickle.loads(data)
    assert (again.of_a_class_of_its_own.token, again.of_a_class_of_its_own.name) == (None, "part")
    assert again.component.name == "component"
