"""The broker's address, its TLS files and its failures, as an operator sees them."""

from __future__ import annotations

import socket
import ssl

import pytest

from agent.backoff import LONGEST_S, SHORTEST_S, Backoff
from agent.broker import Broker, broker_of, parse_broker_url, password, tls_context, why_unreachable
from agent.errors import FixConfig
from agent.settings import MqttSettings
from tests.tls_parts import Authority

PLAIN = MqttSettings(allow_plain=True)


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("mqtts://broker.example.net", "broker.example.net", 8883, True),
        ("mqtts://broker.example.net:443/", "broker.example.net", 443, True),
        ("mqtt://10.0.0.5", "10.0.0.5", 1883, False),
        ("mqtt://[fe80::1]:2000", "fe80::1", 2000, False),
    ],
)
def test_an_address_gives_host_port_and_tls(url, host, port, tls):
    assert parse_broker_url(url, PLAIN) == Broker(host, port, tls, PLAIN)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "broker.example.net",
            "http://x",
            "mqtts://",
            "mqtts://h:0x1",
            "mqtts://h:70000",
            "mqtts://h/topic",
        ),
        *("mqtts://h?x=1", "mqtts://[::1", "mqtts://" + "a" * 300, "mqtts://a..b"),
    ],
)
def test_an_address_that_is_none_is_refused_with_a_sentence(url):
    with pytest.raises(FixConfig, match=r"is not like mqtts://host"):
        parse_broker_url(url, PLAIN)


@pytest.mark.parametrize(
    "url",
    [
        "mqtts://user:secret@h",
        "mqtts://:secret@h:1",
        "mqtts://u:se/secret@h",
        "u:secret@h",
        "m://u:#secret@h?",
    ],
)
def test_a_password_in_an_address_is_not_said(url):
    with pytest.raises(FixConfig, match=r"mqtt\.username and mqtt\.password_file") as refused:
        parse_broker_url(url, PLAIN)
    assert "secret" not in refused.value.sentence
    assert "(…@h" in refused.value.sentence


def test_the_claim_s_authority_is_for_the_claim_s_broker_alone():
    assert broker_of(MqttSettings(), "mqtts://a", b"ca") == Broker("a", 8883, True, MqttSettings(), b"ca")
    own = MqttSettings(broker_url="mqtts://b")
    assert broker_of(own, "mqtts://a", b"ca") == Broker("b", 8883, True, own)


@pytest.mark.parametrize("settings", [MqttSettings(), MqttSettings(broker_url="mqtt://10.0.0.5")])
def test_neither_a_claim_nor_the_configuration_brings_a_device_to_speak_without_tls(settings):
    with pytest.raises(FixConfig, match=r"mqtt\.allow_plain = true"):
        broker_of(settings, "mqtt://127.0.0.1", b"")


def test_the_claim_s_authority_is_trusted_and_no_other(tmp_path):
    ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")

    def trusted(settings, claim_ca):
        context = tls_context(broker_of(settings, "mqtts://h", claim_ca))
        assert context is not None
        return context.get_ca_certs(binary_form=True)

    assert trusted(MqttSettings(), ours.der) == [ours.der]
    assert trusted(MqttSettings(), ours.der + other.der) == [ours.der, other.der]
    assert trusted(MqttSettings(ca_file=other.file), ours.der) == [other.der]


@pytest.mark.parametrize("authority", [b"\x30", b"not a certificate", bytes(400)])
def test_an_authority_in_the_claim_that_is_none_is_said(authority):
    with pytest.raises(FixConfig, match="authority in the claim is no certificate"):
        tls_context(broker_of(MqttSettings(), "mqtts://h", authority))


def test_a_key_without_its_certificate_is_said(tmp_path):
    with pytest.raises(FixConfig, match=r"mqtt\.key_file is set without mqtt\.cert_file"):
        tls_context(parse_broker_url("mqtts://h", MqttSettings(key_file=tmp_path / "key.pem")))


def test_no_tls_only_where_the_owner_asked_for_it():
    with pytest.raises(FixConfig, match=r"mqtt\.allow_plain = true"):
        parse_broker_url("mqtt://10.0.0.5", MqttSettings())


def test_tls_checks_the_host_and_refuses_old_versions():
    context = tls_context(parse_broker_url("mqtts://h", MqttSettings()))
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_an_unusable_authority_file_is_named(tmp_path, content):
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_bytes(content)
    with pytest.raises(FixConfig, match=rf"mqtt\.ca_file: {ca_file} cannot be used: .+"):
        tls_context(parse_broker_url("mqtts://h", MqttSettings(ca_file=ca_file)))


def test_an_unusable_certificate_is_named(tmp_path):
    cert_file = tmp_path / "device.pem"
    cert_file.write_bytes(b"not a certificate")
    with pytest.raises(FixConfig, match=rf"mqtt\.cert_file or .*: {cert_file} cannot be used"):
        tls_context(parse_broker_url("mqtts://h", MqttSettings(cert_file=cert_file)))


def test_the_password_is_the_first_line_of_its_file(tmp_path):
    file = tmp_path / "password"
    file.write_text("open sesame\nsecond line\n")
    assert password(MqttSettings(password_file=file)) == "open sesame"
    with pytest.raises(FixConfig, match=r"mqtt\.password_file"):
        password(MqttSettings(password_file=tmp_path / "absent"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            socket.gaierror(-2, "Name or service not known"),
            "the name has no address: Name or service not known.",
        ),
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens there"),
        (TimeoutError("timed out"), "no answer"),
        (OSError(113, "No route to host"), "No route to host. Check the network."),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "Is this the TLS port?"),
    ],
)
def test_each_way_not_to_reach_a_broker_has_its_sentence(error, expected):
    sentence = why_unreachable(error, Broker("h", 8883, True, PLAIN))
    assert sentence.startswith("The broker h:8883 cannot be reached: ")
    assert expected in sentence


def test_waits_grow_from_a_second_to_two_minutes_and_are_spread():
    longest, shortest = Backoff(), Backoff()
    assert [round(longest.next_delay_s(1.0)) for _ in range(7)] == [8, 16, 32, 64, 120, 120, 120]
    assert {shortest.next_delay_s(0.0) for _ in range(7)} == {SHORTEST_S}
    assert Backoff().next_delay_s(0.5) == 4.5


@pytest.mark.parametrize(("up_s", "expected_s"), [(59.9, LONGEST_S), (60.0, 8.0)])
def test_waits_start_over_only_after_a_stable_link(up_s, expected_s):
    backoff = Backoff()
    for _ in range(20):
        backoff.next_delay_s(1.0)
    backoff.up(5 * 10**9)
    backoff.down(5 * 10**9 + round(up_s * 1e9))
    backoff.down(10**15)  # an attempt that failed is no stable link
    assert backoff.next_delay_s(1.0) == expected_s
