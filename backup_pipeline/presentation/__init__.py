"""Reports as people read them: facts and rows once, drawn for the terminal or as Markdown."""
