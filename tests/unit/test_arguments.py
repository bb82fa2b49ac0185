"""The machinery that refuses unknown arguments, on classes of every kind; the public names are walked elsewhere."""

import asyncio
import inspect
import pickle
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.schema import TransformComponent
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field

from llama_index_raganything._arguments import argument_names, refuse_unknown, strict_arguments
from llama_index_raganything.errors import ConfigurationError, UnknownArgumentError


@strict_arguments
class Component(TransformComponent):
    """Doubles texts."""

    chunk_size: int = 1
    renamed: int = Field(default=1, alias="by_alias")

    def __call__(self, nodes, **kwargs):
        return nodes

    def halve(self, size: int = 2) -> int:
        return size // 2


class Derived(Component):
    own_field: int = 3


@strict_arguments
class Plain:
    """Adds."""

    def __init__(self, left: int, *, right: int = 1) -> None:
        self.left, self.right = left, right

    @classmethod
    def of(cls, left: int) -> "Plain":
        return cls(left)

    @staticmethod
    def origin(offset: int = 0) -> int:
        return offset

    def add(self, more: int = 0) -> int:
        return self.left + self.right + more

    async def aadd(self, more: int = 0) -> int:
        await asyncio.sleep(0)
        return self.add(more)

    def fails(self, more: int = 0) -> int:
        return len(more)


@strict_arguments
class Open(Plain):
    """Passes its options on, and does something before that."""

    opened: ClassVar[list] = []

    def __init__(self, name: str, **options) -> None:
        self.opened.append(name)
        super().__init__(1, **options)


@strict_arguments
@dataclass(frozen=True)
class Point:
    x: int = 0


def test_the_message_names_the_nearest_known_argument():
    with pytest.raises(UnknownArgumentError, match=r"^Store does not know tenat: did you mean tenant\?$"):
        refuse_unknown("Store", ["tenat", "uri"], ["tenant", "uri", "token"])
    with pytest.raises(UnknownArgumentError, match=r"top_k: did you mean similarity_top_k\?"):
        refuse_unknown("Store", ["top_k"], ["similarity_top_k", "uri"])
    with pytest.raises(UnknownArgumentError, match=r"mode: did you mean chat_mode\?"):
        refuse_unknown("Store", ["mode"], ["chat_mode", "modes"])


def test_without_a_near_one_the_known_arguments_are_listed_within_bounds():
    with pytest.raises(UnknownArgumentError, match=r"^Store does not know zebra: it takes b, uri\.$"):
        refuse_unknown("Store", ["zebra"], ["b", "uri"])
    with pytest.raises(UnknownArgumentError, match=r"and 85 more\.$") as caught:
        refuse_unknown("Store", ["x" * 10_000], [f"name_{number}" for number in range(100)])
    assert len(str(caught.value)) < 400
    with pytest.raises(UnknownArgumentError, match=r"it takes no arguments\.$"):
        refuse_unknown("close()", ["zebra"], [])


def test_several_unknown_arguments_are_told_at_once_and_known_ones_pass():
    refuse_unknown("Store", ["uri"], ["uri"])
    with pytest.raises(UnknownArgumentError, match=r"tenat: did you mean tenant\?; urii: did you mean uri\?"):
        refuse_unknown("Store", ["tenat", "urii"], ["tenant", "uri"])


def test_it_is_a_type_error_and_a_configuration_error():
    assert issubclass(UnknownArgumentError, TypeError)
    assert issubclass(UnknownArgumentError, ConfigurationError)
    assert str(pickle.loads(pickle.dumps(UnknownArgumentError("a")))) == "a"


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: Component(chunksize=2), "Component does not know chunksize: did you mean chunk_size?"),
        (lambda: Component(renamed=2), "renamed: it takes"),
        (lambda: Component().halve(siz=2), "Component.halve() does not know siz: did you mean size?"),
        (lambda: Component.from_dict({"chunksize": 2}), "chunksize: did you mean chunk_size?"),
        (lambda: Derived(own_feld=2), "Derived does not know own_feld: did you mean own_field?"),
        (lambda: Plain(1, rigth=2), "Plain does not know rigth: did you mean right?"),
        (lambda: Plain(lef=1), "lef: did you mean left?"),
        (lambda: Plain.of(lef=1), "Plain.of() does not know lef: did you mean left?"),
        (lambda: Plain.origin(ofset=1), "ofset: did you mean offset?"),
        (lambda: Plain(1).add(mor=1), "Plain.add() does not know mor: did you mean more?"),
        (lambda: Plain.add(object(), mor=1), "mor: did you mean more?"),
        (lambda: asyncio.run(Plain(1).aadd(mor=1)), "Plain.aadd() does not know mor: did you mean more?"),
        (lambda: Point(xx=1), "Point does not know xx"),
        (lambda: replace(Point(), xx=1), "Point does not know xx"),
    ],
)
def test_unknown_arguments_are_refused(call, hint):
    with pytest.raises(UnknownArgumentError) as caught:
        call()
    assert hint in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_constructor_refuses_before_its_body_runs():
    with pytest.raises(UnknownArgumentError, match=r"nam: did you mean name\?; rigth: did you mean right\?"):
        Open(nam="a", rigth=2)
    assert Open.opened == []
    assert Open("a", right=5).right == 5


