"""What the doctor looks at without a network: rights, the disk, the files of the store, and checks that fail."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from doctor_kit import case
from factories import reports

from receiver.callback import Callback
from receiver.cli.doctor import disk, examination
from receiver.cli.doctor.case import Account, Case
from receiver.cli.doctor.finding import Finding, ok
from receiver.cli.doctor.proxy import proxy
from receiver.cli.doctor.rights import may, permissions
from receiver.notices import Disk
from receiver.store.sqlite import SqliteStore, checkup
from receiver.store.sqlite.files import dispatch_path

pytestmark = pytest.mark.anyio

PLUGINS = '[plugins]\ndirectory = "handlers.d"\n'


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A store with some events, which nobody has open."""

    async def filled(path: Path) -> Path:
        store = await SqliteStore.open(path, "receive", create=True)
        for event in reports(200):
            await store.record(Callback("spryng", "dlr", "GET", event.received_at), [event])
        await store.close()
        return path

    return asyncio.run(filled(tmp_path / "receiver.db"))


# rights


async def test_what_only_the_receiver_may_read_is_fine(tmp_path: Path, stored: Path) -> None:
    (found,) = await permissions(case(tmp_path))
    assert found.state == "ok"


@pytest.mark.parametrize(
    ("place", "mode", "words"),
    [
        ("receiver.toml", 0o644, "others may read"),
        ("crm.secret", 0o644, "others may read"),
        ("handlers.d/pager.py", 0o646, "others may write"),
        ("receiver.db", 0o644, "others may read"),
        ("receiver.dispatch.db", 0o666, "others may write"),
    ],
)
async def test_what_others_may_read_or_write_is_told(
    tmp_path: Path, stored: Path, place: str, mode: int, words: str
) -> None:
    (tmp_path / "handlers.d").mkdir(mode=0o755)
    (tmp_path / "handlers.d/pager.py").write_text("async def handle(event, attempt): ...\n")
    (tmp_path / "handlers.d/pager.py").chmod(0o644)
    (tmp_path / "crm.secret").write_text("whsec_" + "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4\n")
    (tmp_path / "crm.secret").chmod(0o640)
    own = '[handlers.crm]\nuse = "forward"\nurl = "http://localhost/"\nsecret = { file = "crm.secret" }\n'
    asked = case(tmp_path, PLUGINS, own)
    assert [one.state for one in await permissions(asked)] == ["ok"]
    (tmp_path / place).chmod(mode)
    found = await permissions(asked)
    assert f"{words} {tmp_path / place}" in [one.words for one in found]
    assert all("chmod" in one.cure for one in found)


def test_what_an_account_may_is_what_the_kernel_says(tmp_path: Path) -> None:
    us, nobody = Account.of(os.geteuid()), Account("nobody", 65534, 65534)
    file = tmp_path / "secret"
    file.write_text("x")
    file.chmod(0o600)
    assert may(us, file, "r") is True
    assert may(us, tmp_path / "gone", "r") is False
    assert may(nobody, file, "r") is (False if os.geteuid() == 0 else None)


# the disk


async def test_durable_writes_are_timed_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "SLOW", 60)  # whatever else this machine does
    asked = case(tmp_path)
    (found,) = await disk.flushing(asked)
    assert found.state == "ok"
    assert 0 < found.facts["median_ms"] <= found.facts["p99_ms"]
    assert 0 < found.facts["writes"] <= disk.WRITES
    assert os.listdir(tmp_path) == ["receiver.toml"]


async def test_a_disk_that_is_slow_or_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "measured", lambda _: [0.2] * 9 + [3.0])
    (slow,) = await disk.flushing(case(tmp_path))
    assert (slow.state, slow.words) == ("problem", "a durable write takes 200.0 ms (p99 3.0 s)")
    monkeypatch.setattr(disk, "disk_of", lambda _: Disk(free=900 * 1024**2, size=10 * 1024**3))
    (full,) = await disk.room(case(tmp_path))
    assert (full.state, "900 MiB of 10.0 GiB free" in full.words) == ("problem", True)
    assert "receiver prune" in full.cure


def test_a_store_in_memory_or_on_another_machine_is_told(tmp_path: Path) -> None:
    table = "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / {} rw shared:1 - {} x rw\n"
    mounts = tmp_path / "mountinfo"
    for kind, words in (("tmpfs", "a reboot takes it"), ("nfs4", "SQLite needs a disk of this machine"), ("ext4", "")):
        mounts.write_text(table.format(tmp_path, kind))
        assert words in disk.kind_of(tmp_path / "state", mounts)
    assert disk.kind_of(Path("/elsewhere"), mounts) == ""


# the store


def test_a_sound_store_is_whole_and_a_large_one_is_given_up_in_time(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkup.integrity(stored, 10) == []
    monkeypatch.setattr(checkup, "LOOK_EACH", 1)
    assert checkup.integrity(stored, -1) is None


def test_damage_is_found(stored: Path) -> None:
    with closing(sqlite3.connect(dispatch_path(stored))) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with closing(sqlite3.connect(stored)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with stored.open("r+b") as file:
        file.seek((page - 1) * size + 3)
        file.write(b"\xff" * 64)
    (first, *_) = checkup.integrity(stored, 10) or [""]
    assert first.startswith("receiver.db: ")


async def test_who_has_the_store_is_seen_without_being_in_the_way(stored: Path) -> None:
    assert checkup.holders(stored) == (None, None)
    store = await SqliteStore.open(stored, "receive")
    assert checkup.holders(stored) == (os.getpid(), None)
    await store.close()
    assert checkup.holders(stored) == (None, None)


def test_a_name_that_was_left_in_the_lock_is_nobody(stored: Path) -> None:
    (lock := stored.with_name("receiver.db.lock")).write_text(str(os.getpid()))
    with subprocess.Popen(["flock", str(lock), "sleep", "60"]) as other:  # another one holds it
        try:
            while f" {lock.stat().st_ino} " not in Path("/proc/locks").read_text().replace(":", " "):
                pass
            assert checkup.holders(stored)[0] is None
        finally:
            other.kill()


# the examination


async def test_a_check_that_fails_or_hangs_keeps_no_other_from_being_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: Case) -> list[Finding]:
        raise RuntimeError("odd")

    async def hanging(_: Case) -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def fine(_: Case) -> list[Finding]:
        return [ok("fine", "yes")]

    monkeypatch.setattr(examination, "LONGEST", 0.05)
    rows = ((broken,), (hanging, fine), (fine,))
    found = [(one.check, one.state) async for one in examination.examined(case(tmp_path), rows)]
    assert found == [("broken", "problem"), ("hanging", "problem"), ("fine", "ok"), ("fine", "ok")]


async def test_believing_everybody_about_addresses_is_a_problem(tmp_path: Path) -> None:
    (found,) = await proxy(case(tmp_path, '[server]\ntrusted_proxies = ["0.0.0.0/0"]\n'))
    assert (found.state, "0.0.0.0/0" in found.words) == ("problem", True)
    (found,) = await proxy(case(tmp_path))
    assert found.state == "ok"


def test_the_doctor_loads_what_it_needs_only_when_it_is_called() -> None:
    script = "import sys; from receiver.cli import doctor; print('aiohttp' in sys.modules, 'sqlite3' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown == "False False\n"
