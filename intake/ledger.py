"""The ledger: what was seen, what became of it. SQLite, so that it survives whatever happens to its writer.

The journal is an ordinary one (not a write-ahead log, which network shares cannot hold), synchronised at every commit.
Transactions are short: nothing is read from the watched folder, and nobody is asked, within one.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from intake.errors import LedgerError
from intake.folder import FileState, Seen
from intake.places import shown
from intake.records import Content, Look, State
from intake.schema import APPLICATION, SCHEMA, TABLES

BUSY = 30.0
"""Seconds to wait for whoever else writes or reads."""

_CONTENT = ", ".join(field.name for field in fields(Content))
_SEEN = ", ".join(field.name for field in fields(Seen))
_AGAIN = (
    "move it away and start the watcher again: every file is looked at once more, and what has a finished marker is "
    "not computed again"
)


class Ledger:
    """An open ledger, and a context manager that closes it.

    Parameters
    ----------
    path
        The file; made when absent, unless ``readonly``.
    root
        The watched folder, for `check_root`.
    readonly
        Change nothing (but let SQLite undo what a killed writer left half-done).

    Raises
    ------
    LedgerError
        Here and in every method: if the file is something else, damaged, of a newer version, locked for long, or the
        disk refuses.
    """

    def __init__(self, path: Path, *, root: Path | None = None, readonly: bool = False) -> None:
        self.path = Path(path)
        self.readonly = readonly
        with self._told():
            self._db = self._opened()
        try:
            with self._told():
                self._checked()
            if root is not None:
                self.check_root(root)
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def files(self, *, gone: bool = False) -> dict[str, Seen]:
        """Files by path; those that are gone only on request."""
        where = "" if gone else "WHERE state != 'gone'"
        with self._told():
            rows = self._db.execute(f"SELECT {_SEEN} FROM files {where}").fetchall()
        states = {state.value: state for state in FileState}
        return {row[0]: Seen(row[0], row[1], row[2], row[3], states[row[4]], row[5], row[6]) for row in rows}

    def contents(self, *states: State) -> list[Content]:
        """Contents in these states, or all; the one seen first comes first."""
        chosen = states or tuple(State)
        marks = ", ".join("?" * len(chosen))
        with self._told():
            rows = self._db.execute(
                f"SELECT {_CONTENT} FROM contents WHERE state IN ({marks}) ORDER BY seen_at, path", chosen
            ).fetchall()
        return [_content(row) for row in rows]

    def places(self, sha256: str) -> list[str]:
        """Paths of the files that have a content now."""
        with self._told():
            rows = self._db.execute("SELECT path FROM files WHERE sha256 = ? AND state = 'known'", (sha256,)).fetchall()
        return sorted(row[0] for row in rows)

    def counts(self) -> dict[str, int]:
        """Number of contents and of files in each state, under the state's name; absent ones are 0."""
        counts = dict.fromkeys([*State, *FileState], 0)
        with self._told():
            for table in ("contents", "files"):
                counts.update(self._db.execute(f"SELECT state, count(*) FROM {table} GROUP BY state").fetchall())
        return {str(name): count for name, count in counts.items()}

    def statuses(self) -> dict[str, int]:
        """Number of done contents with each status, the most frequent first."""
        with self._told():
            return dict(
                self._db.execute(
                    "SELECT status, count(*) FROM contents WHERE state = 'done' GROUP BY 1 ORDER BY 2 DESC, 1"
                ).fetchall()
            )

    def look(self) -> Look | None:
        """The latest pass; None before the first."""
        with self._told():
            row = self._db.execute("SELECT root, at, trouble, warnings FROM look").fetchone()
        return Look(row[0], row[1], tuple(json.loads(row[2])), tuple(json.loads(row[3]))) if row else None

    def check_root(self, root: Path) -> None:
        """Refuse to watch a folder with the ledger of another; one that has moved is the same.

        Raises
        ------
        LedgerError
            If the ledger's own folder is still where it was, and not this one.
        """
        look = self.look()
        if look is None or not Path(look.root).is_dir() or not Path(root).is_dir():
            return
        if not Path(look.root).samefile(root):
            own = shown(look.root)
            raise LedgerError(
                f"{self._name}: is the ledger of {own}; choose another output folder for {shown(str(root))}"
            )

    def record(self, seen: Iterable[Seen]) -> list[Content]:
        """Write what a scan found; contents that were never met before are returned, waiting."""
        new = []
        marks = ", ".join("CAST(? AS TEXT)" if field.name == "path" else "?" for field in fields(Seen))
        with self.transaction():
            for each in seen:
                if each.sha256 and each.state is FileState.KNOWN:
                    content = Content(each.sha256, each.path.rpartition("/")[2], each.path, each.seen_at)
                    if self._inserted(content):
                        new.append(content)
                values = asdict(each) | {"path": os.fsencode(each.path), "reason": shown(each.reason)}
                self._db.execute(f"INSERT OR REPLACE INTO files ({_SEEN}) VALUES ({marks})", tuple(values.values()))
        return new

    def update(self, content: Content, **changes: Any) -> bool:
        """Change a content, unless somebody has moved it on since it was read; whether it was changed."""
        if "options" in changes:
            changes["options"] = json.dumps(changes["options"])
        if "reason" in changes:
            changes["reason"] = shown(changes["reason"])
        names = ", ".join(f"{name} = ?" for name in changes)
        with self._told():
            done = self._db.execute(
                f"UPDATE contents SET {names} WHERE sha256 = ? AND state = ? AND round = ? AND attempt = ?",
                (*changes.values(), content.sha256, content.state, content.round, content.attempt),
            )
        return done.rowcount == 1

    def retry(self, contents: Iterable[Content]) -> list[Content]:
        """Let failed or done contents wait for a new round; those that were are returned."""
        fresh = dict.fromkeys(
            ("status", "confidence", "formula", "folder", "seconds", "run_id", "started_at", "finished_at"), None
        ) | {"progress": None, "progress_at": None}
        changed = []
        with self.transaction():
            for each in contents:
                if each.state in (State.FAILED, State.DONE) and self.update(
                    each, state=State.WAITING, round=each.round + 1, attempt=0, reason="", **fresh
                ):
                    changed.append(each)
        return changed

    def passed(self, look: Look) -> None:
        """Write that a pass was made."""
        values = (os.fsencode(look.root), look.at, json.dumps(look.trouble), json.dumps(look.warnings))
        statement = (
            "INSERT OR REPLACE INTO look (one, root, at, trouble, warnings) VALUES (1, CAST(? AS TEXT), ?, ?, ?)"
        )
        with self.transaction():
            self._db.execute(statement, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes of the block, or none; blocks may be nested."""
        if self._db.in_transaction:
            yield
            return
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    with suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")

    def _inserted(self, content: Content) -> bool:
        values = asdict(content) | {"options": json.dumps(content.options)}
        marks = ", ".join("?" * len(values))
        done = self._db.execute(f"INSERT OR IGNORE INTO contents ({_CONTENT}) VALUES ({marks})", tuple(values.values()))
        return done.rowcount == 1

    def _opened(self) -> sqlite3.Connection:
        if self.readonly:
            # A writer that was killed in a commit leaves a journal; only a connection that may write can undo it.
            mode = "rw" if os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK) else "ro"
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            mode = "rwc"
        name = f"{self.path.absolute().as_uri()}?mode={mode}"
        db = sqlite3.connect(name, uri=True, timeout=BUSY, isolation_level=None)
        db.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        return db

    def _checked(self) -> None:
        empty = not self._pragma("schema_version")  # read first: another process may just be making the ledger
        if empty and not self.readonly:
            self._created()
        elif self._pragma("application_id") != APPLICATION:
            raise LedgerError(
                f"{self._name}: is not a ledger of AutoMat; move it away, or choose another output folder"
            )
        if self.readonly:
            self._db.execute("PRAGMA query_only = ON")
        else:
            self._db.execute("PRAGMA journal_mode = TRUNCATE")
            self._db.execute("PRAGMA synchronous = FULL")
        version = self._pragma("user_version")
        if version != SCHEMA:
            raise LedgerError(
                f"{self._name}: is of version {version}, this program reads {SCHEMA}; use the other program"
            )

    def _created(self) -> None:
        """Make the tables; another process may do the same at the same time."""
        self._db.execute("PRAGMA journal_mode = TRUNCATE")
        with self.transaction():
            if self._pragma("schema_version"):
                return
            for statement in filter(str.strip, TABLES.split(";")):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA application_id = {APPLICATION}")
            self._db.execute(f"PRAGMA user_version = {SCHEMA}")

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    @property
    def _name(self) -> str:
        return shown(str(self.path))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what SQLite or the disk says."""
        try:
            yield
        except sqlite3.OperationalError as error:
            reason = str(error)
            remedy = "free space, make the folder writable, or mount the share again"
            if "locked" in reason:
                remedy = "another program has it open; close that one"
            if self.readonly and not self.path.exists():
                reason, remedy = "there is none", "is the folder watched? see 'automat watch'"
            raise LedgerError(f"{self._name}: {reason}; {remedy}") from error
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"{self._name}: is damaged or no ledger ({error}); {_AGAIN}") from error
        except OSError as error:
            raise LedgerError(f"{self._name}: {error.strerror or error}; make the folder writable") from error


def _content(row: tuple[Any, ...]) -> Content:
    values = dict(zip((field.name for field in fields(Content)), row, strict=True))
    return Content(**values | {"state": State(values["state"]), "options": json.loads(values["options"])})
