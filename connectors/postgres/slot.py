"""The replication slot that mode log reads: the server's mark of how far the log has been read. Created or checked."""

import time
from dataclasses import dataclass

from fivetran_connector_sdk import Logging as log
from fivetran_connector_sdk import Operations as op
from psycopg2 import errors, sql

from pgoutput import lsn_of, lsn_text
from publication import Publication
from service_spec import Settings
from session import Session
from shared.errors import SourceError
from shared.pages import Position

PLUGIN = "pgoutput"
# How long a connection of ours that is gone may keep the slot, in seconds, until the server has noticed.
ACTIVE_SECONDS = 20.0

_SERVER = """
    SELECT current_setting('wal_level'), pg_is_in_recovery(), current_database()::text,
        concat_ws(' ', system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database())),
        regexp_replace(current_setting('synchronous_standby_names'), '"[^"]*"', '', 'g') LIKE '%*%'
    FROM pg_control_system()
"""
_SLOT = """
    SELECT slot_type::text, plugin::text, database::text, active_pid, coalesce(wal_status, '') = 'lost',
        confirmed_flush_lsn::text
    FROM pg_replication_slots WHERE slot_name = {name}
"""
# Providers of servers have roles of their own for it.
_MAY_REPLICATE = """
    SELECT rolreplication OR rolsuper OR EXISTS (
        SELECT FROM pg_roles r WHERE rolname LIKE '%replication%' AND rolname NOT LIKE 'pg\\_%'
            AND pg_has_role(r.oid, 'USAGE')
    )
    FROM pg_roles WHERE rolname = current_user
"""
# All that has been committed, in memory too. The transaction's own end, a moment later, has the server write it all.
_END = "SELECT pg_current_xact_id(), pg_current_wal_insert_lsn()::text"


@dataclass(frozen=True)
class Slot:
    """A slot as the server describes it."""

    kind: str
    plugin: str | None
    database: str | None
    active_pid: int | None
    is_lost: bool
    confirmed: str | None


def end_of_log(session: Session) -> int:
    """Where the log ends. All transactions that are committed by now are before, and the server soon sends them."""
    ((_, end),) = session.fetch(_END)
    return lsn_of(end)


def checked_server(session: Session) -> tuple[str, str]:
    """The name of the database, and what tells it and its server from others; raises SourceError for a server whose
    log cannot be read."""
    ((wal_level, is_standby, database, server, waits_for_all),) = session.fetch(_SERVER)
    if is_standby:
        raise SourceError("mode log reads a primary server, and this one is a standby: set host to the primary")
    if wal_level != "logical":
        raise SourceError(
            f"mode log needs wal_level = logical, and this server has {wal_level}: run ALTER SYSTEM SET wal_level = "
            "logical, then restart the server"
        )
    if waits_for_all:  # a reader of the log counts as one of them
        raise SourceError(
            "transactions of this server would wait for every sync of mode log, as synchronous_standby_names is *: "
            "name the standbys in it, then run SELECT pg_reload_conf()"
        )
    return database, server


def provided(session: Session, settings: Settings, publication: Publication, position: Position | None) -> Position:
    """Where to read the log from: the position if it holds, else the end of the log, with a slot for what follows.

    A position that does not hold is told, and every table is copied again. Raises SourceError that says what the
    server or the user lacks.
    """
    database, server = checked_server(session)
    slot = _awaited(session, settings)
    if slot and (slot.kind != "logical" or slot.plugin != PLUGIN or slot.database != database):
        raise SourceError(
            f"slot {settings.slot} is one of {slot.plugin or 'physical replication'}"
            f"{f' in database {slot.database}' if slot.database else ''}: name another one in the setting slot"
        )
    kept = {"server": server, "slot": settings.slot, "publication": publication.identity}
    if position:
        change = _change(position, kept, slot, end_of_log(session))
        if not change:
            return position
        op.warning(f"{change}: every table of mode log is copied again")
        if position["slot"] != settings.slot:
            tell_of_slot_left(session, position["slot"])
    # From before another publication was made, the log cannot be read.
    is_other = publication.is_new or (position is not None and position["publication"] != publication.identity)
    if slot and (slot.is_lost or is_other):
        session.fetch(sql.SQL("SELECT pg_drop_replication_slot({})").format(sql.Literal(settings.slot)))
        slot = None
    if not slot:
        _create(session, settings)
    begun = lsn_text(end_of_log(session))
    return {**kept, "begun": begun, "lsn": begun}


