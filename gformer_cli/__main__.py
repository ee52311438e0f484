"""`python -m gformer_cli` is `gformer`."""

from gformer_cli.app import main

main()
