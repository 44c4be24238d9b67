"""How long lists take by libraries of Python: `SECONDS LIBRARY` a line, the best of several."""

import importlib.metadata
import os
import sys
import time

import docker
import libcloud.security
from libcloud.container.drivers.docker import DockerContainerDriver


def best(call, rounds=15):
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        found = call()
        times.append(time.perf_counter() - begun)
        assert len(found) >= 200, found
    return min(times)


def tell(seconds, package, what):
    print(seconds, package, importlib.metadata.version(package), what)


client = docker.DockerClient(base_url=sys.argv[1])
tell(best(lambda: client.api.containers(all=True)), "docker", "of Python, its plain list")
tell(best(lambda: client.containers.list(all=True), 3), "docker", "of Python, its objects")

certificates = os.environ["SUBSTRATES_LAB_DOCKER_CERTS"]
host, port = os.environ["SUBSTRATES_LAB_DOCKER_TLS"].rsplit("://", 1)[-1].split(":")
libcloud.security.CA_CERTS_PATH = f"{certificates}/ca.pem"
driver = DockerContainerDriver(
    host=f"https://{host}",
    port=int(port),
    key_file=f"{certificates}/key.pem",
    cert_file=f"{certificates}/cert.pem",
)
tell(best(lambda: driver.list_containers(all=True)), "apache-libcloud", "over TLS")