def test_known_arguments_pass():
    assert Plain(1, right=2).add(more=3) == 6
    assert asyncio.run(Plain(1).aadd(more=3)) == 5
    assert Plain.of(left=3).left == 3
    assert Plain.origin(offset=1) == 1
    assert Component(chunk_size=4, by_alias=2).renamed == 2
    assert Derived(own_field=4, chunk_size=2).chunk_size == 2
    assert Component(**Component(chunk_size=4, by_alias=2).model_dump(by_alias=True)).chunk_size == 4


def test_an_error_in_the_body_stays_as_it_is():
    with pytest.raises(TypeError, match=r"object of type 'int' has no len") as caught:
        Plain(1).fails(more=1)
    assert type(caught.value) is TypeError


def test_signatures_and_kinds_of_functions_are_kept():
    assert list(inspect.signature(Plain).parameters) == ["left", "right"]
    assert list(inspect.signature(Component).parameters) == ["chunk_size", "by_alias"]
    assert list(inspect.signature(Derived).parameters) == ["chunk_size", "by_alias", "own_field"]
    assert list(inspect.signature(Plain.add).parameters) == ["self", "more"]
    assert inspect.iscoroutinefunction(Plain.aadd)
    assert not inspect.iscoroutinefunction(Plain.add)
    assert Plain.add.__doc__ == Plain.add.__wrapped__.__doc__


def test_components_survive_pickling_and_serialisation():
    component = Derived(chunk_size=7, own_field=8, by_alias=9)
    assert pickle.loads(pickle.dumps(component)).chunk_size == 7
    assert component.model_copy(update={"chunk_size": 5}).own_field == 8
    plain = Component(chunk_size=7)
    assert Component.model_validate({"chunk_size": 3, "newer": 1}).chunk_size == 3
    assert plain.to_dict()["class_name"] == "base_component"


def test_a_subclass_of_a_user_may_translate_its_arguments():
    class Short(Plain):
        def __init__(self, only: int) -> None:
            super().__init__(only, right=only)

    class Wide(Plain):
        def __init__(self, extra: int, **options) -> None:
            super().__init__(extra, **options)

    assert Short(only=2).right == 2
    assert Wide(extra=2, right=3).right == 3
    with pytest.raises(UnknownArgumentError, match=r"Wide does not know rigth: did you mean right\?"):
        Wide(extra=2, rigth=3)


def test_a_component_shares_its_constructor_with_other_bases():
    class Counted(TransformComponent):
        count: int = 0

        def __init__(self, **values) -> None:
            super().__init__(**values)
            self.count += 1

    class Both(Component, Counted):
        pass

    assert Both(chunk_size=2).count == 1


def test_a_subclass_may_allow_what_it_likes():
    class Lenient(Component):
        model_config = ConfigDict(extra="allow")

    assert Lenient(anything=2).anything == 2


def test_a_strict_class_may_be_abstract():
    @strict_arguments
    class Base(ABC):
        @abstractmethod
        def work(self, amount: int) -> int: ...

    with pytest.raises(TypeError, match="abstract"):
        Base()

    class Done(Base):
        def work(self, amount: int) -> int:
            return amount

    assert Done().work(amount=1) == 1


def test_spans_of_llama_index_keep_their_instance():
    seen = []
    dispatcher = get_dispatcher("strict")

    @strict_arguments
    class Traced:
        @dispatcher.span
        def work(self, amount: int = 1) -> int:
            seen.append(self)
            return amount

    traced = Traced()
    assert traced.work(amount=2) == 2
    assert seen == [traced]
    with pytest.raises(UnknownArgumentError, match=r"amont: did you mean amount\?"):
        traced.work(amont=2)


def test_argument_names_follow_constructors_to_where_their_options_go():
    assert argument_names(Open) == {"name", "left", "right"}
    assert argument_names(Plain.add, Plain.of) == {"more", "left"}
    assert argument_names(Derived) == {"chunk_size", "by_alias", "own_field", "class_name"}


def test_models_that_forbid_say_it_in_our_words():
    @strict_arguments
    class Model(BaseModel):
        model_config = ConfigDict(extra="forbid")
        weight: int = 1

    with pytest.raises(UnknownArgumentError, match=r"wieght: did you mean weight\?"):
        Model(wieght=1)


def test_all_aliases_of_a_field_are_known():
    @strict_arguments
    class Model(BaseModel):
        model_config = ConfigDict(populate_by_name=True)
        number: int = Field(validation_alias=AliasChoices("n", AliasPath("places", 0)))

    assert Model(n=1).number == Model(number=1).number == Model(places=[1]).number == 1
    with pytest.raises(UnknownArgumentError, match=r"nmber: did you mean number\?"):
        Model(nmber=1)
