"""Answers from tables: SQL that an LLM writes, or cells looked up without one."""
