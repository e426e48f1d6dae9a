"""How good it is: metrics, judges, what real music scores, and one module for each thing that is judged."""
