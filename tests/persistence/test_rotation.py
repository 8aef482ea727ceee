"""A new key on top of the old one, on both engines."""

import pytest

from comserv.domain.errors import ConfigurationError
from comserv.domain.job import JobSecret
from comserv.persistence import jobs, jobsecrets, servers
from comserv.persistence.rotation import reencrypt
from comserv.persistence.vault import Vault, new_key
from tests.databases import KEY, opened
from tests.persistence.examples import SECRET, a_job, with_server

pytestmark = pytest.mark.anyio


async def test_after_a_rotation_every_secret_can_be_read_with_the_new_key_alone(database_url: str) -> None:
    fresh = new_key()
    async with opened(database_url, Vault(KEY)) as database, database.write() as tx:
        await with_server(tx)
        job = await jobs.add(tx, a_job(), [JobSecret("one", "clone", "geheim"), JobSecret("gone", "clone", "x")])
    async with opened(database_url, Vault(f"{fresh}\n{KEY}")) as database, database.write() as tx:
        assert (await reencrypt(tx), await reencrypt(tx)) == (3, 0)
    async with opened(database_url, Vault(fresh)) as database, database.read() as tx:
        assert await servers.token_secret(tx, "rack") == SECRET
        assert await jobsecrets.read(tx, job.id, "one") == "geheim"


async def test_a_secret_of_a_key_that_is_not_there_stops_the_rotation_and_nothing_is_lost(database_url: str) -> None:
    async with opened(database_url, Vault(KEY)) as database:
        async with database.write() as tx:
            await with_server(tx)
        database.vault = Vault(new_key())
        with pytest.raises(ConfigurationError, match="token_secret of servers rack"):
            async with database.write() as tx:
                await reencrypt(tx)
