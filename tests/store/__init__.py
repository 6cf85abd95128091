"""Tests of the stores: one contract suite, and per database a module that binds it."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.contract")
