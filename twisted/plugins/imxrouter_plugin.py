"""Makes `twistd imxrouter` known; what it does is in `imxrouter.tap`."""

from twisted.application.service import ServiceMaker

imxrouter = ServiceMaker(
    "imxrouter", "imxrouter.tap", "Border router for instant messages and presence.", "imxrouter"
)
