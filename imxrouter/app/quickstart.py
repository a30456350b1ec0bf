"""One router on loopback with two users: `twistd -n imxrouter --lab`."""

from __future__ import annotations

from pathlib import Path

from imxrouter.config.load import Document, parse
from imxrouter.config.schema import Config


def quickstart_config(folder: Path) -> Config:
    """A configuration that needs nothing but a folder for sockets and state."""
    text = f"""
name = "router.home.example"
role = "gateway"
lab = true
state_dir = "{folder}/state"
run_dir = "{folder}"
listen.addresses = ["127.0.0.1:6490"]
metrics.listen = "127.0.0.1:9464"
trust.default_policy = "dialback"
dial.allow_networks = ["127.0.0.0/8"]
log.format = "text"
log.addresses = "full"

[[service]]
name = "home"
kind = "embedded"
users = ["alice", "bob"]

[[domain]]
name = "home.example"
service = "home"
"""
    return parse(Document("quickstart", text)).config
