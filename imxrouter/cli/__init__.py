"""`imxctl`: what operators type. Tables on a terminal, JSON for scripts, exit codes that mean something."""
