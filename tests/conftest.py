"""What all tests share: asyncio as the one backend, and kits whose failed asserts say what they compared."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite(*(kit.stem for kit in Path(__file__).parent.glob("*_kit.py")))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
