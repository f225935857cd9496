"""Whether an alarm sets off a retraining now; pure."""

from fogline_hub.retrain.automation import Retrain
from fogline_hub.retrain.records import Retraining
from fogline_hub.retrain.states import ENDED, State


def is_due(
    *,
    alarmed: int,
    champion: int | None,
    last: Retraining | None,
    watermark_us: int,
    retrain: Retrain,
) -> bool:
    """Whether to start a retraining for the open alarm of version `alarmed`.

    Args:
        alarmed: The version whose accuracy fell.
        champion: The version that serves; an alarm on another needs no successor.
        last: The model's newest retraining.
        watermark_us: Event time of the model's traffic.
        retrain: The operator's policy.
    """
    if alarmed != champion:
        return False
    if last is None:
        return True
    if last.state not in ENDED:
        return False
    if last.state is State.PROMOTED:
        return True
    return watermark_us >= last.ended_us + round(retrain.cooldown_s * 1e6)
