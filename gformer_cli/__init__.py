"""gformer: models generated for each target batch (GeneralizeFormer, WACV 2025, arXiv 2502.12195)."""

__version__ = "0.1.0"
