//! The eight tables of TPC-H: their columns and keys, and their rows as CSV files.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tpchgen::csv::{CustomerCsv, LineItemCsv, NationCsv, OrderCsv, PartCsv, PartSuppCsv, RegionCsv, SupplierCsv};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

use crate::interrupt::Interrupt;

/// Rows between two looks whether a signal came.
const ROWS_UNHEEDED: u64 = 10_000;

/// A table of TPC-H.
pub(super) struct Table {
    /// Its name.
    pub(super) name: &'static str,
    /// Its key columns.
    pub(super) key: &'static [&'static str],
    /// Its columns.
    pub(super) schema: &'static str,
}

/// The tables, the small ones first.
pub(super) const TABLES: [Table; 8] = [
    Table {
        name: "region",
        key: &["r_regionkey"],
        schema: "r_regionkey bigint not null, r_name text not null, r_comment text",
    },
    Table {
        name: "nation",
        key: &["n_nationkey"],
        schema: "n_nationkey bigint not null, n_name text not null, n_regionkey bigint not null, n_comment text",
    },
    Table {
        name: "supplier",
        key: &["s_suppkey"],
        schema: "s_suppkey bigint not null, s_name text not null, s_address text not null, \
            s_nationkey bigint not null, s_phone text not null, s_acctbal decimal(15,2) not null, s_comment text",
    },
    Table {
        name: "part",
        key: &["p_partkey"],
        schema: "p_partkey bigint not null, p_name text not null, p_mfgr text not null, p_brand text not null, \
            p_type text not null, p_size int not null, p_container text not null, \
            p_retailprice decimal(15,2) not null, p_comment text",
    },
    Table {
        name: "partsupp",
        key: &["ps_partkey", "ps_suppkey"],
        schema: "ps_partkey bigint not null, ps_suppkey bigint not null, ps_availqty int not null, \
            ps_supplycost decimal(15,2) not null, ps_comment text",
    },
    Table {
        name: "customer",
        key: &["c_custkey"],
        schema: "c_custkey bigint not null, c_name text not null, c_address text not null, \
            c_nationkey bigint not null, c_phone text not null, c_acctbal decimal(15,2) not null, \
            c_mktsegment text not null, c_comment text",
    },
    Table {
        name: "orders",
        key: &["o_orderkey"],
        schema: "o_orderkey bigint not null, o_custkey bigint not null, o_orderstatus text not null, \
            o_totalprice decimal(15,2) not null, o_orderdate date not null, o_orderpriority text not null, \
            o_clerk text not null, o_shippriority int not null, o_comment text",
    },
    Table {
        name: "lineitem",
        key: &["l_orderkey", "l_linenumber"],
        schema: "l_orderkey bigint not null, l_partkey bigint not null, l_suppkey bigint not null, \
            l_linenumber int not null, l_quantity decimal(15,2) not null, l_extendedprice decimal(15,2) not null, \
            l_discount decimal(15,2) not null, l_tax decimal(15,2) not null, l_returnflag text not null, \
            l_linestatus text not null, l_shipdate date not null, l_commitdate date not null, \
            l_receiptdate date not null, l_shipinstruct text not null, l_shipmode text not null, l_comment text",
    },
];

/// Writes a table as a CSV file; returns rows and bytes.
///
/// # Errors
/// The system's; `Interrupted` once a signal came.
pub(super) fn write_csv(table: &str, scale: f64, path: &Path, interrupt: &Interrupt) -> io::Result<(u64, u64)> {
    let write = |header: &str, rows: &mut dyn Iterator<Item = Box<dyn Display>>| write(path, header, rows, interrupt);
    match table {
        "region" => write(
            RegionCsv::header(),
            &mut RegionGenerator::new(scale, 1, 1).iter().map(|row| Box::new(RegionCsv::new(row)) as _),
        ),
        "nation" => write(
            NationCsv::header(),
            &mut NationGenerator::new(scale, 1, 1).iter().map(|row| Box::new(NationCsv::new(row)) as _),
        ),
        "supplier" => write(
            SupplierCsv::header(),
            &mut SupplierGenerator::new(scale, 1, 1).iter().map(|row| Box::new(SupplierCsv::new(row)) as _),
        ),
        "part" => write(
            PartCsv::header(),
            &mut PartGenerator::new(scale, 1, 1).iter().map(|row| Box::new(PartCsv::new(row)) as _),
        ),
        "partsupp" => write(
            PartSuppCsv::header(),
            &mut PartSuppGenerator::new(scale, 1, 1).iter().map(|row| Box::new(PartSuppCsv::new(row)) as _),
        ),
        "customer" => write(
            CustomerCsv::header(),
            &mut CustomerGenerator::new(scale, 1, 1).iter().map(|row| Box::new(CustomerCsv::new(row)) as _),
        ),
        "orders" => write(
            OrderCsv::header(),
            &mut OrderGenerator::new(scale, 1, 1).iter().map(|row| Box::new(OrderCsv::new(row)) as _),
        ),
        "lineitem" => write(
            LineItemCsv::header(),
            &mut LineItemGenerator::new(scale, 1, 1).iter().map(|row| Box::new(LineItemCsv::new(row)) as _),
        ),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn write(
    path: &Path,
    header: &str,
    rows: &mut dyn Iterator<Item = Box<dyn Display>>,
    interrupt: &Interrupt,
) -> io::Result<(u64, u64)> {
    let mut out = BufWriter::with_capacity(1 << 18, File::create(path)?);
    writeln!(out, "{header}")?;
    let mut count = 0;
    for row in rows {
        if count % ROWS_UNHEEDED == 0 && interrupt.exit_code().is_some() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        writeln!(out, "{row}")?;
        count += 1;
    }
    out.flush()?;
    Ok((count, out.get_ref().metadata()?.len()))
}
