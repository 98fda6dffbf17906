"""The alert rules, by Prometheus' own promtool: each fires where it should, and is quiet where all is well."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from support.promtool import PROMTOOL, needs_promtool
from voipfleet.metrics.table import TABLE

RULES = Path(__file__).parents[3] / "roles" / "voipfleet" / "files" / "monitoring" / "voipfleet.rules.yml"
ALERTS = {rule["alert"]: rule for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}
WEEK = 7 * 24 * 12  # in steps of five minutes

# alert: (series where it fires, series where it is quiet), for an hour in steps of a minute; `{}` is the host
CASES = {
    "VoipfleetDown": (["up{job='voipfleet'} 1x10 0x60"], ["up{job='voipfleet'} 1x60", "up{job='node'} 0x60"]),
    "VoipfleetNotReady": (["voipfleet_ready{} 0x60"], ["voipfleet_ready{} 0x1 1x60"]),
    "VoipfleetUnaccounted": (["voipfleet_unaccounted{law='packets'} 3x60"],
                             ["voipfleet_unaccounted{law='packets'} 0x60"]),
    "VoipfleetCannotWrite": (["voipfleet_failing{part='outbox'} 1x60"], ["voipfleet_failing{part='outbox'} 0x60"]),
    "VoipfleetLinkDown": (["voipfleet_link_up{destination='server_destination'} 1x20 0x40"],
                          ["voipfleet_link_up{destination='server_destination'} 0x5 1x60"]),
    "VoipfleetRecordsWait": (["voipfleet_outbox_oldest_age_seconds{} 0+60x60"],
                             ["voipfleet_outbox_oldest_age_seconds{} 899x60"]),
    "VoipfleetPacketsWait": (["voipfleet_buffer_lag_seconds{destination='d'} 0+10x60"],
                             ["voipfleet_buffer_lag_seconds{destination='d'} 2x60"]),
    "VoipfleetPacketsDropped": (["voipfleet_buffer_dropped_packets_total{destination='d'} 0x55 5x5"],
                                ["voipfleet_buffer_dropped_packets_total{destination='d'} 5x60"]),
    "VoipfleetKernelDrops": (
        ["voipfleet_capture_kernel_drops_total{} 0+20x60", "voipfleet_capture_packets_total{} 0+10000x60"],
        ["voipfleet_capture_kernel_drops_total{} 0+5x60", "voipfleet_capture_packets_total{} 0+10000x60"]),
    "VoipfleetNoPackets": (["voipfleet_capture_packets_total{} 0+100x100 10000x60"],
                           ["voipfleet_capture_packets_total{} 0+100x160"]),
    "VoipfleetInterfaceDown": (["voipfleet_capture_interface_errors_total{} 0x55 1x5"],
                               ["voipfleet_capture_interface_errors_total{} 1x60"]),
    "VoipfleetNoCalls": ([f"voipfleet_calls_total{{}} 0+5x{WEEK} {5 * WEEK}x60"],
                         [f"voipfleet_calls_total{{}} 0+5x{WEEK + 60}"]),
    "VoipfleetNoRecords": (
        [f"voipfleet_sensor_records_total{{sensor='b1'}} 0+5x{WEEK} {5 * WEEK}x30"],
        [f"voipfleet_sensor_records_total{{sensor='b1'}} 0+5x{WEEK + 30}",
         f"voipfleet_sensor_records_total{{sensor='b2'}} 0x{WEEK + 30}"]),
    "VoipfleetSensorGone": (["voipfleet_sensor_connected{sensor='b1', sends='records'} 1x40 stale _x20"],
                            ["voipfleet_sensor_connected{sensor='b1', sends='records'} 1x60"]),
    "VoipfleetPacketsNotKept": (["voipfleet_pool_lost_packets_total{reason='refused'} 0x50 9x10"],
                                ["voipfleet_pool_lost_packets_total{reason='no_call'} 0+9x60"]),
    "VoipfleetShortReach": (
        ["voipfleet_pool_oldest_timestamp_seconds{class='sip'} 0+60x60", "voipfleet_pool_evicted_bytes_total{} 0+9x60"],
        ["voipfleet_pool_oldest_timestamp_seconds{class='sip'} 0+60x60", "voipfleet_pool_evicted_bytes_total{} 9x60"]),
    "VoipfleetCallsEvicted": (["voipfleet_calls_evicted_total{} 0x55 9x5"], ["voipfleet_calls_evicted_total{} 9x60"]),
    "VoipfleetClock": (["voipfleet_sensor_clock_offset_seconds{sensor='b1'} -2.5x60"],
                       ["voipfleet_link_clock_offset_seconds{destination='d'} 1.9x60"]),
    "VoipfleetDiskLow": (["voipfleet_disk_free_bytes{} 4x60", "voipfleet_disk_size_bytes{} 100x60"],
                         ["voipfleet_disk_free_bytes{} 6x60", "voipfleet_disk_size_bytes{} 100x60"]),
    "VoipfleetRefused": (["voipfleet_auth_failures_total{reason='password'} 0+5x60"],
                         ["voipfleet_auth_failures_total{reason='password'} 0+1x60"]),
    "VoipfleetFlapping": (["voipfleet_link_flapping_total{port='1'} 0x50 1x10"],
                          ["voipfleet_link_flapping_total{port='1'} 1x60"]),
    "VoipfleetOldPassword": (["voipfleet_link_auth_slot_sensors{slot='1'} 2x2000"],
                             ["voipfleet_link_auth_slot_sensors{slot='0'} 2x2000",
                              "voipfleet_link_auth_slot_sensors{slot='1'} 2x1000 0x1000"]),
    "VoipfleetStoreDown": (["voipfleet_store_up{} 1x30 0x30"], ["voipfleet_store_up{} 1x60"]),
    "VoipfleetQuarantine": (["voipfleet_quarantine_rows_total{} 0x50 1x10"],
                            ["voipfleet_quarantine_rows_total{} 1x60"]),
    "VoipfleetGap": (["voipfleet_gap_records_total{} 0x50 7x10"], ["voipfleet_gap_records_total{} 7x60"]),
    "VoipfleetHole": (
        ["voipfleet_sequence_skipped_total{} 0x40 7x20", "voipfleet_gap_records_total{} 0x60"],
        ["voipfleet_sequence_skipped_total{} 0x40 7x20", "voipfleet_gap_records_total{} 0x42 7x18"]),
}  # fmt: skip


def hosted(series: str) -> dict:
    name, values = re.fullmatch(r"(.*?\})\s(.*)", series).groups()
    labels = name.replace("{", "{instance='a', ", 1).replace(", }", "}")
    return {"series": labels, "values": values}


def steps(series: str) -> int:
    return sum(int(number) for number in re.findall(r"x(\d+)", series)) + len(re.findall(r"x\d+", series)) - 1


@needs_promtool
@pytest.mark.parametrize("fires", [True, False])
@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_an_alert(alert, fires, tmp_path):
    series = CASES[alert][not fires]
    interval = 5 if alert in ("VoipfleetNoCalls", "VoipfleetNoRecords") else 1
    end = max(map(steps, series)) * interval
    expected = [{"labels": "{}", "value": 1}] if fires else []
    case = {"interval": f"{interval}m", "input_series": [hosted(one) for one in series], "promql_expr_test": [{
        "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})', "eval_time": f"{end}m",
        "exp_samples": expected}]}  # fmt: skip
    path = tmp_path / "test.yml"
    path.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": f"{interval}m", "tests": [case]})
    )
    said = subprocess.run([PROMTOOL, "test", "rules", path], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_alert_is_tried_and_is_of_metrics_that_there_are():
    assert CASES.keys() == ALERTS.keys()
    names = {metric.name for metric in TABLE}
    for rule in ALERTS.values():
        assert set(re.findall(r"voipfleet_\w+", rule["expr"])) <= names
        assert rule["annotations"]["summary"] and rule["annotations"]["action"]
        assert rule["labels"]["severity"] in ("warning", "critical")
