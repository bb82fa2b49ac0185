"""What retrieval remembers of nodes it has seen, so that it need not read them again for the next question."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from llama_index.core.schema import BaseNode

from llama_index_raganything.questions.references import Candidate
from llama_index_raganything.ranking.number_units import Unit

DEFAULT_SIZE: Final = 16_384
"""Nodes remembered; a page takes about 8 KB, an element 1 to 2 KB."""

_CONTENT_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Profile:
    """What ranking needs to know of a node.

    Attributes:
        node_id: Its id.
        candidate: The form that scoring takes, with prior 0.
        page_id: The id of the page node that it stands on, or None.
        element_ids: Ids of the elements on it, in reading order, when it is a page.
        section: Path of the headings above it.
        element: Identifies the element that it is a part of, within its document; empty when it is not known.
        bbox: Its box as the metadata have it; empty without.
        asset: Its picture in the folder of assets; empty without.
    """

    node_id: str
    candidate: Candidate
    page_id: str | None
    element_ids: tuple[str, ...]
    section: str = ""
    element: str = ""
    bbox: str = ""
    asset: str = ""

    @property
    def is_page(self) -> bool:
        """Whether the node holds a whole page."""
        return self.candidate.content_type == "page"


class NodeMemory:
    """The profiles of the nodes used last, by id; safe to share between threads, retrievers and stores.

    Only nodes whose id derives from their content are kept, so that a profile cannot be out of date; results are
    read from the store every time.

    Args:
        size: How many profiles to keep.
    """

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        self.size = size
        self._profiles: OrderedDict[str, Profile] = OrderedDict()
        self._units: OrderedDict[tuple[str, int], Unit] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return (NodeMemory, (self.size,))

    def recall(self, node_ids: Iterable[str]) -> dict[str, Profile]:
        """Return the profiles that are remembered.

        Returns:
            Profiles by id; ids that are not remembered are left out.
        """
        found = {}
        with self._lock:
            for node_id in node_ids:
                profile = self._profiles.get(node_id)
                if profile is not None:
                    self._profiles.move_to_end(node_id)
                    found[node_id] = profile
        return found

    def keep(self, profile: Profile, node: BaseNode) -> None:
        """Remember a profile, if the node's id derives from its content."""
        if "content_type" not in node.metadata or not _CONTENT_ID.fullmatch(node.node_id):
            return
        with self._lock:
            self._profiles[profile.node_id] = profile
            while len(self._profiles) > self.size:
                self._profiles.popitem(last=False)

    def unit(self, profile: Profile) -> Unit:
        """Return a node's unit of evidence, made when it is asked for first.

        Args:
            profile: What is known of the node.
        """
        text = profile.candidate.text
        key = (profile.candidate.content_type, hash(text))
        with self._lock:
            found = self._units.get(key)
            if found is not None:
                self._units.move_to_end(key)
                return found
        made = Unit.from_text(text, profile.candidate.content_type)
        with self._lock:
            self._units[key] = made
            while len(self._units) > self.size:
                self._units.popitem(last=False)
        return made

    def forget(self, node_ids: Iterable[str]) -> None:
        """Forget nodes that are no longer stored as they were."""
        with self._lock:
            for node_id in node_ids:
                self._profiles.pop(node_id, None)

    def __len__(self) -> int:
        return len(self._profiles)


@lru_cache(maxsize=1)
def shared_memory() -> NodeMemory:
    """Return the memory that all retrievers of this process share by default."""
    return NodeMemory()
