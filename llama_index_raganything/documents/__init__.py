"""One ``Document`` per file: readable text outside, typed elements inside.

The text is plain Markdown-like prose, so a document works with every LlamaIndex splitter.
The elements travel as the document's CHILD relations: they survive JSON, docstores, caches
and pickling, and are not copied into nodes made by other parsers, as metadata would be.
Where somebody changed the text, the text wins over the elements.
"""