def _change(position: Position, kept: Position, slot: Slot | None, end: int) -> str | None:
    """Why the log cannot be read on from a position; None if it can."""
    reached = lsn_of(position["lsn"])
    changes = {
        "the change log is of another server or database": position["server"] != kept["server"],
        f"slot {kept['slot']} takes the place of {position['slot']}": position["slot"] != kept["slot"],
        f"slot {kept['slot']} is gone": slot is None,
        f"slot {kept['slot']} was lost, as the log outgrew max_slot_wal_keep_size": slot is not None and slot.is_lost,
        "the publication was changed or made anew": position["publication"] != kept["publication"],
        f"slot {kept['slot']} was read by something else, and each connection needs one of its own": (
            slot is not None and slot.confirmed is not None and lsn_of(slot.confirmed) > reached
        ),
        "the server has gone back to a time before the last sync": end < reached,
    }
    return next((change for change, is_so in changes.items() if is_so), None)


def tell_of_slot_left(session: Session, slot: str) -> None:
    """Warns of a slot that we have read and do not read any more, as long as it is there."""
    name = sql.Literal(slot)
    if session.fetch(sql.SQL(_SLOT).format(name=name)):
        drop = sql.SQL("SELECT pg_drop_replication_slot({})").format(name).as_string(session.connection)
        op.warning(f"slot {slot} is not read any more and makes the server keep its log: run {drop}")


def _found(session: Session, settings: Settings) -> Slot | None:
    rows = session.fetch(sql.SQL(_SLOT).format(name=sql.Literal(settings.slot)))
    return Slot(*rows[0]) if rows else None


def _awaited(session: Session, settings: Settings) -> Slot | None:
    """The slot once nobody reads it; raises SourceError if somebody goes on to."""
    deadline = time.monotonic() + ACTIVE_SECONDS
    while (slot := _found(session, settings)) and slot.active_pid is not None:
        if time.monotonic() > deadline:
            raise SourceError(in_use(settings, slot.active_pid))
        time.sleep(0.2)
    return slot


def in_use(settings: Settings, pid: int | None) -> str:
    process = f"process {pid} of the server" if pid else "another process of the server"
    return (
        f"slot {settings.slot} is read by {process}: give every connection a slot of its own; if that process is a "
        f"sync that was killed, run SELECT pg_terminate_backend({pid or '...'})"
    )


def _create(session: Session, settings: Settings) -> None:
    log.info(f"slot {settings.slot} is created as soon as every transaction has ended that is writing now")
    create = sql.SQL("SELECT pg_create_logical_replication_slot({}, {})")
    try:
        session.fetch(create.format(sql.Literal(settings.slot), sql.Literal(PLUGIN)))
    except errors.InsufficientPrivilege as error:
        raise SourceError(lacks_replication(settings)) from error
    except errors.ConfigurationLimitExceeded as error:
        raise SourceError(
            f"slot {settings.slot} could not be created, as all max_replication_slots of the server are taken: raise "
            "it and restart the server, or drop a slot of pg_replication_slots that nobody reads"
        ) from error
    except errors.DuplicateObject:
        session.connection.rollback()
        log.info(f"slot {settings.slot} was there")  # the answer to the first try was lost


def check_role(session: Session, settings: Settings) -> None:
    """Raises SourceError if the user may not read the log, as far as can be seen without a try."""
    ((may_replicate,),) = session.fetch(_MAY_REPLICATE)
    if not may_replicate:
        raise SourceError(lacks_replication(settings))


def lacks_replication(settings: Settings) -> str:
    return (
        f"user {settings.user} may not read the change log until this is run: ALTER ROLE {settings.user} REPLICATION "
        f"(on Amazon RDS: GRANT rds_replication TO {settings.user})"
    )
