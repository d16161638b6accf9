"""Times of reports: every form of one moment, and what is refused because it could be another one."""

import random
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import BaseModel, ValidationError

from tradewind.schema.times import END, FIRST, ReportTime, report_time

MOMENT = datetime(2026, 1, 31, tzinfo=UTC)
SECONDS = 1_769_817_600


class Report(BaseModel):
    closed_at: ReportTime | None = None


@pytest.mark.parametrize(
    "sent",
    [
        '"2026-01-31T00:00:00Z"',
        '"2026-01-31t00:00:00z"',
        '"2026-01-31 00:00:00+00:00"',
        '"2026-01-31 00:00:00 +00:00"',
        '"2026-01-31T08:00:00+08:00"',
        '"2026-01-31T08:00:00.000000000+0800"',
        '"2026-01-31T08:00+08"',
        '"2026-01-30T18:30:00-05:30"',
        '"20260131T000000Z"',
        '" 2026-01-31T00:00:00,0Z "',
        "1769817600",
        "1769817600.0",
        "1.7698176e9",
        '"1769817600"',
        '"1769817600.000"',
        '"1.7698176E+9"',
        "1769817600000",
        '"1769817600000"',
        "1769817600000000",
        "1769817600000000999",
        '"1769817600000000000"',
        "1.7698176e18",
    ],
)
def test_every_form_of_one_moment_is_that_moment(sent: str) -> None:
    assert Report.model_validate_json(f'{{"closed_at": {sent}}}').closed_at == MOMENT


@pytest.mark.parametrize(
    ("sent", "micros"),
    [
        ("1769817600.25", 250_000),
        ("1769817600.123456", 123_456),
        ('"1769817600.1234569"', 123_456),
        ('"1769817600.999999999999999999999999999999999999"', 999_999),
        ("1769817600001", 1_000),
        ("1769817600001.5", 1_500),
        ("1769817600000001", 1),
        ("1769817600000001999", 1),
        ('"2026-01-31T00:00:00.123456789Z"', 123_456),
        ('"2026-01-31T00:00:00.5Z"', 500_000),
    ],
)
def test_microseconds_are_kept_and_finer_is_cut_off(sent: str, micros: int) -> None:
    read = Report.model_validate_json(f'{{"closed_at": {sent}}}').closed_at
    assert read == MOMENT + timedelta(microseconds=micros)
    assert read.utcoffset() == timedelta(0)


@pytest.mark.parametrize("sent", ['"2026-01-31T00:00:00"', '"2026-01-31 00:00:00.5"', '"20260131T000000"'])
def test_a_time_without_an_offset_is_refused_with_the_remedy(sent: str) -> None:
    with pytest.raises(ValidationError, match=r"closed_at(.|\n)*add Z for UTC") as refused:
        Report.model_validate_json(f'{{"closed_at": {sent}}}')
    assert refused.value.errors()[0]["type"] == "timezone_aware"
    with pytest.raises(ValidationError, match="add Z for UTC"):
        Report(closed_at=datetime(2026, 1, 31))


@pytest.mark.parametrize(
    "sent",
    [
        "true", "false", "[]", "{}", '""', '"soon"', '"2026-01-31"', '"2026-02-30T00:00:00Z"', '"2026-01-31T24:00:00Z"',
        '"2026-01-31T23:59:60Z"', '"2026-01-31T00:00:00+15:00"', '"2026-01-31T00:00:00-14:01"', '"2026-0131T00:00:00Z"',
        '"2026-01-31T00:00:00Z\\n"', '"٢٠٢٦-01-31T00:00:00Z"', '"2026-W05-6T00:00:00Z"',
        "NaN", "Infinity", "-Infinity", '"nan"', '"inf"', "-1769817600", "0", "20260131", "20260131000000", "1e400",
        '"1e999"', '"0x69"', "978307199", "4133980800", "4133980800000", "978307199999", "4133980800000000000",
        '"2000-12-31T23:59:59Z"', '"2101-01-01T00:00:00Z"', '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"',
        "9" * 70, "9" * 4400,
    ],
)  # fmt: skip
def test_what_is_no_time_of_a_report_is_refused_at_its_field(sent: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Report.model_validate_json(f'{{"closed_at": {sent}}}')
    assert refused.value.errors()[0]["loc"] in {("closed_at",), ()}  # (): what JSON itself refuses


@pytest.mark.parametrize("seed", range(200))
def test_one_moment_in_every_unit_and_place_is_one_time(seed: int) -> None:
    draw = random.Random(seed)
    moment = FIRST + timedelta(microseconds=draw.randrange((END - FIRST) // timedelta(microseconds=1)))
    minutes = draw.randint(-14 * 60, 14 * 60)
    micros = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    there = moment.astimezone(timezone(timedelta(minutes=minutes)))
    forms = (micros, micros * 1000 + 999, f"{micros / 10**6:.6f}", f"{micros}e-6", there.isoformat(), there)
    assert {report_time(form) for form in forms} == {moment}
    assert report_time(micros // 1000) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert report_time(micros // 10**6) == moment.replace(microsecond=0)


def test_the_years_of_one_unit_end_before_those_of_the_next_begin() -> None:
    for factor in (1, 10**3, 10**6):
        with pytest.raises(ValueError, match="2001 to 2100"):
            report_time(4_133_980_800 * factor)
        with pytest.raises(ValueError, match="2001 to 2100"):
            report_time(978_307_200 * factor * 1000 - 1)
