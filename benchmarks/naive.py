"""The peer: what one writes on a Sunday. Adafruit's driver, paho, one JSON message per reading at QoS 1.

Nothing is signed, nothing is kept: what is read while the link is down lies in RAM and dies with the process.
"""

from __future__ import annotations

import json
import time
from typing import Any

import paho.mqtt.client as mqtt
from adafruit_bme280.basic import Adafruit_BME280_I2C
from paho.mqtt.enums import CallbackAPIVersion


def message(temperature: float, pressure_hPa: float, humidity: float) -> bytes:
    values = {"time": round(time.time(), 3), "temperature": round(temperature, 2)}
    return json.dumps(values | {"pressure": round(pressure_hPa, 2), "humidity": round(humidity, 2)}).encode()


def run(i2c: Any, host: str, port: int, interval_s: float, topic: str = "station/bme280") -> None:
    sensor = Adafruit_BME280_I2C(i2c, address=0x76)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect_async(host, port)  # a broker that is away at the start is waited for
    client.loop_start()
    due_s = time.monotonic()
    while True:
        due_s += interval_s
        time.sleep(max(0.0, due_s - time.monotonic()))
        reading = message(sensor.temperature, sensor.pressure, sensor.relative_humidity)
        client.publish(topic, reading, qos=1)


if __name__ == "__main__":
    import adafruit_extended_bus

    run(adafruit_extended_bus.ExtendedI2C(1), "localhost", 1883, 60.0)
