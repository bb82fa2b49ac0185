"""Tools of a chat call as DashScope takes them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def documented_tools(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a chat call with tools as DashScope takes them.

    It refuses ``tool_choice="required"``: the single tool is named instead, and of several the model takes one or
    none ("auto"). Models that think refuse a named one too. ``strict`` is OpenAI's, and left out unless it is asked
    for. Without tools none of it is sent.

    Args:
        fields: Arguments of OpenAI's ``chat.completions.create``.
    """
    tools = fields.get("tools")
    rest = {
        name: value for name, value in fields.items() if name not in {"tools", "tool_choice", "parallel_tool_calls"}
    }
    if not tools:
        return rest
    choice = _tool_choice(fields.get("tool_choice"), tools, bool(fields.get("enable_thinking")))
    parallel = fields.get("parallel_tool_calls")
    return {**rest, "tools": [_plain(tool) for tool in tools], "tool_choice": choice, "parallel_tool_calls": parallel}


def _tool_choice(choice: Any, tools: Sequence[dict[str, Any]], thinking: bool) -> Any:
    if choice is None or choice == "none":
        return choice
    if thinking or choice == "auto" or (choice == "required" and len(tools) > 1):
        return "auto"
    if isinstance(choice, dict):
        return choice
    return _named(tools[0]["function"]["name"] if choice == "required" else choice)


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def _plain(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if not isinstance(function, dict) or function.get("strict"):
        return tool
    return {**tool, "function": {name: value for name, value in function.items() if name != "strict"}}
