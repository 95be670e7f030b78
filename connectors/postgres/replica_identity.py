"""Which columns of a changed row the server's log names: a table's replica identity."""

from collections.abc import Mapping, Sequence

from psycopg2 import sql

from session import Session

# One row for each table that has rows of its own: the table itself, or its partitions. A key that is checked only at
# the end of a transaction is none to the log. Names are NULL where a part of the identity is computed, and so not sent.
_IDENTITIES = """
    SELECT root.oid::bigint, c.relpersistence = 'p' AND (
            leaf.relid IS NULL OR root.oid = leaf.relid
            OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = root.oid AND i.indisprimary AND i.indimmediate)
        ),
        ARRAY(
            SELECT CASE WHEN a.attgenerated = '' THEN a.attname::text END FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND (
                c.relreplident = 'f' OR EXISTS (
                    SELECT FROM pg_index i
                    WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
                        AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
                        AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END
                )
            )
        )
    FROM unnest({oids}::oid[]) AS root (oid)
    LEFT JOIN LATERAL (SELECT relid FROM pg_partition_tree(root.oid) WHERE isleaf) AS leaf ON true
    JOIN pg_class c ON c.oid = coalesce(leaf.relid, root.oid)
"""


def logged_columns(session: Session, oids: Sequence[int]) -> Mapping[int, frozenset[str]]:
    """By table, the columns that the log names of every row that is updated or deleted.

    They are none for a table that must not be published: from then on the server would refuse to update its rows, or
    those of a partition that is made later, which has an identity only from the primary key of its parent.
    """
    named: dict[int, frozenset[str]] = {}
    for oid, is_safe, names in session.fetch(sql.SQL(_IDENTITIES).format(oids=sql.Literal(list(oids)))):
        columns = frozenset(names) if is_safe and None not in names else frozenset()
        named[oid] = named.get(oid, columns) & columns
    return named
