"""`python -m gformer_cli` is `gformer`."""

from gformer_cli import interrupts


def main() -> None:
    """Entry point of the installed command."""
    interrupts.install()  # before anything that takes time to import
    try:
        from gformer_cli import app

        app.main()
    except KeyboardInterrupt:
        interrupts.leave()


if __name__ == "__main__":
    main()
