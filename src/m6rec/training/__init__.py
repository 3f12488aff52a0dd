"""The pipeline of stages from raw files to a served model, and the one loop that trains every task."""
