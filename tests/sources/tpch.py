"""The data of the TPC-H benchmark, made by `tpchgen-cli`: in a PostgreSQL database, or as CSV files."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from .postgres_server import PostgresServer

# The columns and primary keys of the TPC-H specification.
TABLES = {
    "region": """
        r_regionkey BIGINT PRIMARY KEY, r_name CHAR(25) NOT NULL, r_comment VARCHAR(152)""",
    "nation": """
        n_nationkey BIGINT PRIMARY KEY, n_name CHAR(25) NOT NULL, n_regionkey BIGINT NOT NULL,
        n_comment VARCHAR(152)""",
    "part": """
        p_partkey BIGINT PRIMARY KEY, p_name VARCHAR(55) NOT NULL, p_mfgr CHAR(25) NOT NULL,
        p_brand CHAR(10) NOT NULL, p_type VARCHAR(25) NOT NULL, p_size INTEGER NOT NULL,
        p_container CHAR(10) NOT NULL, p_retailprice DECIMAL(15,2) NOT NULL, p_comment VARCHAR(23) NOT NULL""",
    "supplier": """
        s_suppkey BIGINT PRIMARY KEY, s_name CHAR(25) NOT NULL, s_address VARCHAR(40) NOT NULL,
        s_nationkey BIGINT NOT NULL, s_phone CHAR(15) NOT NULL, s_acctbal DECIMAL(15,2) NOT NULL,
        s_comment VARCHAR(101) NOT NULL""",
    "partsupp": """
        ps_partkey BIGINT, ps_suppkey BIGINT, ps_availqty INTEGER NOT NULL,
        ps_supplycost DECIMAL(15,2) NOT NULL, ps_comment VARCHAR(199) NOT NULL,
        PRIMARY KEY (ps_partkey, ps_suppkey)""",
    "customer": """
        c_custkey BIGINT PRIMARY KEY, c_name VARCHAR(25) NOT NULL, c_address VARCHAR(40) NOT NULL,
        c_nationkey BIGINT NOT NULL, c_phone CHAR(15) NOT NULL, c_acctbal DECIMAL(15,2) NOT NULL,
        c_mktsegment CHAR(10) NOT NULL, c_comment VARCHAR(117) NOT NULL""",
    "orders": """
        o_orderkey BIGINT PRIMARY KEY, o_custkey BIGINT NOT NULL, o_orderstatus CHAR(1) NOT NULL,
        o_totalprice DECIMAL(15,2) NOT NULL, o_orderdate DATE NOT NULL, o_orderpriority CHAR(15) NOT NULL,
        o_clerk CHAR(15) NOT NULL, o_shippriority INTEGER NOT NULL, o_comment VARCHAR(79) NOT NULL""",
    "lineitem": """
        l_orderkey BIGINT, l_partkey BIGINT NOT NULL, l_suppkey BIGINT NOT NULL, l_linenumber INTEGER,
        l_quantity DECIMAL(15,2) NOT NULL, l_extendedprice DECIMAL(15,2) NOT NULL,
        l_discount DECIMAL(15,2) NOT NULL, l_tax DECIMAL(15,2) NOT NULL, l_returnflag CHAR(1) NOT NULL,
        l_linestatus CHAR(1) NOT NULL, l_shipdate DATE NOT NULL, l_commitdate DATE NOT NULL,
        l_receiptdate DATE NOT NULL, l_shipinstruct CHAR(25) NOT NULL, l_shipmode CHAR(10) NOT NULL,
        l_comment VARCHAR(44) NOT NULL, PRIMARY KEY (l_orderkey, l_linenumber)""",
}


def load(
    target: PostgresServer | Connection, folder: Path, scale: float = 0.01, tables: Sequence[str] | None = None
) -> dict[str, int]:
    """Creates and fills TPC-H tables.

    Args:
        target: A server, whose database `postgres` is used, or a connection to any database.
        folder: Where the CSV files that the tables are filled from go.
        scale: The scale factor; 1 is 6 million rows in `lineitem`. Below 0.01 the keys of `partsupp` are not unique.
        tables: The tables to load; all eight by default.

    Returns:
        The number of rows of each table.
    """
    if isinstance(target, PostgresServer):
        connection = target.connect()
        try:
            return load(connection, folder, scale, tables)
        finally:
            connection.close()
    names = list(TABLES) if tables is None else list(tables)
    write_csv(folder, scale, names)
    with target, target.cursor() as cursor:
        rows = {}
        for name in names:
            table = sql.Identifier(name)
            cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(TABLES[name])))
            with (Path(folder) / f"{name}.csv").open() as file:
                cursor.copy_expert(sql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER)").format(table), file)
            rows[name] = cursor.rowcount
        return rows


def write_csv(
    folder: Path, scale: float = 0.01, tables: Sequence[str] | None = None, parts: int | None = None
) -> list[Path]:
    """Writes TPC-H tables as CSV files with a header line, over those that are there already.

    Args:
        folder: Where the files go: `TABLE.csv`, or `TABLE/TABLE.N.csv` if `parts` is given.
        scale: The scale factor.
        tables: The tables to write; all eight by default.
        parts: In how many files to split each table.

    Returns:
        The files, sorted.
    """
    names = list(TABLES) if tables is None else list(tables)
    command = [str(Path(sys.executable).with_name("tpchgen-cli")), "csv", "--quiet", "--overwrite"]
    command += ["--scale-factor", str(scale), "--output-dir", str(folder), "--tables", ",".join(names)]
    if parts is not None:
        command += ["--parts", str(parts)]
    subprocess.run(command, check=True)
    pattern = "{0}.csv" if parts is None else "{0}/{0}.*.csv"
    return sorted(path for name in names for path in Path(folder).glob(pattern.format(name)))
