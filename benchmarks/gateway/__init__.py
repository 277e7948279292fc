"""The price of the gateway: Tidegate, one pool and one replica, against ``vllm serve`` directly.

The same engine settings and the same requests go to every arm, interleaved cell by cell in one
run, so that whatever else the machine does hits all arms alike. Owns the load generator, the
arms, the goals and the report; must not hold a mean over arms, hide an error, or know how an arm
works beyond how to start it, where it listens and which processes are its own.
"""
