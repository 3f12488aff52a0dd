"""Importers: foreign formats to canonical Parquet tables and a `config.yaml` that `m6rec train` reads. One format a file."""
