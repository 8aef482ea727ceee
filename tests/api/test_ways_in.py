"""What a stolen token or session cannot do over the API: guess, come back, or pass for a repeated request."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from comserv.domain.errors import Invalid, TooManyAttempts, Unauthenticated
from comserv.domain.person import Actor, Role
from comserv.domain.signin import FREE_BY_NAME
from comserv.installation import open_installation
from comserv.services.services import Services
from comserv.settings import Settings

pytestmark = pytest.mark.anyio
LOCAL = Actor("local", Role.ADMIN, "local")
PASSWORD = "correct horse battery staple"


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    """With mara, an operator, and an admin."""
    async with open_installation(Settings(data_dir=tmp_path)) as found:
        await found.people.create(LOCAL, "mara", Role.OPERATOR, PASSWORD)
        await found.people.create(LOCAL, "anna", Role.ADMIN, PASSWORD)
        yield found


async def test_whoever_has_a_session_cannot_guess_its_password_without_limit(services: Services) -> None:
    thief = await services.sessions.bearer(await services.people.create_token(LOCAL, "ci", name="mara"))
    for number in range(FREE_BY_NAME + 1):
        with pytest.raises(Invalid):
            await services.people.own_password(thief, f"a guess, number {number}", "another long password")
    for password in ("one more guess", PASSWORD):
        with pytest.raises(TooManyAttempts) as slowed:
            await services.people.own_password(thief, password, "another long password")
        assert slowed.value.facts["retry_after"] >= 1
    with pytest.raises(TooManyAttempts):
        await services.sessions.sign_in("mara", PASSWORD, "10.0.0.9", "")


async def test_a_good_password_clears_the_slips_before_it(services: Services) -> None:
    mara = await services.sessions.bearer(await services.people.create_token(LOCAL, "ci", name="mara"))
    for _ in range(2):
        for number in range(FREE_BY_NAME):
            with pytest.raises(Invalid):
                await services.people.own_password(mara, f"a slip, number {number}", "another long password")
        await services.people.own_password(mara, PASSWORD, PASSWORD)


async def test_whoever_is_disabled_and_let_in_again_has_no_token_of_before(services: Services) -> None:
    token = await services.people.create_token(LOCAL, "ci", name="mara")
    assert (await services.sessions.bearer(token)).name == "mara"
    for disabled in (True, False):
        await services.people.change(LOCAL, "mara", disabled=disabled)
        with pytest.raises(Unauthenticated):
            await services.sessions.bearer(token)
        assert await services.people.tokens(LOCAL, "mara") == ()
    again = await services.people.create_token(LOCAL, "ci", name="mara")
    await services.people.change(LOCAL, "mara", role=Role.VIEWER)
    assert (await services.sessions.bearer(again)).role == Role.VIEWER
