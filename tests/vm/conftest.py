from __future__ import annotations

import machine
import pytest


@pytest.fixture(autouse=True, scope="session")
def machines() -> None:
    if why := machine.why_not():
        pytest.skip(why)
