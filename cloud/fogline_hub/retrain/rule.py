"""Whether an alarm sets off a retraining now; pure."""

from fogline_hub.automation import Retrain
from fogline_hub.retrain.records import Retraining
from fogline_hub.retrain.states import ENDED, State


def is_due(*, last: Retraining | None, watermark_us: int, retrain: Retrain) -> bool:
    """Whether to start a retraining for the champion's open alarm.

    Args:
        last: The model's newest retraining.
        watermark_us: Event time of the model's traffic.
        retrain: The operator's policy.
    """
    if last is None:
        return True
    if last.state not in ENDED:
        return False
    if last.state is State.PROMOTED:
        return True
    return watermark_us >= last.ended_us + round(retrain.cooldown_s * 1e6)
