"""In the machine, what somebody writes in an afternoon: the same two instruments at the same pace, read with
pyserial and published with paho as JSON, QoS 1. Keeps nothing, signs nothing. What the agent costs is held
against this."""

import json
import sys
import time

import serial
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

VOLTAGE = bytes.fromhex("01040000000271cb")  # Modbus: unit 1, two input registers from 0, CRC


def main(meter_path: str, dust_path: str) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, "peer")
    client.connect("127.0.0.1", 1883)
    client.loop_start()
    meter, dust = serial.Serial(meter_path, 9600, timeout=1), serial.Serial(dust_path, 9600, timeout=2)
    number = 0
    while True:
        frame = dust.read_until(b"\xab")[-10:]
        client.publish("peer/dust", json.dumps({"t": time.time(), "frame": frame.hex()}), qos=1)
        if number % 2 == 0:
            meter.write(VOLTAGE)
            client.publish("peer/meter", json.dumps({"t": time.time(), "frame": meter.read(9).hex()}), qos=1)
        number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
