"""`python -m podloom.agent`."""

from __future__ import annotations

import sys

import structlog
import uvloop

from podloom.agent.app import Agent
from podloom.agent.settings import parse_settings
from podloom.drivers import log as logging
from podloom.model.errors import PodloomError


def main() -> int:
    settings = parse_settings()
    logging.configure(settings.log_level)
    try:
        uvloop.run(Agent(settings).run())
    except PodloomError as error:
        structlog.get_logger().error("agent.ended", error=error.message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
