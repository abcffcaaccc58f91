"""Looking into journals, and mending them, without the process that writes them: ``python -m dbint.journal``.

It reads the files by the text of their format in csrc/core/journal.h, and shares no code with the writer.
"""
