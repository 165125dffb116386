"""What is left and seen of a phase: tables, figures, films, and the statistics behind them."""
