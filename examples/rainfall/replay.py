"""The years go by: every day is asked of one station, and its outcome told to it some days later.

Two threads a station, because what asks and what learns the truth later are two applications: one
asks with NVIDIA's client of the Open Inference Protocol, the other tells outcomes with Fogline's,
and waits for the disk each time.
"""

import queue
import threading
from dataclasses import dataclass, field

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from examples.rainfall.pace import ReplayClock
from examples.rainfall.weather import Weather
from fogline.client import Client
from fogline.errors import FoglineError

CALL_TIMEOUT_S = 10.0
MAX_FAILURES = 10
"""Failed calls of a station after which it gives up; one is enough to fail the demonstration."""


MAX_UNTOLD = 100
"""Predictions of a station whose outcome has not been told; more wait to be asked."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prediction that waits for its outcome."""

    day: int
    prediction: str


@dataclass(slots=True)
class Answers:
    """What was answered, by day; -1 where nothing was asked.

    Attributes:
        version: int64 [days], the version that answered.
        label: int64 [days], its answer.
        station: int64 [days], who was asked.
    """

    version: NDArray[np.int64]
    label: NDArray[np.int64]
    station: NDArray[np.int64]

    @classmethod
    def none(cls, days: int) -> "Answers":
        return cls(*(np.full(days, -1, dtype=np.int64) for _ in range(3)))


@dataclass(slots=True)
class Traffic:
    """What one station was asked and told."""

    requests: int = 0
    outcomes: int = 0
    failures: int = 0
    first_failure: str = ""


@dataclass(slots=True)
class Replay:
    """All stations' traffic from `first_day` on.

    Attributes:
        weather: What is asked and told.
        addresses: Of the stations' gRPC endpoints.
        model: Its name.
        first_day: Earlier ones were trained on.
        delay_days: From a day to its outcome.
        max_skew_days: Days that one station may be ahead of another.
    """

    weather: Weather
    addresses: tuple[str, ...]
    model: str
    first_day: int
    delay_days: int
    max_skew_days: int
    answers: Answers = field(init=False)
    traffic: tuple[Traffic, ...] = field(init=False)
    clock: ReplayClock = field(init=False)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answers = Answers.none(self.weather.days)
        self.traffic = tuple(Traffic() for _ in self.addresses)
        self.clock = ReplayClock(
            self.first_day, self.weather.days, len(self.addresses), self.max_skew_days
        )

    def __enter__(self) -> "Replay":
        for number, address in enumerate(self.addresses):
            asked: queue.Queue[Asked | None] = queue.Queue(MAX_UNTOLD)
            for work in (self._ask_all, self._tell_all):
                thread = threading.Thread(target=work, args=(number, address, asked), daemon=True)
                thread.start()
                self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self.clock.stop()
        for thread in self._threads:
            thread.join(2 * CALL_TIMEOUT_S)

    @property
    def is_over(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def _ask_all(self, number: int, address: str, asked: "queue.Queue[Asked | None]") -> None:
        traffic = self.traffic[number]
        with triton.InferenceServerClient(address) as client:
            for day in range(self.first_day + number, self.weather.days, len(self.addresses)):
                if not self.clock.wait_for(day) or traffic.failures >= MAX_FAILURES:
                    break
                prediction = self._ask(client, day, number)
                if prediction:
                    asked.put(Asked(day, prediction))
                self.clock.done(number, day)
            else:
                # The data end here; the last outcomes come all the same.
                self.clock.done(number, self.weather.days)
        asked.put(None)

    def _tell_all(self, number: int, address: str, asked: "queue.Queue[Asked | None]") -> None:
        traffic = self.traffic[number]
        with Client(address, timeout_s=CALL_TIMEOUT_S) as client:
            while (one := asked.get()) is not None:
                due = min(one.day + self.delay_days, self.weather.days - 1)
                if not self.clock.wait_for(due):
                    return
                self._tell(client, one.day, one.prediction, traffic)

    def _ask(self, client: triton.InferenceServerClient, day: int, number: int) -> str:
        """One day's question; returns the prediction's id, empty if it failed."""
        traffic = self.traffic[number]
        readings = self.weather.readings[day : day + 1].astype(np.float32)
        given = triton.InferInput("input", list(readings.shape), "FP32")
        given.set_data_from_numpy(readings)
        traffic.requests += 1
        try:
            answer = client.infer(
                self.model,
                [given],
                parameters={"event_time_us": int(self.weather.time(day).timestamp() * 1e6)},
                client_timeout=CALL_TIMEOUT_S,
            )
        except InferenceServerException as e:
            return self._failed(traffic, f"asking about day {day}: {e}")
        message = answer.get_response()
        self.answers.label[day] = int(answer.as_numpy("label")[0])
        self.answers.version[day] = int(message.model_version)
        self.answers.station[day] = number
        prediction: str = message.parameters["prediction_id"].string_param
        return prediction or self._failed(traffic, f"day {day}: an answer without a prediction id")

    def _tell(self, client: Client, day: int, prediction: str, traffic: Traffic) -> None:
        rained = int(self.weather.rain[day])
        observed_at = self.weather.time(day + self.delay_days)
        try:
            traffic.outcomes += client.feedback(
                prediction, [rained], observed_at=observed_at
            ).accepted
        except FoglineError as e:
            self._failed(traffic, f"telling the outcome of day {day}: {e}")

    def _failed(self, traffic: Traffic, what: str) -> str:
        traffic.failures += 1
        traffic.first_failure = traffic.first_failure or what
        return ""
