"""Kernels over SSH on each host in turn, except on hosts that cannot be reached.

Enterprise Gateway's own class hands kernels to a host that is gone too, and looks after that host's
kernels over SSH without a limit of time, in the thread that serves everybody: meanwhile nothing is heard
of any kernel on any host. Here a connection may take a few seconds, a host that cannot be reached is left
alone for a while, and what was to start there starts on the next one.
"""

import time
from functools import partialmethod
from socket import gethostbyname

from enterprise_gateway.services.processproxies.distributed import DistributedProcessProxy
from paramiko import SSHClient

# Seconds: how long a host may take to answer, and after which time one that did not is tried again.
ANSWERS, AGAIN = 3, 30

# Enterprise Gateway says no limit, which is then the system's: minutes.
SSHClient.connect = partialmethod(
    SSHClient.connect, timeout=ANSWERS, banner_timeout=ANSWERS, auth_timeout=2 * ANSWERS
)


class LivingHosts(DistributedProcessProxy):
    # Until when a host is left alone, by its address, and why.
    alone = {}

    def _determine_next_host(self, env_dict):
        for _ in self.hosts:
            host = super()._determine_next_host(env_dict)
            if not self._why_alone(host):
                return host
            self._unregister_assigned_host()
        whys = "; ".join(filter(None, map(self._why_alone, self.hosts)))
        self.log_and_raise(503, f"no host can be reached ({whys}): see whether they are up")

    def _launch_remote_process(self, kernel_cmd, **kwargs):
        while True:
            try:
                return super()._launch_remote_process(kernel_cmd, **kwargs)
            except Exception:
                if not self._why_alone(self.ip):
                    raise
            self._unregister_assigned_host()
            self.assigned_host = self._determine_next_host(kwargs["env"])
            self.ip = self.assigned_ip = gethostbyname(self.assigned_host)

    def _get_ssh_client(self, host):
        if why := self._why_alone(host):
            raise ConnectionError(why)
        try:
            return super()._get_ssh_client(host)
        except Exception as error:
            # Enterprise Gateway's own words are the same for all that can be wrong.
            why = f"{host}: {error.__context__ or error}"
            LivingHosts.alone[gethostbyname(host)] = (time.monotonic() + AGAIN, why)
            self.log.warning(f"no way over SSH to {why}; it is left alone for {AGAIN} s")
            raise ConnectionError(why) from error

    def _why_alone(self, host):
        until, why = self.alone.get(gethostbyname(host), (0, ""))
        return why if until > time.monotonic() else ""
