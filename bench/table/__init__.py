"""Table generators beside each other, their dials and their peers, on five real tables: `python -m bench.table --help`.

A cell of the grid is one maker of rows on one table with one seed. Makers run in processes of their own (bench/own/table_rows.py, and
bench/peers/ in an environment of their own) and exchange Parquet; every cell is scored by our evaluators and stored at once, so that
a killed grid loses one cell and the next one goes on.
"""
