"""The same 300 rows, those of parquet_test.ts, by three programs that write Parquet: pip install pyarrow polars duckdb."""
import duckdb, polars, pyarrow as pa, pyarrow.parquet as pq

rows = [
    {
        "instruction": None if i % 7 == 0 else f"question {i % 50}",
        "output": f"answer {i} " + "é" * (i % 5),
        "input": None,
        "messages": None if i % 11 == 0 else [{"role": "user", "content": f"hi {i}"}, {"role": "assistant", "content": None}][: i % 3],
    }
    for i in range(300)
]
message = pa.struct([("role", pa.string()), ("content", pa.string())])
text = [(name, pa.string()) for name in ("instruction", "output", "input")]
table = pa.Table.from_pylist(rows, schema=pa.schema([*text, ("messages", pa.list_(message))]))
pq.write_table(table, "pyarrow_v1_lz4.parquet", compression="lz4", row_group_size=200)
pq.write_table(table, "pyarrow_v2_zstd.parquet", compression="zstd", data_page_version="2.0", data_page_size=500)
pq.write_table(
    table.select(["instruction", "output", "input"]), "pyarrow_delta.parquet",
    use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY", data_page_version="2.0",
)
with pq.ParquetWriter("pyarrow_empty_group.parquet", table.schema) as writer:
    writer.write_table(table.slice(0, 0))
    writer.write_table(table)
polars.from_arrow(table).write_parquet("polars.parquet", compression="snappy")
duckdb.sql("copy (select * from \"table\") to 'duckdb.parquet' (format parquet)")
