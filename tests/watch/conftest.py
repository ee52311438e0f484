from __future__ import annotations

import pytest

from gformer_cli.bundle import Bundle


@pytest.fixture
def bundle(shallow_bundle: Bundle) -> Bundle:
    """What is watched for does not depend on the network."""
    return shallow_bundle
