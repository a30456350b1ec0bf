"""Messages on their way: who may send how much, what became of them, and what is kept about peers."""
