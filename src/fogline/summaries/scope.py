"""Which immutable thing answered, in which window of event time."""

from dataclasses import dataclass, replace

from fogline.errors import InvalidInput
from fogline.wire import fleet_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a partial is about.

    Attributes:
        model: The model's name.
        version: Its number.
        variant: The variant that answered; empty when partials of several were merged.
        generation: The desired generation; 0 when partials of several were merged.
        window_start_us: `floor(event time / window) * window`, Unix microseconds.
        window_us: The window's length, microseconds.
    """

    model: str
    version: int = 0
    variant: str = ""
    generation: int = 0
    window_start_us: int = 0
    window_us: int = 0

    @property
    def window_end_us(self) -> int:
        return self.window_start_us + self.window_us

    def join(self, other: "Scope") -> "Scope":
        """The smallest scope that covers both.

        Raises:
            InvalidInput: the scopes are of different models or versions.
        """
        if self == other:
            return self
        if (self.model, self.version) != (other.model, other.version):
            raise InvalidInput(
                f"summaries of {self.model}@{self.version} and {other.model}@{other.version} do "
                "not add up; merge partials of one version only"
            )
        start = min(self.window_start_us, other.window_start_us)
        return replace(
            self,
            variant=self.variant if self.variant == other.variant else "",
            generation=self.generation if self.generation == other.generation else 0,
            window_start_us=start,
            window_us=max(self.window_end_us, other.window_end_us) - start,
        )

    def to_message(self) -> fleet_pb2.Scope:
        return fleet_pb2.Scope(
            model=self.model,
            version=self.version,
            variant=self.variant,
            generation=self.generation,
            window_start_us=self.window_start_us,
            window_us=self.window_us,
        )

    @staticmethod
    def from_message(message: fleet_pb2.Scope) -> "Scope":
        return Scope(
            model=message.model,
            version=message.version,
            variant=message.variant,
            generation=message.generation,
            window_start_us=message.window_start_us,
            window_us=message.window_us,
        )
