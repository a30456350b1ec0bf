"""What strangers can cause leaves room for what is our own."""

from imxrouter.discovery.finder import FindLimits
from imxrouter.routing.dialling import DialSettings

#: A and AAAA of one host are asked at a time.
_QUESTIONS_AT_A_TIME = 2


def test_verifications_leave_half_of_the_questions() -> None:
    """Strangers' claims cannot stop us from looking up whom we write to."""
    caused = DialSettings().running * _QUESTIONS_AT_A_TIME
    assert caused <= FindLimits().questions * 0.6
