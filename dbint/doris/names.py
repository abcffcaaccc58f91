"""Names and texts as Doris' SQL has them."""


def quote_name(name: str) -> str:
    """A name in backticks."""
    return "`" + name.replace("`", "``") + "`"


def quote_text(text: str) -> str:
    """Text in double quotes, as the manual has partitions and properties."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
