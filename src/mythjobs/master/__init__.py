"""The master: everything that arrived is one turn, decided in one transaction, then answered."""
