"""TOML -> frozen values, with every problem named by file, path and remedy. Pure but for one thin reader.

`load(path)` is the front door; `schema.Config` is what comes out.
"""

from imxrouter.config.load import Loaded, load
from imxrouter.config.problems import ConfigError, Problem
from imxrouter.config.schema import Config

__all__ = ["Config", "ConfigError", "Loaded", "Problem", "load"]
