"""One self-contained HTML page: opens from disk, needs no network.

`evaluation`, `comparison` and `adaptation` say what is on a page; `verdict` judges, `views` makes tables, `figures`
draws, `rendering` fills the templates, `files` writes. What these need beyond gformer itself is the extra `report`.
"""
