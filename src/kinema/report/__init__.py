"""Reports: figures, tables and contact sheets in one self-contained HTML file."""
