"""HTTP and JSON over a unix socket: the one way in for operators, behind `imxctl`."""
